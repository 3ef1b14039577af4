"""The place of a translate run in an account: its period and id there, its description for messages, and the amount
that it has spent.

`account.json` in the run directory names the account, the period and the id of the run in it. It is written before the run
draws, so that every later start of the run finds its own draw again, in the same period.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from routelmt_ray import storage
from routelmt_ray.account.account import Account, periods
from routelmt_ray.account.book import Book
from routelmt_ray.budget.price import prices_of
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.account import Period, period_of
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.price import PriceConfig
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.evaluation.formats import amount
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.storage.rundir import ACCOUNT, RunDir

_PLANNED = re.compile(r"large/\d+")
HOW = "raise the allowance, wait for the next period, or set a budget and leave account.path out"


def describe_allowance(place: AccountRun, book: Book) -> str:
    """Describes an allowance, with the amounts that are spent and reserved, for messages."""
    allowance, spent, reserved = (amount(units, book.unit) for units in (book.allowance, book.spent, book.reserved))
    where = f"account {place.account.root}, {place.account.period}"
    return f"{where}: of an allowance of {allowance}, {spent} spent and {reserved} reserved"


@dataclass(frozen=True)
class AccountRun:
    """The place of a run in an account."""

    account: Account
    """The period of the account."""
    key: str
    """Id of the run in it."""
    new: Book
    """The book where no job has drawn."""

    @property
    def book(self) -> Book:
        """The book as it is now, with the allowance that this job is configured with."""
        return replace(self.account.read() or self.new, allowance=self.new.allowance)


def find_place(config: TranslateConfig, *, at_work: bool = False) -> AccountRun:
    """Finds the place that a run has in its account, or would get today; its id is empty in the second case.

    Of a run `at_work` the period is that in which it started, also once that has ended. Raises Refused where the run has
    drawn from another account, or the account does not fit the configuration.
    """
    root, account, today = storage.path(str(config.account.path)), config.account, datetime.now(UTC).date()
    fields, period = _recorded(RunDir(config.run_dir)), period_of(account.period, today)
    if fields is not None and fields["path"] != str(root):
        raise Refused(
            f"account.path is {account.path}, but run_dir {config.run_dir} draws from {fields['path']}; name that account, or "
            "use a new run_dir"
        )
    key = "" if fields is None else fields["id"]
    before = None if fields is None else Account(root, _period(fields)).read()
    has_drawn = before is not None and key in before.draws and before.draws[key].has_grant
    if fields is not None and (at_work or has_drawn):
        period = _period(fields)
    elif not period.first <= today <= period.last:
        raise Refused(f"account.period is {account.period}, but today is {today} (UTC); set a period with this day")
    else:
        check_period(account.period, Account(root, period), today)
    place = AccountRun(Account(root, period), key, Book(account.unit(config.price.currency), account.allowance))
    check_unit(place, place.book)
    return place


def check_period(asked: str, account: Account, today: date) -> None:
    """Raises Refused where jobs draw from an account for another period that has today in it, as this one has; `asked` is the
    configured period."""
    root, period = account.root, account.period
    others = [p for p in periods(root) if p != period and p.first <= today <= p.last]
    if others and period.first <= today <= period.last:
        raise Refused(
            f"account.period is {asked}, which is {period} today, but jobs draw from account {root} for {others[0]}; a "
            "second period would have an allowance beside that one; keep that period until it ends, or use another account.path"
        )


def check_unit(place: AccountRun, book: Book) -> None:
    """Raises Refused where an allowance is in another unit than that of the book."""
    if book.unit != place.new.unit:
        have, want = map(_key_of, (book.unit, place.new.unit))
        account = place.account
        raise Refused(
            f"{want} is set, but account {account.root} has {have} in the period {account.period}; use that key, or another "
            "account.path"
        )


def _key_of(unit: str) -> str:
    return {"rows": "account.rows", "device_s": "account.gpu_hours"}.get(unit, f"account.money in {unit}")


def facts(place: AccountRun, book: Book) -> dict[str, Any]:
    """Collects the facts of an account for a report."""
    mine = book.draws.get(place.key)
    return {
        "path": str(place.account.root), "first": f"{place.account.period.first}", "last": f"{place.account.period.last}",
        "unit": book.unit, "allowance": book.allowance, "spent": book.spent, "reserved": book.reserved, "left": book.left(),
        "granted": mine and mine.granted, "used": mine and mine.spent, "price": mine and mine.price, "state": mine and mine.state,
    }  # fmt: skip


def read_facts(run: RunDir) -> dict[str, Any] | None:
    """Reads the account of a run as :func:`facts` does; None where the run has none, or has not drawn."""
    if (fields := _recorded(run)) is None:
        return None
    account = Account(storage.path(fields["path"]), _period(fields))
    book = account.read()
    return (
        None if book is None or fields["id"] not in book.draws else facts(AccountRun(account, fields["id"], book), book)
    )


def is_copy(own: str, drawn: str, key: str) -> bool:
    """Tells whether a run directory is a copy of the one that drew under an id, which is still there."""
    try:
        if own == drawn or (_recorded(RunDir(drawn)) or {}).get("id") != key:
            return False
        return storage.is_s3(drawn) or not os.path.samefile(own, drawn)
    except (OSError, ValueError):
        return False


def _recorded(run: RunDir) -> dict[str, str] | None:
    try:
        found: dict[str, str] = storage.read_json(run.root / ACCOUNT)
    except FileNotFoundError:
        return None
    return found


def _period(fields: Mapping[str, str]) -> Period:
    return Period(date.fromisoformat(fields["first"]), date.fromisoformat(fields["last"]))


def count_calls(run: RunDir, stages: Iterable[str]) -> int:
    """Counts the rows that the large model has translated in some stages, without those of an audit."""
    planned = [stage for stage in stages if _PLANNED.fullmatch(stage)]
    return sum(meta["rows"] for stage in planned for meta in run.metas(stage).values())


def spent_of(run_dir: str, unit: str, key: str | None = None) -> float | None:
    """Reads the amount that a run has spent so far: rows of the large model, device-seconds or money; None if unreadable.

    `unit` is `rows` (those that its plans sent to the large model, without those of an audit), `device_s`, or a currency: money,
    at the prices of the run itself. With an id in an account, `key`, the folder must still have the run with this id.
    """
    run = RunDir(run_dir)
    try:
        if (manifest := run.manifest()) is None or (key is not None and (_recorded(run) or {}).get("id") != key):
            return None
        if unit == "device_s":
            return meter_readings.total_s(run)
        if unit != "rows":
            prices = prices_of(configlib.build(PriceConfig, manifest["config"]["price"]))
            return None if prices is None else meter_readings.total_s(run, prices=prices)
        return float(count_calls(run, [f"large/{name}" for name in storage.list_names(run.root / "large")]))
    except (OSError, ValueError, KeyError):
        return None
