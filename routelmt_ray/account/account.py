"""An account: a folder with a book for each period, and what the rows of each job offered.

2026-11-01_2026-11-30.json   the book of a period
nights/2026-11-27-<id>.json  what the rows of a job offered; the jobs of later days expect rows like them
jobs/<id>/lease.json         there while the job is at work, see storage/lease.py
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta

from routelmt_ray import storage
from routelmt_ray.account import book as books
from routelmt_ray.account.book import REFUSED, RETURNED, Book
from routelmt_ray.account.offer import Offer
from routelmt_ray.account.rhythm import LOOKED_BACK, Night
from routelmt_ray.config.account import Period
from routelmt_ray.storage import lease

log = logging.getLogger(__name__)

_NIGHT = re.compile(r"(\d{4}-\d\d-\d\d)-(.+)\.json")
_BOOK = re.compile(r"(\d{4}-\d\d-\d\d)_(\d{4}-\d\d-\d\d)\.json")


@dataclass(frozen=True)
class Account:
    """One period of an account."""

    root: storage.Location
    """Folder of the account."""
    period: Period
    """The period."""

    @property
    def path(self) -> storage.Location:
        """Location of the period's book."""
        return self.root / f"{self.period.name}.json"

    def read(self) -> Book | None:
        """Reads the book; None where no job has drawn."""
        return books.read(self.path)

    def change(self, new: Book, edit: Callable[[Book], Book]) -> Book:
        """Changes the book in one step; see :func:`routelmt_ray.account.book.change`."""
        return books.change(self.path, new, edit)

    # What jobs offered

    def add_night(self, key: str, day: date, kind: str, offer: Offer, profile: float = 0.0) -> None:
        """Records what the rows of a job offer, and what its profile took; the first record of a job stays."""
        if any(name.endswith(f"-{key}.json") for name in storage.list_names(self.root / "nights")):
            return
        content = json.dumps({"day": day.isoformat(), "kind": kind, "offer": offer.to_dict(), "profile": profile})
        storage.create(self.root / "nights" / f"{day}-{key}.json", content.encode())

    def nights(self, day: date, kind: str, without: str) -> list[Night]:
        """Reads what the jobs of the last weeks offered, also those of earlier periods.

        Args:
            day: today.
            kind: how gain and cost are measured; of jobs of another kind only the rows are read.
            without: id of the job that asks.
        """
        found = []
        for name in storage.list_names(self.root / "nights"):
            match = _NIGHT.fullmatch(name)
            if not match or match[2] == without:
                continue
            try:
                if date.fromisoformat(match[1]) < day - timedelta(LOOKED_BACK):
                    continue
                fields = storage.read_json(self.root / "nights" / name)
                offer = Offer.from_dict(fields["offer"])
                alike, profile = fields["kind"] == kind, float(fields.get("profile", 0.0))
                found.append(Night(date.fromisoformat(fields["day"]), offer, alike, profile))
            except (FileNotFoundError, ValueError, KeyError, TypeError) as error:  # only a forecast depends on it
                log.warning("account %s: nights/%s is left out: %r", self.root, name, error)
        return found

    # Jobs at work

    @contextmanager
    def at_work(self, key: str) -> Iterator[None]:
        """Shows other jobs that a job is at work while the body runs.

        Raises:
            lease.Lost: another job returned what this one has not spent, because it gave no sign of life for too long.
        """
        folder = self.root / "jobs" / key
        try:
            with lease.hold(folder):
                yield
        except lease.Lost as lost:
            if str(folder) not in str(lost):  # that of the run directory
                raise
            raise lease.Lost(
                f"account {self.root}: this job gave no sign of life for too long, and another job returned what it had not "
                "spent"
            ) from None

    def return_dead(self, keep_s: float, spent_of: Callable[[str, str], float | None]) -> None:
        """Returns the unspent grants of jobs that gave no sign of life for too long to the account.

        The lease of such a job is taken over first, so that a job that was only slow ends at its next beat.

        Args:
            keep_s: seconds without a sign of life.
            spent_of: (id of the job, run directory) -> units spent; None where it cannot be read: then the draw stays.
        """
        book = self.read()
        for key, draw in ({} if book is None else book.draws).items():
            folder = self.root / "jobs" / key
            beat = storage.entry(folder / lease.FILE)
            sign_s = max(draw.changed_s, 0.0 if beat is None else beat.modified_s)
            if not draw.held or time.time() - sign_s < keep_s:
                continue
            try:
                with lease.hold(folder):
                    if (spent := spent_of(key, draw.run_dir)) is None:
                        log.warning(
                            "account %s: the job of run_dir %s gives no sign of life, and its folder cannot be read or has another run; "
                            "its %g stay reserved",
                            self.root, draw.run_dir, draw.granted,
                        )  # fmt: skip
                        continue
                    self._return(key, spent - draw.before)
            except lease.Held:  # it lives
                continue

    def _return(self, key: str, spent: float) -> None:
        def edit(book: Book) -> Book:
            draw = book.draws[key]
            if not draw.held:
                return book
            log.warning(
                "account %s: the job of run_dir %s gives no sign of life; what it has not spent returns (%g of %g)",
                self.root, draw.run_dir, max(0.0, draw.granted - spent), draw.granted,
            )  # fmt: skip
            return book.with_draw(key, replace(draw, state=RETURNED if draw.has_grant else REFUSED, spent=spent))

        self.change(Book("", 0.0), edit)


def periods(root: storage.Location) -> list[Period]:
    """Lists the periods of an account, oldest first."""
    matches = (_BOOK.fullmatch(name) for name in storage.list_names(root))
    found = [Period(date.fromisoformat(m[1]), date.fromisoformat(m[2])) for m in matches if m]
    return sorted(found, key=lambda period: (period.last, period.first))
