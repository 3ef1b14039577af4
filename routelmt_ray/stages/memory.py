"""Takes translations from the memory of earlier runs, and adds those of this run; see :mod:`routelmt_ray.corpus.memory`.

Before the score, `LookUp` looks for the keys of a partition, which :class:`routelmt_ray.stages.repeats.FindKeys` has sent there, and
sends what it finds to the sections of the first rows. `PlaceFound` commits it by shard, as a leg commits translations. From
then on the run reads only these files: the memory may change or go. After the merge, `SendMade` sends the new segments to the
partition of their key, and `AddMade` adds those that the memory does not have yet.

A segment with a large translation is not looked for among the small ones.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray import storage
from routelmt_ray.config.schema import DUPLICATE_OF, FROM_MEMORY, LARGE, OK, SMALL
from routelmt_ray.corpus.memory import KEY_COLUMNS, Memory
from routelmt_ray.corpus.repeats import Ints, Keys, Sections, first_of, rows_at
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages import output
from routelmt_ray.stages.exchange import SectionStep, commit_parts, read_part
from routelmt_ray.stages.repeats import KEYS
from routelmt_ray.storage.rundir import RunDir

FOLDER = "memory"
FOUND, STAGE = f"{FOLDER}/found", f"{FOLDER}/rows"

_TEXT = ("translation", pa.large_string())  # of many rows together, more than 2 GiB
_FOUND = pa.schema([("place", pa.int64()), ("model", pa.string()), _TEXT])
_MADE = pa.schema([("high", pa.uint64()), ("low", pa.uint64()), ("size", pa.int64()), ("model", pa.string()), _TEXT])


def stage_of(size: str) -> str:
    """Names the stage with the translations of one model that the memory had, by shard; shards without any have no file."""
    return f"{FOLDER}/{size}"


def remembered_rows(run: RunDir, stage: str, shard: Shard) -> Ints:
    """Reads the rows of a shard that a stage of :func:`stage_of` has, ascending."""
    path = run.shard_path(stage, shard.index)
    if not storage.exists(path):
        return np.zeros(0, np.int64)
    return storage.read_table(path, ["place"])["place"].to_numpy() - shard.first_place


class LookUp(SectionStep):
    """Commits by section the translations that the memories of both models have for the keys of a partition."""

    def __init__(self, context: RunContext, sections: Sections, memories: Mapping[str, Memory]) -> None:
        super().__init__(context, sections)
        self._memories = memories

    def __call__(self, item: pa.Table) -> pa.Table:
        partition, sections = item["shard"][0].as_py(), self._sections
        keys, places = _first_rows(read_part(self._run, KEYS, range(sections.count), partition))
        tables = [_FOUND.empty_table()]
        for size in (LARGE, SMALL):
            numbers, texts = self._memories[size].find(keys)
            columns = {"place": places[numbers], "model": [size] * len(numbers), "translation": texts}
            tables.append(pa.table({field.name: pa.array(columns[field.name], field.type) for field in _FOUND}))
            left = np.delete(np.arange(len(places)), numbers)
            keys, places = _take(keys, left), places[left]
        table = pa.concat_tables(tables)
        parts = sections.of_places(table["place"].to_numpy())
        commit_parts(self._run, FOUND, partition, table, parts, sections.count, {"rows": 0})
        return pa.table({"shard": [partition], "rows": [0]})


def _first_rows(table: pa.Table) -> tuple[Keys, Ints]:
    """The different keys of a partition in order, and the place of the first row of each."""
    keys = _keys(table)
    firsts = np.flatnonzero(first_of(keys) == np.arange(len(keys.high)))
    order = firsts[np.argsort(keys.high[firsts], kind="stable")]
    return _take(keys, order), table["place"].to_numpy()[order]


def _take(keys: Keys, rows: Ints) -> Keys:
    return Keys(keys.high[rows], keys.low[rows], keys.size[rows])


class PlaceFound(SectionStep):
    """Commits the translations that were found for the rows of a section, by model and shard."""

    def __call__(self, item: pa.Table) -> pa.Table:
        section = from_item(item)
        table = read_part(self._run, FOUND, range(self._sections.count), section.index)
        table = table.take(np.argsort(table["place"].to_numpy()))
        counts = {}
        for size in (SMALL, LARGE):
            mine = table.filter(pc.equal(table["model"], size))
            places, counts[size] = mine["place"].to_numpy(), mine.num_rows
            for shard in self._sections.shards_of(section):
                start, stop = np.searchsorted(places, (shard.first_place, shard.first_place + shard.rows)).tolist()
                if start < stop:
                    self._commit(size, shard.index, mine.slice(start, stop - start))
        self._run.commit(STAGE, section.index, table.select(["place"]).slice(0, 0), {"rows": section.rows, **counts})
        return pa.table({"shard": [section.index], "rows": [0]})

    def _commit(self, size: str, shard: int, found: pa.Table) -> None:
        rows = pa.table(
            {
                "place": found["place"],
                "translation": found["translation"].cast(pa.string()),
                "status": pa.repeat(pa.scalar(OK), found.num_rows),
                "error": pa.nulls(found.num_rows, pa.string()),
            }
        )
        self._run.commit(stage_of(size), shard, rows, {"rows": found.num_rows}, compression="zstd")


def lookups(
    context: RunContext, sections: Sections, memories: Mapping[str, Memory]
) -> dict[str, Callable[[pa.Table], pa.Table]]:
    """Gives the steps before the score by their stages, in order."""
    return {FOUND: LookUp(context, sections, memories), STAGE: PlaceFound(context, sections)}


class SendMade:
    """Commits the segments of a section that this run translated, by the partition of their key.

    Only rows of the output with the status `ok` count. Reads: an item of work for a section. Writes: shard, rows.
    """

    def __init__(self, context: RunContext, sections: Sections, stage: str) -> None:
        self._context, self._sections, self._stage = context, sections, stage

    def __call__(self, item: pa.Table) -> pa.Table:
        section, run = from_item(item), self._context.run
        made = pa.concat_tables([self._made(shard) for shard in self._sections.shards_of(section)])
        keys = storage.read_table(run.shard_path(KEYS, section.index), [*KEY_COLUMNS, "place"])
        keys = keys.take(np.argsort(keys["place"].to_numpy()))
        keys = keys.take(rows_at(keys["place"].to_numpy(), made["place"].to_numpy()))
        columns = {name: keys[name] for name in KEY_COLUMNS} | {name: made[name] for name in _FOUND.names[1:]}
        table = pa.table(columns).cast(_MADE)
        parts = self._sections.of_keys(_keys(table))
        commit_parts(run, self._stage, section.index, table, parts, self._sections.count, {"rows": section.rows})
        return pa.table({"shard": [section.index], "rows": [section.rows]})

    def _made(self, shard: Shard) -> pa.Table:
        """Place, model and translation of the segments of a shard that a model has translated now."""
        context = self._context
        names = [
            context.prefix + name for name in ("model", "translation", "status", DUPLICATE_OF.name, FROM_MEMORY.name)
        ]
        path = context.run.shard_path(output.STAGE, shard.index)
        model, text, status, first, known = storage.read_table(path, names).columns
        new = pc.and_(pc.and_(pc.equal(status, OK), pc.is_valid(model)), pc.and_(pc.is_null(first), pc.invert(known)))
        places = np.arange(shard.first_place, shard.first_place + shard.rows, dtype=np.int64)
        return pa.table({"place": places, "model": model, "translation": text}).cast(_FOUND).filter(new)


class AddMade:
    """Adds the segments of a partition to the memory of their model, except those that it already has.

    Reads: an item of work, of which the number counts. Writes: shard, rows.
    """

    def __init__(
        self, context: RunContext, sections: Sections, made: str, stage: str, memories: Mapping[str, Memory]
    ) -> None:
        self._run, self._sections, self._made, self._stage = context.run, sections, made, stage
        self._memories = memories

    def __call__(self, item: pa.Table) -> pa.Table:
        partition = item["shard"][0].as_py()
        table = read_part(self._run, self._made, range(self._sections.count), partition)
        meta: dict[str, Any] = {"rows": 0, "entries": 0, "bytes": 0}
        for size, memory in self._memories.items():
            mine = table.filter(pc.equal(table["model"], size))
            mine = mine.take(np.argsort(mine["high"].to_numpy(), kind="stable"))
            mine = mine.take(np.delete(np.arange(mine.num_rows), memory.find(_keys(mine))[0]))
            if mine.num_rows:
                meta["entries"] += mine.num_rows
                meta["bytes"] += memory.add(_keys(mine), mine["translation"].to_pylist())
        self._run.commit(self._stage, partition, _FOUND.empty_table(), meta)
        return pa.table({"shard": [partition], "rows": [0]})


def _keys(table: pa.Table) -> Keys:
    return Keys(*(table[name].to_numpy() for name in KEY_COLUMNS))


def made_stage(series: int) -> str:
    """Names the stage with the new segments of a budget; it may be cleared once they are added."""
    return f"{FOLDER}/made-{series:03d}"


def added_stage(series: int) -> str:
    """Names the stage with the numbers of segments that a budget added to the memory."""
    return f"{FOLDER}/added-{series:03d}"


def additions(
    context: RunContext, sections: Sections, memories: Mapping[str, Memory], series: int
) -> dict[str, Callable[[pa.Table], pa.Table]]:
    """Gives the steps after the merge by their stages, in order; the entry `series` begins the budget, as another has more to add."""
    made, stage = made_stage(series), added_stage(series)
    return {
        made: SendMade(context, sections, made),
        stage: AddMade(context, sections, made, stage, memories),
    }
