"""Which row kills its engine: narrowed down over the deaths of actors, by a mark that outlives them.

An actor writes down which rows of a shard it hands to its engine before it does. If it dies, the mark stays, and the next
attempt at the shard knows what was in flight. The first death may have been anybody's (a machine that was taken away), so
the shard is tried whole once more. After another one the rows in flight are tried in :data:`PARTS` parts, and so on until
a row has died alone: it is convicted, and left out from then on.
"""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from routelmt_ray import storage
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)

FOLDER = "attempts"
"""Where in a run directory the marks are."""
PARTS = 16
"""Parts the rows in flight are tried in: of 32,768 rows one is found with 6 deaths."""
MOST_DEATHS = 12
"""Deaths over one shard without a conviction; more say that no row is to blame."""
MOST_CONVICTED = 8
"""Rows of one shard that may be convicted; where more kill their engine, the engine is to blame."""


class ShardGivenUp(RuntimeError):
    """The engine keeps dying over a shard, and no row of it is to blame."""


@dataclass(frozen=True)
class Mark:
    """What is known of a shard that has been, or is being, tried."""

    rows: int
    """Rows handed over in all; with another number the mark is of other work."""
    start: int = 0
    """The first row in flight."""
    stop: int = 0
    """The row after the last one in flight; nothing is in flight where it equals `start`."""
    deaths: int = 0
    """Deaths since the last conviction."""
    deaths_in_all: int = 0
    """Deaths so far."""
    convicted: tuple[int, ...] = ()
    """Rows that died alone, ascending."""

    def after_death(self) -> "Mark":
        """What is known once the actor that left this mark is dead."""
        if self.start == self.stop:
            return self
        died = replace(self, deaths=self.deaths + 1, deaths_in_all=self.deaths_in_all + 1)
        if self.stop - self.start > 1 or died.deaths < 2:
            return died
        return replace(died, start=0, stop=0, deaths=1, convicted=tuple(sorted({*self.convicted, self.start})))

    def parts(self) -> list[range]:
        """Ranges to hand over, one after the other: together every row once but the convicted ones."""
        if self.deaths < 2 or self.start == self.stop:
            parts = [range(self.rows)]
        else:
            step = -(-(self.stop - self.start) // PARTS)
            starts = range(self.start, self.stop, step)
            suspects = [range(start, min(start + step, self.stop)) for start in starts]
            parts = [range(self.start), *suspects, range(self.stop, self.rows)]
        return [rest for part in parts for rest in _without(part, self.convicted)]


def _without(part: range, rows: Iterable[int]) -> list[range]:
    """What is left of a range when some rows are taken out."""
    found, start = [], part.start
    for row in rows:
        if row in part:
            found.append(range(start, row))
            start = row + 1
    return [rest for rest in (*found, range(start, part.stop)) if rest]


class Attempt:
    """One attempt at the rows of a shard."""

    def __init__(self, run: RunDir, stage: str, shard: int, rows: int) -> None:
        """Looks up how earlier attempts ended.

        Args:
            run: the run.
            stage: where the shard will be committed.
            shard: its number.
            rows: how many of its rows the engine is to get.

        Raises:
            ShardGivenUp: the engine died over it too often.
        """
        self._path = run.root / FOLDER / stage / f"shard-{shard:06d}.json"
        mark = _read(self._path)
        self.mark = mark.after_death() if mark is not None and mark.rows == rows else Mark(rows)
        """What is known as this attempt starts."""
        if self.mark.deaths >= MOST_DEATHS or len(self.mark.convicted) > MOST_CONVICTED:
            raise ShardGivenUp(
                f"the engine died {self.mark.deaths_in_all} times over shard {shard} of {stage}, whatever rows it got; see "
                f"the messages of its actors, and remove {self._path} to have it tried anew"
            )

    def enter(self, part: range) -> None:
        """Writes down that these rows are in flight."""
        self.mark = replace(self.mark, start=part.start, stop=part.stop)
        storage.write_json(self._path, asdict(self.mark), durable=False)

    def close(self) -> None:
        """Writes down that no row is in flight any more; of an attempt at a shard nobody died over nothing is left."""
        if self.mark.deaths_in_all:
            self.enter(range(0))
        else:
            storage.remove(self._path)


def deaths(run: RunDir) -> list[tuple[str, Mark]]:
    """Shards that engines died over, as ``<stage>/shard-<number>`` with what is known, in order."""
    folder = run.root / FOLDER
    marks = [(name.removesuffix(".json"), _read(folder / name)) for name in storage.list_tree(folder)]
    return [(name, mark) for name, mark in marks if mark is not None and mark.deaths_in_all]


def table(run: RunDir) -> list[dict[str, object]]:
    """The same for a report: shard, deaths, and how many rows were convicted."""
    return [
        {"shard": name, "deaths": mark.deaths_in_all, "convicted": len(mark.convicted)} for name, mark in deaths(run)
    ]


def _read(path: storage.Location) -> Mark | None:
    try:
        value = storage.read_json(path)
        return Mark(**value | {"convicted": tuple(value["convicted"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:  # marks are not durable: a machine that dies may spoil one
        log.warning("%s tells nothing, and is left out: %s", path, error)
        return None
