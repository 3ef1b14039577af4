"""The promises of the Ray settings: one shard stays one block, retries end, one bad shard never ends the others."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
import ray
from ray._private import ray_constants
from ray.data import DataIterator

from routelmt_ray.budget import Search
from routelmt_ray.budget.rule import Decision, Rule
from routelmt_ray.config.common import PoolConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.plan import allocate
from routelmt_ray.runtime import cluster, pipelines, work_items
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.runtime.stopping import Stopped
from routelmt_ray.storage.rundir import RunDir
from tests.stages.scored import COST, SHARD_ROWS, scored_corpus

pytestmark = pytest.mark.usefixtures("local_ray")
POOL = PoolConfig(actors=1, cpus=0.1)


def test_a_local_cluster_listens_on_this_machine_alone_and_on_no_fixed_port() -> None:
    listening = [
        connection.laddr
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 3
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    # A second cluster on the machine would wait five seconds for it.
    assert ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT not in {address.port for address in listening}


def test_a_local_cluster_starts_no_process_that_only_others_need() -> None:
    commands = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert any("gcs_server" in command for command in commands)
    assert [command for command in commands if "monitor.py" in command] == []


class Grow:
    """Makes a shard of very different size of each item."""

    def __call__(self, item: pa.Table) -> pa.Table:
        shard = item["shard"][0].as_py()
        return pa.table({"shard": [shard] * (1 + shard * 2000), "payload": ["x" * 40] * (1 + shard * 2000)})


class Pass:
    """Holds nothing; notes each shard it saw, and may fail on one."""

    def __init__(self, seen: Path, poison: int, how: str) -> None:
        self._seen, self._poison, self._how = seen, poison, how

    def __call__(self, table: pa.Table) -> pa.Table:
        shards = set(table["shard"].to_pylist())
        assert len(shards) == 1, "a block holds rows of two shards"
        shard = shards.pop()
        with (self._seen / str(shard)).open("a") as notes:
            notes.write("x")
        if shard == self._poison:
            if self._how == "raise":
                raise ValueError("poison")
            import os

            os._exit(1)
        return table


class Commit:
    """Commits the number of rows that arrived."""

    def __init__(self, run: RunDir) -> None:
        self._run = run

    def __call__(self, table: pa.Table) -> pa.Table:
        shard = table["shard"][0].as_py()
        self._run.commit("work", shard, pa.table({"n": [table.num_rows]}), {"rows": table.num_rows})
        return pa.table({"shard": [shard], "rows": [table.num_rows]})


def go(
    run: RunDir,
    seen: Path,
    shards: int,
    poison: int = -1,
    how: str = "raise",
    rounds: int = 2,
    on_commit: Callable[[str, int, Any], None] | None = None,
) -> int:
    seen.mkdir(exist_ok=True)

    def pipeline(items: Any) -> Any:
        rows = pipelines.on_tasks(items, Grow(), first=True)
        rows = pipelines.on_actors(rows, Pass, (seen, poison, how), POOL)
        return pipelines.on_tasks(rows, Commit(run))

    work = pipelines.Work.of_stage(
        "work", "work", dict.fromkeys(range(shards), 1), lambda shard: {"shard": shard}, pipeline
    )
    with Progress() as progress:
        return pipelines.run(run, [work], rounds, progress, on_commit)


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


class Opened:
    """Ready once a file of the item's stage is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, item: pa.Table) -> bool:
        return (self._folder / item["stage"][0].as_py()).exists()


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
        else:
            with pytest.raises(
                pipelines.StageFailed, match=r"work: .* of 8 shards \(a 2, .*b 0, .*\) did not commit in 2 rounds"
            ):
                pipelines.run(run, [work], 2, progress, on_commit, in_order=True)


def test_tasks_run_in_order_and_no_more_than_fit_are_handed_over(tmp_path: Path) -> None:
    handed: list[int] = []

    def words() -> Iterator[tuple[Any, ...]]:
        for i in range(60):
            handed.append(i)
            yield (np.int64(i), tmp_path)

    def double(i: int, folder: Path) -> int:
        while i == 0 and not (folder / "1").exists():  # the first one ends last
            time.sleep(0.01)
        (folder / str(i)).touch()
        return 2 * i

    most = 2 * int(ray.cluster_resources()["CPU"]) + 2
    for at, result in enumerate(cluster.stream(double, words())):
        assert result == 2 * at and len(handed) <= at + most + 1
    assert len(handed) == 60


def test_an_allocation_over_several_tasks_finds_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, _ = scored_corpus(tmp_path)
    rule = Rule(objective="gain_per_cost", min_gain=0.0, cost=COST, stratified=True)

    def passes() -> list[Any]:
        band = corpus.find_cut(rule, Search(capacity=9_000_000, seed=3), (1.1, 0.8))
        sums = corpus.tally(rule.then(Decision(band)))
        return [band, corpus.find_strata(rule, {"en→de": 0.2}, {}), (sums.routed, sums.small), pytest.approx(sums.gain)]

    alone = passes()
    monkeypatch.setattr(allocate, "_TASK_ROWS", 2 * SHARD_ROWS)
    assert passes() == alone


class Noted:
    """Makes items, and notes each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, stage: str, shard: int) -> dict[str, Any]:
        (self._folder / f"{stage}-{shard}").touch()
        return {"stage": stage, "shard": shard}


def test_the_driver_keeps_one_row_for_hundreds_of_items() -> None:
    tasks = [(stage, shard) for stage in ("a", "b") for shard in range(50_000)]
    kept = list(work_items._runs(tasks))
    assert len(kept) == 196
    assert [(run["stage"], shard) for run in kept for shard in run["shards"]] == tasks


def test_items_are_made_in_order_one_a_block_and_not_before_they_are_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_items, "_RUN", 4)
    gates, made = tmp_path / "gates", tmp_path / "made"
    for folder in (gates, made):
        folder.mkdir()
    (gates / "a").touch()
    tasks = [("a", shard) for shard in (0, 1, 3, 4, 5, 8, 9)] + [("b", shard) for shard in (2, 0, 1, 7, 6)]
    found = []
    items = work_items.dataset(tasks, Noted(made), Opened(gates))
    for block in items.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        assert block.num_rows == 1
        found.append((block["stage"][0].as_py(), block["shard"][0].as_py()))
        if found == tasks[:7]:
            assert {path.name for path in made.glob("b-*")} <= {"b-2"}
            (gates / "b").touch()
    assert found == tasks


def test_a_pool_that_can_never_start_is_refused_on_this_machine_and_waited_for_on_a_cluster(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pools = {"models.small.pool": PoolConfig(), "models.large.pool": PoolConfig(gpus=2)}
    with pytest.raises(
        Refused, match=r"models.large.pool: an actor reserves 0.5 CPU, 2 GPU, and this machine has 4 CPU"
    ):
        cluster.check_pools(pools, "local")
    cluster.check_pools(pools, "auto")
    assert "the job waits until one joins" in caplog.text
    cluster.check_pools({"models.small.pool": PoolConfig()}, "local")
    with pytest.raises(
        Refused, match=r"small.pool.cpus is 0.5 and \S+small.pool.actors 8: these actors leave less .* use fewer actors"
    ):
        cluster.check_pools({"models.small.pool": PoolConfig(actors=8)}, "local")


def test_pools_are_side_by_side_only_where_there_is_room() -> None:
    assert cluster.pools_fit_together([PoolConfig(cpus=0.5), PoolConfig(cpus=0.5)])
    assert not cluster.pools_fit_together([PoolConfig(cpus=3), PoolConfig(cpus=3)])
    assert not cluster.pools_fit_together([PoolConfig(gpus=1)])


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
