"""A profile times whole batches of rows, engines at the same time where they fit, and no probe that is not needed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.common import PoolConfig
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.job import profiling
from routelmt_ray.job.profiling import at_once, pick_batches
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.storage.rundir import RunDir
from tests.budget.test_cost import model
from tests.conftest import DEMO_CONFIG

CPU, GPU, HALF = PoolConfig(cpus=1.0), PoolConfig(gpus=1.0), PoolConfig(gpus=0.5)


@given(st.integers(0, 400), st.integers(1, 40), st.integers(4, 8))
def test_whole_batches_are_picked_in_order_and_evenly(rows: int, batch_rows: int, batches: int) -> None:
    picked = pick_batches(rows, batch_rows, batches)
    assert (np.diff(picked) > 0).all()
    if rows < (batches + 1) * batch_rows:
        assert len(picked) == rows
        return
    assert len(picked) == batches * batch_rows
    firsts = picked[::batch_rows]
    assert ((rows - firsts) % batch_rows == 0).all(), "batches begin with the longest row"
    assert np.ptp(np.diff(firsts)) <= batch_rows, "evenly spaced"
    ends = firsts[0], rows - (firsts[-1] + batch_rows)
    assert max(ends) <= max(np.diff(firsts)) + batch_rows, "and from end to end"


def test_the_middle_of_each_stretch_is_taken() -> None:
    assert pick_batches(16, 2, 4).tolist() == [0, 1, 4, 5, 8, 9, 12, 13]
    assert pick_batches(12, 2, 2).tolist() == [2, 3, 8, 9]


@pytest.mark.parametrize(("scored", "probes"), [(0, True), (1, True), (2, False)])
def test_the_probe_is_timed_only_where_rows_have_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: int, probes: bool
) -> None:
    asked = []
    monkeypatch.setattr(profiling, "_measure", lambda *arguments: asked.append(arguments[-1]))
    monkeypatch.setattr(profiling, "_fit", lambda *arguments: model(made_for={"probe": arguments[-1]}))
    words = [f"run_dir={tmp_path}", "budget.fraction=null", "budget.gpu_hours=1"]
    config = configlib.load(TranslateConfig, [DEMO_CONFIG], words)
    run, plan = RunDir(tmp_path), ShardPlan(["x"], [4], 2)
    for shard in range(scored):
        run.commit("scores", shard, pa.table({"place": [shard]}), {})
    context = RunContext(run, pa.schema([]), config.input, config.models, "", 0)
    cost = profiling.obtain_costs(config, context, plan, Progress())
    assert asked == [probes] and cost is not None
    run.commit("scores", 1, pa.table({"place": [1]}), {})
    assert profiling.obtain_costs(config, context, plan, Progress()) == cost and asked == [probes], "it is kept"
    path = next(tmp_path.rglob("cost.json"))
    with pytest.raises(ValueError, match="was made with other settings"):
        profiling.load_costs(str(path), config.models, config.router)


@pytest.mark.parametrize(
    ("pools", "room", "groups"),
    [
        ([CPU, CPU, CPU], 3, [(0, 3)]),
        ([CPU, CPU, CPU], 2, [(0, 1), (1, 3)]),
        ([CPU, CPU, CPU], 1, [(0, 1), (1, 2), (2, 3)]),
        ([GPU, GPU, GPU], 3, [(0, 3)]),
        ([HALF, GPU, HALF], 3, [(0, 1), (1, 3)]),
        ([CPU, CPU], 2, [(0, 2)]),
        ([HALF, HALF], 1, [(0, 1), (1, 2)]),
    ],
)
def test_pools_that_fit_together_are_timed_together_but_no_probe_on_a_shared_gpu(
    monkeypatch: pytest.MonkeyPatch, pools: list[PoolConfig], room: int, groups: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(cluster, "pools_fit_together", lambda wanted: len(wanted) <= room)
    assert at_once(pools) == groups
