"""Finds the rows whose translation is missing or fails a check that escalates, before the merge chooses among them.

The file of a shard has the places of these rows. The plan gives some of them to the other model.
"""

import pyarrow as pa

from routelmt_ray.checks.checker import Checker
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config import schema
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages.check import chosen_outputs
from routelmt_ray.stages.chosen import Translated
from routelmt_ray.stages.validate import needed_columns


class FindFailing:
    """Commits the failing rows of a shard. Reads: an item of work. Writes: shard, rows (for the progress)."""

    def __init__(self, context: RunContext, translated: Translated, checks: CheckPlan, stage: str) -> None:
        self._context, self._translated, self._checks, self._stage = context, translated, checks, stage
        self._checker: Checker | None = None

    def __call__(self, item: pa.Table) -> pa.Table:
        if self._checker is None:  # opened on the worker
            self._checker = Checker(self._checks)
        context, shard = self._context, from_item(item)
        columns = self._translated(context, shard)
        table = read_shard(shard, context.schema, needed_columns(context.input))
        failing = [row for row, status in enumerate(columns["status"]) if status and status not in schema.TRANSLATED]
        for row, output in chosen_outputs(context, columns, table):
            found = self._checker.findings(output, whole=columns["status"][row] != schema.TRUNCATED)
            if any(finding.failed for finding in found.values()):
                failing.append(row)
        places = pa.array([shard.first_place + row for row in sorted(failing)], pa.int64())
        meta = {"rows": shard.rows, "failing": len(failing)}
        context.run.commit(self._stage, shard.index, pa.table({"place": places}), meta)
        return pa.table({"shard": [shard.index], "rows": [shard.rows]})
