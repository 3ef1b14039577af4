"""Copies the result of the first row of a segment to its repeats: in a translate run model, translation, route and
status.

Two steps over the sections. `ShareAnswers` sends what a first row got to the sections that have repeats of it.
`PlaceAnswers` puts it beside their repeats, by shard, for the stages that read shards.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt_ray.config.schema import DUPLICATE_OF, FROM_MEMORY
from routelmt_ray.corpus.repeats import Sections, rows_at
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages.chosen import MergePlan, choose_rows
from routelmt_ray.stages.exchange import SectionStep, commit_parts, read_part
from routelmt_ray.stages.repeats import read_repeats
from routelmt_ray.storage.rundir import RunDir

ANSWERS, STAGE = "shared/answers", "shared/rows"
FOLDER = "shared"
COLUMNS = pa.schema(
    [
        ("translation", pa.large_string()),  # of many rows together, more than 2 GiB
        ("model", pa.string()),
        ("route", pa.string()),
        ("route_reason", pa.string()),
        ("status", pa.string()),
        ("error", pa.large_string()),
        ("predicted_gain", pa.float32()),
    ]
)
"""Columns that a repeat copies from its first row; with a memory also `from_memory`."""


class Answers(NamedTuple):
    """Gives what repeats copy from the first rows of a shard."""

    columns: pa.Schema
    read: Callable[[RunContext, Shard, np.ndarray], pa.Table]
    """Reads these columns of some rows of a shard."""


def chosen(plan: MergePlan) -> Answers:
    """Gives what a plan chose for the first rows of a shard."""
    schema = pa.schema([*COLUMNS, *([FROM_MEMORY] if plan.memory else [])])

    def read(context: RunContext, shard: Shard, rows: np.ndarray) -> pa.Table:
        found = choose_rows(context, plan, shard)
        columns: dict[str, Any] = {name: [values[row] for row in rows] for name, values in found.columns.items()}
        columns["predicted_gain"] = found.rows.gains[rows]
        return pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema})

    return Answers(schema, read)


class ShareAnswers:
    """Commits the results of the first rows of a section, by the section that needs them.

    Reads: an item of work for a section. Writes: shard, rows (for the progress).
    """

    def __init__(self, context: RunContext, sections: Sections, answers: Answers) -> None:
        self._context, self._sections, self._answers = context, sections, answers

    def __call__(self, item: pa.Table) -> pa.Table:
        section, context = from_item(item), self._context
        keyed = pa.schema([("first", pa.int64()), *self._answers.columns])
        tables, wanted_by = [keyed.empty_table()], [np.zeros(0, np.int64)]
        for shard in self._sections.shards_of(section):
            rows, wanting = read_repeats(context.run, self._sections, shard).wanted
            if not len(rows):
                continue
            found = self._answers.read(context, shard, rows)
            tables.append(found.add_column(0, keyed.field(0), pa.array(shard.first_place + rows)))
            wanted_by.append(wanting)
        table, meta = pa.concat_tables(tables), {"rows": section.rows}
        commit_parts(context.run, ANSWERS, section.index, table, np.concatenate(wanted_by), self._sections.count, meta)
        return pa.table({"shard": [section.index], "rows": [section.rows]})


class PlaceAnswers(SectionStep):
    """Commits a row for each repeat of a section, in order, by shard."""

    def __call__(self, item: pa.Table) -> pa.Table:
        section, sections = from_item(item), self._sections
        answers = read_part(self._run, ANSWERS, range(sections.count), section.index)
        known = answers["first"].to_numpy()  # ascending, as sections and their rows are in order
        firsts, groups = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for group, shard in enumerate(sections.shards_of(section)):
            repeats = read_repeats(self._run, sections, shard)
            firsts.append(repeats.first[repeats.rows])
            groups.append(np.full(len(repeats.rows), group))
        table = answers.take(rows_at(known, np.concatenate(firsts)))
        meta = {"rows": section.rows}
        commit_parts(self._run, STAGE, section.index, table, np.concatenate(groups), sections.shards, meta)
        return pa.table({"shard": [section.index], "rows": [0]})


def steps(context: RunContext, sections: Sections, answers: Answers) -> dict[str, Callable[[pa.Table], pa.Table]]:
    """Gives the steps by their stages, in order."""
    return {ANSWERS: ShareAnswers(context, sections, answers), STAGE: PlaceAnswers(context, sections)}


def read_answers(run: RunDir, sections: Sections, shard: Shard) -> pa.Table:
    """Reads the results that the repeats of a shard copy, in their order, with `first`, the place of their first
    row."""
    section, group = sections.group_of(shard.index)
    return read_part(run, STAGE, [section], group)


def fill_repeats(
    run: RunDir, sections: Sections, shard: Shard, columns: dict[str, list[Any]], gains: np.ndarray
) -> np.ndarray:
    """Fills the columns of the output of each repeat in a shard from its first row, and adds `duplicate_of`.

    Returns the gains, float32, shape ``(rows,)``, with those of the first rows for repeats.
    """
    answers, rows = read_answers(run, sections, shard), read_repeats(run, sections, shard).rows.tolist()
    columns[DUPLICATE_OF.name] = [None] * shard.rows
    found = {name: answers[name].to_pylist() for name in columns if name in answers.column_names}
    for name, values in (found | {DUPLICATE_OF.name: answers["first"].to_pylist()}).items():
        for row, value in zip(rows, values, strict=True):
            columns[name][row] = value
    gains = gains.copy()
    gains[rows] = answers["predicted_gain"].to_numpy()
    return gains
