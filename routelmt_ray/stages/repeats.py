"""Finds the rows whose segment occurs in an earlier row, exactly and over the whole corpus.

Three steps, each over the sections of :class:`routelmt_ray.corpus.repeats.Sections`. `FindKeys` gives each section its
different keys, and sends them to the partition of the key. `GroupKeys` joins the sections inside a partition, and sends
what it finds back. `PlaceRepeats` sorts this by shard, for the stages that read shards.

A section sends a key once, however often it occurs there. So a partition has at most one row for each key and section,
and a corpus of equal rows is no harder than any other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from routelmt_ray.corpus.languages import pair_labels
from routelmt_ray.corpus.repeats import Ints, Keys, Sections, first_of, keys_of, rows_at
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages.exchange import SectionStep, commit_parts, read_part
from routelmt_ray.stages.validate import needed_columns, validate
from routelmt_ray.storage.rundir import RunDir

KEYS, GROUPS, STAGE = "repeats/keys", "repeats/groups", "repeats/rows"
MOST_FREQUENT = 10
"""Segments that the summary of a partition names."""
_NOWHERE = -1


class FindKeys(SectionStep):
    """Commits the different keys of a section by partition, and the repeats inside the section as the last part."""

    def __call__(self, item: pa.Table) -> pa.Table:
        section, sections = from_item(item), self._sections
        parts = [self._keys(shard) for shard in sections.shards_of(section)]
        keys = Keys(*(np.concatenate(column) for column in zip(*(keys for keys, _ in parts))))
        places = np.concatenate([places for _, places in parts])
        first = first_of(keys)
        is_first = first == np.arange(len(first))
        table = pa.table(
            {
                "high": keys.high,
                "low": keys.low,
                "size": keys.size,
                "place": places,
                "first": places[first],
                "rows": np.bincount(first, minlength=len(first)),
            }
        )
        part = np.where(is_first, sections.of_keys(keys), sections.count)
        meta = {"rows": section.rows, "keys": len(first)}
        commit_parts(self._context.run, KEYS, section.index, table, part, sections.count + 1, meta)
        return pa.table({"shard": [section.index], "rows": [section.rows]})

    def _keys(self, shard: Shard) -> tuple[Keys, Ints]:
        """Keys and places of the rows of a shard that can be translated."""
        context = self._context
        table = read_shard(shard, context.schema, needed_columns(context.input))
        rows = validate(table, context.input, context.models.small.prompt)
        ok = rows.ok()
        pairs = pair_labels([rows.source_langs[i] for i in ok], [rows.target_langs[i] for i in ok])
        return keys_of([rows.texts[i] or "" for i in ok], pairs), shard.first_place + np.array(ok, np.int64)


class GroupKeys(SectionStep):
    """Joins the keys of a partition from all sections, and commits the repeats by section.

    A row is either a repeat (place, first), for the section of its place; or it says that a section (wanted_by) has
    repeats of a first row (place = first), for the section of that row.
    """

    def __call__(self, item: pa.Table) -> pa.Table:
        partition, sections = item["shard"][0].as_py(), self._sections
        table = read_part(self._run, KEYS, range(sections.count), partition)
        column = {name: table[name].to_numpy() for name in table.column_names}
        first = first_of(Keys(column["high"], column["low"], column["size"]))
        total = np.bincount(first, column["rows"], minlength=len(first)).astype(np.int64)
        place, at, here = column["place"], np.arange(len(first)), sections.of_places(column["place"])
        repeats = np.flatnonzero(first != at)
        wanting = np.flatnonzero((first != at) | (column["rows"] > 1))
        found = pa.table(
            {
                "place": np.concatenate([place[repeats], place[first[wanting]]]),
                "first": np.concatenate([place[first[repeats]], place[first[wanting]]]),
                "occurrences": np.concatenate([np.zeros(len(repeats), np.int64), total[first[wanting]]]),
                "wanted_by": np.concatenate([np.full(len(repeats), _NOWHERE), here[wanting]]),
            }
        )
        is_first = first == at
        meta = {
            "rows": int(total.sum()),
            "segments": int(is_first.sum()),
            "repeated": int((is_first & (total > 1)).sum()),
            "frequent": _most_frequent(total[is_first], place[is_first]),
        }
        commit_parts(
            self._run, GROUPS, partition, found, sections.of_places(found["place"].to_numpy()), sections.count, meta
        )
        return pa.table({"shard": [partition], "rows": [0]})


def _most_frequent(occurrences: Ints, places: Ints) -> list[list[int]]:
    """The most frequent segments that occur more than once, as [occurrences, place of the first row]."""
    repeated = np.flatnonzero(occurrences > 1)
    best = repeated[np.lexsort((places[repeated], -occurrences[repeated]))[:MOST_FREQUENT]]
    return np.stack([occurrences[best], places[best]], axis=1).tolist()


class PlaceRepeats(SectionStep):
    """Commits the repeats of a section, by shard."""

    def __call__(self, item: pa.Table) -> pa.Table:
        section, sections = from_item(item), self._sections
        across = read_part(self._run, GROUPS, range(sections.count), section.index)
        inside = read_part(self._run, KEYS, [section.index], sections.count, ["place", "first"])
        # The first row of the section may itself repeat a row of an earlier one.
        place, first = (across[name].to_numpy() for name in ("place", "first"))
        order = np.argsort(place, kind="stable")
        local = inside["first"].to_numpy()
        known = order[rows_at(place[order], local)]
        more = pa.table(
            {
                "place": inside["place"],
                "first": first[known],
                "occurrences": np.zeros(len(local), np.int64),
                "wanted_by": np.full(len(local), _NOWHERE),
            }
        )
        table = pa.concat_tables([across, more])
        table = table.take(np.argsort(table["place"].to_numpy(), kind="stable"))
        shard = table["place"].to_numpy() // sections.shard_rows - section.index * sections.shards
        repeats = int((table["place"].to_numpy() != table["first"].to_numpy()).sum())
        meta = {"rows": section.rows, "repeats": repeats}
        commit_parts(self._run, STAGE, section.index, table, shard, sections.shards, meta)
        return pa.table({"shard": [section.index], "rows": [0]})


def steps(context: RunContext, sections: Sections) -> dict[str, Callable[[pa.Table], pa.Table]]:
    """Gives the steps by their stages, in order. The last one commits all that other stages need."""
    return {
        KEYS: FindKeys(context, sections),
        GROUPS: GroupKeys(context, sections),
        STAGE: PlaceRepeats(context, sections),
    }


@dataclass(frozen=True)
class ShardRepeats:
    """The repeats of one shard."""

    first: Ints
    """Place of the first row with the same segment, shape ``(rows,)``; for a first row its own."""
    occurrences: Ints
    """Occurrences of the segment of a first row, shape ``(rows,)``; 0 for a repeat."""
    wanted: tuple[Ints, Ints]
    """Rows of this shard whose translation a section needs for its repeats, ascending, and that section."""
    rows: npt.NDArray[np.intp]
    """Numbers of the repeats, ascending."""


def read_repeats(run: RunDir, sections: Sections, shard: Shard) -> ShardRepeats:
    """Reads the repeats of a shard."""
    section, group = sections.group_of(shard.index)
    table = read_part(run, STAGE, [section], group)
    place, first, occurrences, wanted_by = (table[name].to_numpy() for name in table.column_names)
    found = ShardRepeats(
        np.arange(shard.first_place, shard.first_place + shard.rows, dtype=np.int64),
        np.ones(shard.rows, np.int64),
        (place[wanted_by >= 0] - shard.first_place, wanted_by[wanted_by >= 0]),
        place[place != first] - shard.first_place,
    )
    found.first[place - shard.first_place] = first
    found.occurrences[place - shard.first_place] = occurrences
    return found


def first_rows(run: RunDir, sections: Sections, shard: Shard) -> list[int | None]:
    """Reads the place of the first row with the same segment, for each row of a shard; None for a row that is not a
    repeat."""
    repeats = read_repeats(run, sections, shard)
    found: list[int | None] = [None] * shard.rows
    for row in repeats.rows.tolist():
        found[row] = int(repeats.first[row])
    return found


def count_repeats(run: RunDir) -> dict[str, Any]:
    """Sums up the repeats of the whole corpus.

    Returns:
        ``rows`` that can be translated, different ``segments`` among them, the number of these that are ``repeated``, and the
        most ``frequent`` of them as [occurrences, place of the first row].
    """
    metas = list(run.metas(GROUPS).values())
    found = np.array([each for meta in metas for each in meta["frequent"]], np.int64).reshape(-1, 2)
    sums = {key: sum(meta[key] for meta in metas) for key in ("rows", "segments", "repeated")}
    return sums | {"frequent": _most_frequent(found[:, 0], found[:, 1])}
