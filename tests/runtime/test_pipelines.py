"""The promises of the Ray settings: one shard stays one block, retries end, one bad shard never ends the others."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from ray.data import DataIterator

from routelmt_ray.config.common import PoolConfig
from routelmt_ray.runtime import cluster, pipelines
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.runtime.stopping import Stopped
from routelmt_ray.storage.rundir import RunDir
from tests.runtime.counted import POOL, Commit, Grow, Opened, Pass, go

pytestmark = pytest.mark.usefixtures("local_ray")


def test_one_shard_is_one_block_of_any_size_and_a_second_start_has_nothing_to_do(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    assert go(run, tmp_path / "seen", 12) == 1
    assert {s: meta["rows"] for s, meta in run.metas("work").items()} == {s: 1 + s * 2000 for s in range(12)}
    assert go(run, tmp_path / "seen", 12) == 0
    run.shard_path("work", 5).unlink()
    assert go(run, tmp_path / "seen", 12) == 1
    assert (tmp_path / "seen" / "5").read_text() == "xx"
    assert (tmp_path / "seen" / "6").read_text() == "x"


class Where(Pass):
    """Notes the environment of its worker, instead of the shards."""

    def __call__(self, table: pa.Table) -> pa.Table:
        self._seen.write_text(json.dumps(environment()))
        return table


def environment() -> dict[str, Any]:
    return {
        "asked": dict(ray.get_runtime_context().runtime_env),
        "set": {name: os.environ.get(name) for name in cluster._ENVIRONMENT},
    }


def test_only_workers_that_need_torch_have_an_environment_of_their_own(tmp_path: Path) -> None:
    def work(torch: bool) -> pipelines.Work:
        def pipeline(items: Any) -> Any:
            note = (tmp_path / str(torch), -1, "")
            return pipelines.on_actors(pipelines.on_tasks(items, Grow(), first=True), Where, note, POOL, torch=torch)

        return pipelines.Work.of_stage(str(torch), str(torch), {0: 1}, lambda shard: {"shard": shard}, pipeline)

    with Progress() as progress, pytest.raises(pipelines.StageFailed):  # nothing commits
        pipelines.run(RunDir(tmp_path / "run"), [work(True), work(False)], 1, progress)
    found = {torch: json.loads((tmp_path / str(torch)).read_text()) for torch in (True, False)}
    assert found[False] == cluster.each(environment, [()])[0] == {"asked": {}, "set": cluster._ENVIRONMENT}
    assert found[True] == {
        "asked": {"env_vars": cluster.WITH_TORCH},
        "set": cluster._ENVIRONMENT | cluster.WITH_TORCH,
    }


@pytest.mark.parametrize("how", ["raise", pytest.param("exit", marks=pytest.mark.slow)])
def test_a_poison_shard_is_tried_a_finite_number_of_times_and_the_others_finish(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths, run = 2, RunDir(tmp_path / "run")
    monkeypatch.setattr(pipelines, "MOST_DEATHS", deaths)  # each is a start of a worker
    with pytest.raises(pipelines.StageFailed, match=r"work: 1 of 6 shards \(3\) did not commit in 2 rounds") as failed:
        go(run, tmp_path / "seen", 6, poison=3, how=how)
    assert how == "exit" or str(failed.value).endswith("; last error: ValueError: poison")
    assert run.committed("work") == {0, 1, 2, 4, 5}
    assert len((tmp_path / "seen" / "3").read_text()) <= 2 * 3 * (deaths + 1)


@pytest.mark.parametrize("moment", ["a commit", "the first result"])
def test_a_stop_ends_the_pipeline_whenever_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise Stopped(signal.SIGTERM)

    if moment == "the first result":  # which Ray has, and has not given away yet
        monkeypatch.setattr(DataIterator, "_create_batch_iterator", stop)
    with pytest.raises(Stopped) as stopped:
        go(RunDir(tmp_path / "run"), tmp_path / "seen", 20, on_commit=stop if moment == "a commit" else None)
    assert bool(executors()) == (moment == "the first result")
    cluster.end_pipelines()
    assert stopped.traceback and not executors(), "while the exception is held, as by a job that is ending"


def executors() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("StreamingExecutor")]


class CommitTo(Commit):
    """Commits to the stage its rows name."""

    def __call__(self, table: pa.Table) -> pa.Table:
        row = table.slice(0, 1).to_pylist()[0]
        self._run.commit(row["stage"], row["shard"], pa.table({"n": [1]}), {"rows": 1})
        return pa.table({"shard": [row["shard"]], "stage": [row["stage"]], "rows": [1]})


@pytest.mark.parametrize("poison", [-1, 2])
def test_later_stages_wait_until_they_are_opened_and_a_bad_shard_does_not_hang_them(
    tmp_path: Path, poison: int
) -> None:
    run, gates, seen = RunDir(tmp_path / "run"), tmp_path / "gates", tmp_path / "seen"
    gates.mkdir()
    seen.mkdir()
    (gates / "a").touch()
    order: list[str] = []

    def pipeline(items: Any) -> Any:
        rows = pipelines.on_actors(items, Pass, (seen, poison, "raise"), POOL)
        return pipelines.on_tasks(rows, CommitTo(run))

    def on_commit(stage: str, shard: int, stats: Any) -> None:
        order.append(stage)
        if order.count("a") == 4:
            (gates / "b").touch()

    rows = {(stage, shard): 0 for stage in "ab" for shard in range(4)}
    work = pipelines.Work(
        "work", rows, lambda stage, shard: {"stage": stage, "shard": shard}, pipeline, ready=Opened(gates)
    )
    with Progress() as progress:
        if poison < 0:
            assert pipelines.run(run, [work], 2, progress, on_commit, in_order=True) == 1
            assert order == ["a"] * 4 + ["b"] * 4
            assert progress.rows == {"work": 8}
        else:  # on a busy machine a shard before the bad one may be cut off too
            with pytest.raises(
                pipelines.StageFailed,
                match=r"work: .* of 8 shards \((a [01], )*a 2, .*b 0, .*\) did not commit in 2 rounds",
            ):
                pipelines.run(run, [work], 2, progress, on_commit, in_order=True)


def test_pools_with_gpus_keep_one_shard_one_block(tmp_path: Path) -> None:
    rows = pipelines.on_tasks(ray.data.from_items([{"shard": 1}]), Grow(), first=True)
    pool = PoolConfig(gpus=1, accelerator_type="H100", resources={"spot": 0.1})
    added = pipelines.on_actors(rows, Pass, (tmp_path, -1, "raise"), pool)._logical_plan.dag
    assert (added.batch_size, added.min_rows_per_bundled_input) == (None, None)
    asked = {key: added.ray_remote_args[key] for key in ("num_cpus", "num_gpus", "accelerator_type", "resources")}
    assert asked == {"num_cpus": 0.5, "num_gpus": 1, "accelerator_type": "H100", "resources": {"spot": 0.1}}


def test_works_side_by_side_are_both_done_and_counted_apart(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")

    class CommitB(Commit):
        def __call__(self, table: pa.Table) -> pa.Table:
            shard = table["shard"][0].as_py()
            self._run.commit("b", shard, pa.table({"n": [table.num_rows]}), {"rows": table.num_rows})
            return pa.table({"shard": [shard]})

    def pipeline(commit: Any) -> Any:
        return lambda items: pipelines.on_tasks(pipelines.on_tasks(items, Grow(), first=True), commit)

    def item(shard: int) -> dict[str, Any]:
        return {"shard": shard}

    works = [
        pipelines.Work.of_stage("one", "work", {0: 5, 1: 6}, item, pipeline(Commit(run))),
        pipelines.Work.of_stage("two", "b", {1: 10, 4: 20, 5: 30}, item, pipeline(CommitB(run))),
    ]
    with Progress() as progress:
        assert pipelines.run(run, works, 2, progress) == 1
        assert progress.rows == {"one": 11, "two": 60}
    assert (run.committed("work"), run.committed("b")) == ({0, 1}, {1, 4, 5})
