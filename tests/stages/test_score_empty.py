"""A shard without a row that can be translated is scored like any other, by every scorer that needs no model."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config import loader
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.runtime.context import RunContext, to_item
from routelmt_ray.stages import score
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end.runs import ECHO


@pytest.mark.parametrize("router", ["router.kind=length", "router.kind=random", "router.kind=column"])
def test_it_has_its_statuses_and_no_score(tmp_path: Path, router: str) -> None:
    table = pa.table({"source": ["", None, " "], "mine": [1.0, 2.0, 3.0]})
    pq.write_table(table, tmp_path / "in.parquet")
    words = [
        *ECHO,
        f"run_dir={tmp_path / 'run'}",
        f"input.path={tmp_path / 'in.parquet'}",
        router,
        "router.column=mine",
    ]
    config = loader.load(TranslateConfig, [], [*words, "budget.rows=1"])
    context = RunContext(RunDir(tmp_path / "run"), table.schema, config.input, config.models, "", 0)
    (shard,) = ShardPlan([str(tmp_path / "in.parquet")], [3], 3)
    scored = score.ReadAndScore(context, config.router)(pa.Table.from_pylist([to_item(shard)]))
    assert scored["status"].to_pylist() == ["empty_source", "null_source", "blank_source"]
    assert all(value != value for value in scored["predicted_gain"].to_pylist()), "NaN in every row"
