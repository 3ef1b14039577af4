"""The local cluster of a job, plain tasks on it, and pools that can start."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray._private import ray_constants

from routelmt_ray.budget import Search
from routelmt_ray.budget.rule import Decision, Rule
from routelmt_ray.config.common import PoolConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.plan import allocate
from routelmt_ray.runtime import cluster
from tests.stages.scored import COST, SHARD_ROWS, scored_corpus

pytestmark = pytest.mark.usefixtures("local_ray")


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
