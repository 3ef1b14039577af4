"""Finds the row that kills its engine, by a mark that remains when an actor dies.

Before an actor hands rows of a shard to its engine, it writes down which ones. If it dies, the mark stays, and the next
attempt at the shard knows which rows were in flight. The first death may have had another cause, such as a machine that
was taken away, so all rows are tried once more. After the second death the rows in flight are tried in :data:`PARTS`
parts, and so on, until the engine dies over a single row. That row is convicted, and left out from then on.
"""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from routelmt_ray import storage
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)

FOLDER = "attempts"
"""Folder of the marks in a run directory."""
PARTS = 16
"""Number of parts in which the rows in flight are tried. Among 32,768 rows, one is found with 6 deaths."""
MOST_DEATHS = 12
"""After this number of deaths over one shard without a conviction, no row is blamed and the shard is given up."""
MOST_CONVICTED = 8
"""Most rows of one shard that may be convicted. If more kill their engine, the fault is in the engine."""


class ShardGivenUp(RuntimeError):
    """The engine keeps dying over a shard, and no row of it is the cause."""


@dataclass(frozen=True)
class Mark:
    """The known facts about a shard that was tried or is being tried."""

    rows: int
    """Rows to hand over in all. If the number differs, the mark belongs to other work."""
    start: int = 0
    """The first row in flight."""
    stop: int = 0
    """The row after the last one in flight; nothing is in flight where it equals `start`."""
    deaths: int = 0
    """Deaths since the last conviction, the convicting one included."""
    deaths_in_all: int = 0
    """Deaths so far."""
    convicted: tuple[int, ...] = ()
    """Convicted rows: the engine died over each of them when it was the only row in progress. Ascending."""

    def after_death(self) -> "Mark":
        """Derives the mark after the death of the actor that left this one."""
        if self.start == self.stop:
            return self
        died = replace(self, deaths=self.deaths + 1, deaths_in_all=self.deaths_in_all + 1)
        if self.stop - self.start > 1 or died.deaths < 2:
            return died
        return replace(died, start=0, stop=0, deaths=1, convicted=tuple(sorted({*self.convicted, self.start})))

    def parts(self) -> list[range]:
        """Lists the ranges to hand over in turn. Together they hold each row once, without the convicted ones."""
        if self.deaths < 2 or self.start == self.stop:
            parts = [range(self.rows)]
        else:
            step = -(-(self.stop - self.start) // PARTS)
            starts = range(self.start, self.stop, step)
            suspects = [range(start, min(start + step, self.stop)) for start in starts]
            parts = [range(self.start), *suspects, range(self.stop, self.rows)]
        return [rest for part in parts for rest in _without(part, self.convicted)]


def _without(part: range, rows: Iterable[int]) -> list[range]:
    """The parts of a range that remain without some rows."""
    found, start = [], part.start
    for row in rows:
        if row in part:
            found.append(range(start, row))
            start = row + 1
    return [rest for rest in (*found, range(start, part.stop)) if rest]


class Attempt:
    """One attempt at the rows of a shard."""

    def __init__(self, run: RunDir, stage: str, shard: int, rows: int) -> None:
        """Looks up how earlier attempts at a shard ended, with its rows for the engine, in the stage where it will be
        committed. Raises ShardGivenUp if the engine died over this shard too often."""
        self._path = run.root / FOLDER / stage / f"shard-{shard:06d}.json"
        mark = _read(self._path)
        self.mark = mark.after_death() if mark is not None and mark.rows == rows else Mark(rows)
        """The known facts at the start of this attempt."""
        if self.mark.deaths >= MOST_DEATHS or len(self.mark.convicted) > MOST_CONVICTED:
            raise ShardGivenUp(
                f"the engine died {self.mark.deaths_in_all} times over shard {shard} of {stage}, whichever rows it had; "
                f"see the messages of its actors, and remove {self._path} to try the shard again"
            )

    def enter(self, part: range) -> None:
        """Writes down that these rows are in flight."""
        self.mark = replace(self.mark, start=part.start, stop=part.stop)
        storage.write_json(self._path, asdict(self.mark), durable=False)

    def close(self) -> None:
        """Writes down that no row is in flight any more. Removes the mark if no engine died over the shard."""
        if self.mark.deaths_in_all:
            self.enter(range(0))
        else:
            storage.remove(self._path)


def deaths(run: RunDir) -> list[tuple[str, Mark]]:
    """Lists the shards over which engines died, as ``<stage>/shard-<number>`` with their marks, in order."""
    folder = run.root / FOLDER
    marks = [(name.removesuffix(".json"), _read(folder / name)) for name in storage.list_tree(folder)]
    return [(name, mark) for name, mark in marks if mark is not None and mark.deaths_in_all]


def table(run: RunDir) -> list[dict[str, object]]:
    """Lists the shards over which engines died for a report, with the numbers of deaths and of convicted rows."""
    return [
        {"shard": name, "deaths": mark.deaths_in_all, "convicted": len(mark.convicted)} for name, mark in deaths(run)
    ]


def _read(path: storage.Location) -> Mark | None:
    try:
        value = storage.read_json(path)
        return Mark(**value | {"convicted": tuple(value["convicted"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:  # marks are not durable: one may be broken when a machine stops
        log.warning("%s cannot be read, and is left out: %s", path, error)
        return None
