"""Which engines a profile times at the same time."""

import pytest

from routelmt_ray.config.common import PoolConfig
from routelmt_ray.job.profiling import at_once
from routelmt_ray.runtime import cluster

CPU, GPU, HALF = PoolConfig(cpus=1.0), PoolConfig(gpus=1.0), PoolConfig(gpus=0.5)


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
