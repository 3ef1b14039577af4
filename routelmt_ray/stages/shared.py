"""Gives each repeat what was chosen for the first row of its segment: model, translation, route and status.

Two steps over the sections. `ShareAnswers` sends what was chosen for a first row to the sections that have repeats of it.
`PlaceAnswers` puts it beside their repeats, by shard, for the merge.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt_ray.config.schema import DUPLICATE_OF, FROM_MEMORY
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages.chosen import MergePlan, choose_rows
from routelmt_ray.stages.exchange import commit_parts, read_part
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


class ShareAnswers:
    """Commits what was chosen for the first rows of a section, by the section that needs it.

    Reads: an item of work for a section. Writes: shard, rows (for the progress).
    """

    def __init__(self, context: RunContext, sections: Sections, plan: MergePlan) -> None:
        """Args: context: the run; sections: the cut of its corpus; plan: the decisions, and the translations' stages."""
        self._context, self._sections, self._plan = context, sections, plan

    def __call__(self, item: pa.Table) -> pa.Table:
        """Commits the section that an item of work names; returns one summary row."""
        section, context = from_item(item), self._context
        keyed = pa.schema([("first", pa.int64()), *COLUMNS, *([FROM_MEMORY] if self._plan.memory else [])])
        tables, wanted_by = [keyed.empty_table()], [np.zeros(0, np.int64)]
        for shard in self._sections.shards_of(section):
            rows, wanting = read_repeats(context.run, self._sections, shard).wanted
            if not len(rows):
                continue
            chosen = choose_rows(context, self._plan, shard)
            columns: dict[str, Any] = {name: [values[row] for row in rows] for name, values in chosen.columns.items()}
            columns |= {"first": shard.first_place + rows, "predicted_gain": chosen.rows.gains[rows]}
            tables.append(pa.table({name: pa.array(columns[name], keyed.field(name).type) for name in keyed.names}))
            wanted_by.append(wanting)
        table, meta = pa.concat_tables(tables), {"rows": section.rows}
        commit_parts(context.run, ANSWERS, section.index, table, np.concatenate(wanted_by), self._sections.count, meta)
        return pa.table({"shard": [section.index], "rows": [section.rows]})


class PlaceAnswers:
    """Commits a row for each repeat of a section, in order, by shard. Reads: an item of work. Writes: shard, rows."""

    def __init__(self, context: RunContext, sections: Sections) -> None:
        """Args: context: the run; sections: the cut of its corpus."""
        self._run, self._sections = context.run, sections

    def __call__(self, item: pa.Table) -> pa.Table:
        """Commits the section that an item of work names; returns one summary row."""
        section, sections = from_item(item), self._sections
        answers = read_part(self._run, ANSWERS, range(sections.count), section.index)
        known = answers["first"].to_numpy()  # ascending, as sections and their rows are in order
        firsts, groups = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for group, shard in enumerate(sections.shards_of(section)):
            repeats = read_repeats(self._run, sections, shard)
            firsts.append(repeats.first[repeats.rows])
            groups.append(np.full(len(repeats.rows), group))
        table = answers.take(np.searchsorted(known, np.concatenate(firsts)))
        meta = {"rows": section.rows}
        commit_parts(self._run, STAGE, section.index, table, np.concatenate(groups), sections.shards, meta)
        return pa.table({"shard": [section.index], "rows": [0]})


def steps(context: RunContext, sections: Sections, plan: MergePlan) -> dict[str, Callable[[pa.Table], pa.Table]]:
    """Gives the steps by their stages, in order."""
    return {ANSWERS: ShareAnswers(context, sections, plan), STAGE: PlaceAnswers(context, sections)}


def fill_repeats(
    run: RunDir, sections: Sections, shard: Shard, columns: dict[str, list[Any]], gains: np.ndarray
) -> np.ndarray:
    """Fills the columns of the output of each repeat in a shard from its first row, and adds `duplicate_of`.

    Args:
        run: the run directory.
        sections: the cut of its corpus.
        shard: the shard.
        columns: columns of the output, by row; changed here.
        gains: predicted gain of each row, float32, shape ``(rows,)``.

    Returns:
        The gains, with those of the first rows for repeats.
    """
    repeats = read_repeats(run, sections, shard)
    section, group = sections.group_of(shard.index)
    answers, rows = read_part(run, STAGE, [section], group), repeats.rows.tolist()
    columns[DUPLICATE_OF.name] = [None] * shard.rows
    found = {name: answers[name].to_pylist() for name in columns if name in answers.column_names}
    for name, values in (found | {DUPLICATE_OF.name: answers["first"].to_pylist()}).items():
        for row, value in zip(rows, values, strict=True):
            columns[name][row] = value
    gains = gains.copy()
    gains[rows] = answers["predicted_gain"].to_numpy()
    return gains
