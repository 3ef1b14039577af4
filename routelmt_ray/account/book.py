"""The book of one period: its allowance, and what each job was granted and has spent. One small JSON file.

A change reads the file, and replaces it only if no other job has changed it since. So the sum of all grants is decided
in one place, and several jobs at once never get more than there is.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from routelmt_ray import storage

FORMAT = 1
"""Version of the file; it increases with a change that another version would read wrongly."""
SCORING, RESERVED, SETTLED = "scoring", "reserved", "settled"
"""States of a draw: its job has an advance, and no grant yet; has its grant, and works or may resume; has finished."""
RETURNED, REFUSED = "returned", "refused"
"""States of a draw that ended early: its job gave no sign of life for too long; ended without a grant, as it did not get enough or
gave no sign of life."""
_TRIES = 200


@dataclass(frozen=True)
class Draw:
    """The draw of one job on the allowance, in its unit."""

    run_dir: str
    """Run directory of the job."""
    day: str
    """Day of the draw, UTC, ISO 8601."""
    rows: int
    """Rows of the job that have a score."""
    granted: float
    """Largest amount that the job may use: its grant, or before that its advance."""
    state: str
    """`reserved`, `settled`, `returned` or `refused`."""
    spent: float
    """Amount that the job has used, as far as the account knows. While the draw is held, the account is charged `granted`, or this if
    it is more."""
    changed_s: float
    """Time at which the job last wrote here, seconds since the epoch."""
    price: float | None = None
    """Least gain per unit of the rows that were worth their cost, in this job and later; None: all rows were, or
    none."""
    later: float = 0.0
    """Amount that was left for the rest of the period."""
    expected: float = 0.0
    """Amount that the rest of the period was expected to need at this price."""
    before: float = 0.0
    """Rows that plans of its run sent to the large model before the draw, for an allowance in rows."""

    @property
    def held(self) -> bool:
        """True while an amount is kept for the job."""
        return self.state in (SCORING, RESERVED)

    @property
    def has_grant(self) -> bool:
        """True once the job has drawn."""
        return self.state not in (SCORING, REFUSED)

    @property
    def charged(self) -> float:
        """Units that are no longer left for other jobs."""
        return max(self.granted, self.spent) if self.held else self.spent


@dataclass(frozen=True)
class Book:
    """The book of a period."""

    unit: str
    """`rows`, `device_s`, or a currency."""
    allowance: float
    """Amount for all jobs together, as the newest job was configured."""
    draws: Mapping[str, Draw] = field(default_factory=dict)
    """The draw of each job, by its id; the first draw first."""

    @property
    def spent(self) -> float:
        """Units that finished and stopped jobs have taken."""
        return sum(draw.spent for draw in self.draws.values() if not draw.held)

    @property
    def reserved(self) -> float:
        """Units that are kept for jobs that are at work or may resume."""
        return sum(draw.charged for draw in self.draws.values() if draw.held)

    def left(self, without: str | None = None) -> float:
        """Computes the units that are neither spent nor reserved; below 0 where more was spent than there is.

        Args:
            without: id of a job whose own draw does not count.
        """
        return self.allowance - sum(draw.charged for key, draw in self.draws.items() if key != without)

    def with_draw(self, key: str, draw: Draw) -> Book:
        """Returns the book with a new or changed draw."""
        return replace(self, draws={**self.draws, key: draw})

    def to_bytes(self) -> bytes:
        """Writes the book as the JSON of its file."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, path: storage.Location) -> Book:
        """Reads the content of its file.

        Raises:
            ValueError: it was altered, or another version with another format wrote it.
        """
        try:
            fields: dict[str, Any] = json.loads(content)
            if (found := fields.pop("format")) != FORMAT:
                raise ValueError(
                    f"{path} has format {found!r}: another version of RouteLMT on Ray wrote it; use that version, or another "
                    "account.path"
                )
            return cls(**fields | {"draws": {key: Draw(**draw) for key, draw in fields["draws"].items()}})
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{path} is not the book of an account ({error!r}); put it back, or use another account.path"
            ) from None


def read(path: storage.Location) -> Book | None:
    """Reads a book; returns None where there is none.

    Raises:
        ValueError: see :meth:`Book.from_bytes`.
    """
    try:
        return Book.from_bytes(storage.read_bytes(path), path)
    except FileNotFoundError:
        return None


def change(path: storage.Location, new: Book, edit: Callable[[Book], Book]) -> Book:
    """Changes a book in one step, also where other jobs change it at the same time.

    Args:
        path: its file.
        new: the book where there is none.
        edit: returns the changed book. It is called again for each attempt, and must change nothing where its own change
            is already there, because the answer of a store can be lost.

    Returns:
        The book as it is then.

    Raises:
        ValueError: the file is no book.
        StorageError: other jobs changed it before every attempt.
    """
    for _ in range(_TRIES):
        try:
            content = storage.read_bytes(path)
        except FileNotFoundError:
            content = None
        before = new if content is None else Book.from_bytes(content, path)
        after = edit(before)
        if content is not None and after == before:
            return after
        if storage.create(path, after.to_bytes()) if content is None else storage.swap(path, content, after.to_bytes()):
            return after
        time.sleep(random.uniform(0, 0.05))
    raise storage.StorageError(f"{path}: other jobs changed it {_TRIES} times in a row; start the job again")
