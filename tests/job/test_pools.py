"""Pools that a job needs beside its models are checked before any of its work."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config.common import PoolConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.judges import JUDGES
from routelmt_ray.config.label import CometConfig
from routelmt_ray.job import labels
from routelmt_ray.metrics.spec import MetricSpec
from routelmt_ray.runtime import cluster
from tests.conftest import Job
from tests.end_to_end.runs import ECHO
from tests.toy_kinds import KINDS


def test_the_pool_of_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_ray: None) -> None:
    for table, name, kind in KINDS:
        if table is JUDGES:
            monkeypatch.setitem(table, name, kind)
    seen = []

    def refused(pools: dict[str, PoolConfig], address: str) -> None:
        seen.append(pools)
        raise Refused("no room")

    monkeypatch.setattr(cluster, "check_pools", refused)
    pq.write_table(pa.table({"source": ["a"]}), tmp_path / "in.parquet")
    words = [
        *ECHO,
        f"input.path={tmp_path / 'in.parquet'}",
        "router.kind=length",
        "budget.rows=1",
        "models.small.pool.actors=2",
    ]
    models = {"models.small.pool": PoolConfig(actors=2), "models.large.pool": PoolConfig()}
    for audit, more in (
        ([], {}),
        (
            ["audit.rows=1", "audit.metric=judge", "guard.judge=upper_case"],
            {"guard.upper_case.pool": PoolConfig(actors=2)},
        ),
    ):
        assert "no room" in Job(tmp_path / "run").run(*words, *audit, check=2).stderr
        assert seen.pop() == models | more and not (tmp_path / "run" / "scores").exists()


def test_the_pools_of_metrics() -> None:
    comet = CometConfig(pool=PoolConfig(gpus=2))
    specs = [MetricSpec("chrf", True), MetricSpec("comet", True, comet=comet)]
    assert labels.metric_pools(specs) == {"metrics.comet.pool": PoolConfig(gpus=2)}
