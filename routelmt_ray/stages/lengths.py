"""Tallies the lengths of the chosen translations, before the check of lengths judges any of them.

The stage has no rows. The summary of each shard has a histogram, and the driver adds them up. A row's verdict
therefore depends on the whole run, and not on the order of shards or on a restart.
"""

import pyarrow as pa

from routelmt_ray.checks import length
from routelmt_ray.checks.plan import LengthLimits
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages.check import chosen_outputs
from routelmt_ray.stages.chosen import Translated
from routelmt_ray.stages.validate import needed_columns
from routelmt_ray.storage.rundir import RunDir

STAGE = "lengths"


class TallyLengths:
    """Commits the histogram of a shard. Reads: an item of work. Writes: shard, rows (for the progress)."""

    def __init__(self, context: RunContext, translated: Translated, stage: str = STAGE) -> None:
        """Keeps the run, the translations to tally, and the stage to commit to."""
        self._context, self._translated, self._stage = context, translated, stage

    def __call__(self, item: pa.Table) -> pa.Table:
        context, shard = self._context, from_item(item)
        columns = self._translated(context, shard)
        table = read_shard(shard, context.schema, needed_columns(context.input))
        outputs = (output for _, output in chosen_outputs(context, columns, table))
        meta = {"rows": shard.rows, "lengths": length.tally(outputs)}
        context.run.commit(self._stage, shard.index, pa.table({"place": pa.array([], pa.int64())}), meta)
        return pa.table({"shard": [shard.index], "rows": [shard.rows]})


def read_limits(run: RunDir, min_rows: int, stage: str = STAGE) -> dict[str, LengthLimits]:
    """Computes the limits of each language pair from the histograms of all shards; pairs with fewer rows are left out."""
    return length.limits((meta["lengths"] for meta in run.metas(stage).values()), min_rows)
