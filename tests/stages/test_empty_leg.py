"""A leg that wants nothing of a shard."""

from pathlib import Path

import pyarrow as pa

from routelmt_ray.config.common import InputConfig, ModelsConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.plan.wanted import nothing
from routelmt_ray.runtime.context import RunContext, to_item
from routelmt_ray.stages.translate import Always, Leg, ReadPrompts
from routelmt_ray.storage.rundir import RunDir
from tests.budget.test_cost import model


def test_a_leg_without_rows_reads_neither_the_corpus_nor_its_scores(tmp_path: Path) -> None:
    context = RunContext(RunDir(tmp_path), pa.schema([("source", pa.string())]), InputConfig(), ModelsConfig(), "", 0)
    shard = ShardPlan([str(tmp_path / "not there.parquet")], [10], 5)[1]
    leg = Leg("small", "003", nothing, cost=model())
    block = ReadPrompts(context, "small", Always(leg))(pa.Table.from_pylist([to_item(shard) | {"entry": 3}]))
    assert block.num_rows == 1, "a block without rows would vanish"
    row = block.to_pylist()[0]
    assert (row["shard"], row["stage"], row["place"], row["predicted_s"]) == (1, "small/003", None, 0.0)
