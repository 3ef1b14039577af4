"""Scorers that need no model, at the edges: a shard without a row that can be translated, and scores that are no numbers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config import loader
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.runtime.context import RunContext, to_item
from routelmt_ray.stages import score, scorers
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end.runs import ECHO


def scores(folder: Path, texts: list[str | None], router: str) -> pa.Table:
    """Scores the rows of one shard."""
    table = pa.table({"source": pa.array(texts, pa.string()), "mine": [1.0, 2.0, 3.0]})
    pq.write_table(table, folder / "in.parquet")
    words = [*ECHO, f"run_dir={folder / 'run'}", f"input.path={folder / 'in.parquet'}", router, "router.column=mine"]
    config = loader.load(TranslateConfig, [], [*words, "budget.rows=1"])
    context = RunContext(RunDir(folder / "run"), table.schema, config.input, config.models, "", 0)
    (shard,) = ShardPlan([str(folder / "in.parquet")], [3], 3)
    return score.ReadAndScore(context, config.router)(pa.Table.from_pylist([to_item(shard)]))


@pytest.mark.parametrize("router", ["router.kind=length", "router.kind=random", "router.kind=column"])
def test_it_has_its_statuses_and_no_score(tmp_path: Path, router: str) -> None:
    scored = scores(tmp_path, ["", None, " "], router)
    assert scored["status"].to_pylist() == ["empty_source", "null_source", "blank_source"]
    assert all(value != value for value in scored["predicted_gain"].to_pylist()), "NaN in every row"


def test_a_score_that_is_no_finite_number_is_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers, "length_scores", lambda *_: np.array([np.inf, -np.inf, -1], np.float32))
    found = scores(tmp_path, ["a", "b", "c"], "router.kind=length")["predicted_gain"].to_pylist()
    assert np.isnan(found).tolist() == [True, True, False] and found[2] == -1
