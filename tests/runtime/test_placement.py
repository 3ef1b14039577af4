"""Pools run side by side only where every actor finds room on some node."""

import pytest

from routelmt_ray.config.common import PoolConfig
from routelmt_ray.runtime.placement import can_never_fit, fit, request, starves_tasks, words

H100 = {"CPU": 16.0, "GPU": 8.0, "accelerator_type:H100": 1.0}
L4 = {"CPU": 8.0, "GPU": 2.0, "accelerator_type:L4": 1.0}


def pool(
    actors: int = 1, cpus: float = 0.0, gpus: float = 0.0, kind: str | None = None, **resources: float
) -> PoolConfig:
    return PoolConfig(actors=actors, cpus=cpus, gpus=gpus, accelerator_type=kind, resources=resources)


@pytest.mark.parametrize(
    ("pools", "nodes", "fits"),
    [
        ([pool(cpus=0.5), pool(cpus=0.5)], [{"CPU": 2.0}], True),
        ([pool(cpus=0.5), pool(cpus=0.6)], [{"CPU": 2.0}], False),  # no CPU would be left to read and write
        ([pool(gpus=1)], [{"CPU": 4.0}], False),
        ([pool(8, gpus=1, kind="H100"), pool(2, gpus=1, kind="L4")], [L4, H100], True),
        ([pool(9, gpus=1, kind="H100"), pool(1, gpus=1, kind="L4")], [L4, H100], False),  # ten GPUs, but of two kinds
        ([pool(8, gpus=1, kind="H100"), pool(2, gpus=1)], [H100, L4], True),  # the choosy pool goes first
        ([pool(gpus=8), pool(gpus=1)], [H100], False),
        ([pool(gpus=1.5), pool(gpus=1.5)], [{"CPU": 4.0, "GPU": 2.0}] * 2, True),
        ([pool(gpus=1.5), pool(gpus=1.5)], [{"CPU": 4.0, "GPU": 3.0}, {"CPU": 1.0}], True),
        ([pool(gpus=2)], [{"CPU": 4.0, "GPU": 1.0}] * 2, False),  # an engine does not span nodes
        ([pool(2, spot=1.0)], [{"CPU": 4.0, "spot": 1.0}, {"CPU": 1.0, "spot": 1.0}], True),
        ([pool(3, spot=1.0)], [{"CPU": 4.0, "spot": 2.0}], False),
        ([pool(cpus=1.5), pool(cpus=1.5)], [{"CPU": 2.0}] * 2, False),  # a task fits on no node, though a CPU is left
        ([pool(cpus=1.4), pool(cpus=1.5)], [{"CPU": 2.0}] * 2, True),
    ],
)
def test_pools_fit_if_all_their_actors_do(pools: list[PoolConfig], nodes: list[dict[str, float]], fits: bool) -> None:
    before = [dict(node) for node in nodes]
    assert fit(pools, nodes) is fits
    assert nodes == before


def test_a_request_names_only_what_is_wanted() -> None:
    assert request(pool(cpus=0.5)) == {"CPU": 0.5}
    assert request(pool(gpus=1, kind="L4", spot=0.1)) == {"GPU": 1, "accelerator_type:L4": 0.001, "spot": 0.1}


@pytest.mark.parametrize(
    ("wanted", "nodes", "expected"),
    [
        (pool(cpus=2), [{"CPU": 2.0}], False),
        (pool(cpus=2.5), [{"CPU": 2.0}] * 2, True),  # an engine does not span nodes
        (pool(gpus=1), [{"CPU": 64.0}], True),
        (pool(9, gpus=1), [H100], False),  # eight of its actors start
        (pool(gpus=1, kind="L4"), [H100], True),
        (pool(gpus=1, kind="L4"), [H100, L4], False),
        (pool(spot=1), [H100], True),
    ],
)
def test_a_pool_is_hopeless_where_no_node_could_ever_hold_one_actor(
    wanted: PoolConfig, nodes: list[dict[str, float]], expected: bool
) -> None:
    assert can_never_fit(wanted, nodes) is expected


def test_resources_are_told_without_what_every_node_has() -> None:
    assert words({"CPU": 4.0, "node:127.0.0.1": 1.0, "memory": 1e9, "GPU": 0.5}) == "4 CPU, 0.5 GPU"


@pytest.mark.parametrize(
    ("cpus", "nodes", "expected"),
    [
        (0.5, [2.0], False), (1.4, [2.0], False), (1.6, [2.0], True), (2.0, [2.0], True), (1.6, [2.0, 1.0], False),
        (0.0, [0.4], True), (2.0, [2.0, 0.5], True),
    ],
)  # fmt: skip
def test_an_actor_that_leaves_no_cpu_to_tasks_is_noticed(cpus: float, nodes: list[float], expected: bool) -> None:
    assert starves_tasks(PoolConfig(cpus=cpus), [{"CPU": cpu} for cpu in nodes]) is expected


@pytest.mark.parametrize(
    ("wanted", "nodes", "expected"),
    [
        (pool(3, cpus=0.5), [{"CPU": 2.0}], True),
        (pool(2, cpus=0.5), [{"CPU": 2.0}], False),
        (pool(9, cpus=0.7), [{"CPU": 2.0}], False),  # two find room, and leave .6
        (pool(9, cpus=0.8), [{"CPU": 2.0}], True),
        (pool(9, cpus=0.5, gpus=1), [{"CPU": 2.0, "GPU": 2.0}], False),  # the GPUs end first
        (pool(9, cpus=0.8), [{"CPU": 2.4}], True),  # 2.4 / .8 is below 3 by rounding
        (pool(2, cpus=0.5), [{"CPU": 1.0}] * 2, False),  # two on one node
        (pool(3, cpus=0.5), [{"CPU": 1.0}] * 2, True),
        (pool(4, cpus=0.5), [{"CPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 0.4}], True),
        (pool(99, gpus=1), [H100], False),
    ],
)
def test_actors_that_together_leave_no_cpu_to_tasks_are_noticed(
    wanted: PoolConfig, nodes: list[dict[str, float]], expected: bool
) -> None:
    assert starves_tasks(wanted, nodes) is expected
