"""Several nodes: the plan and the bytes are those of one node, a node that goes takes only what it had not committed."""

import pytest

from tests.conftest import DEMO_CONFIG, Job, Undisturbed
from tests.faults import nodes
from tests.faults.processes import beside, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def large_nodes(job: Job) -> int:
    return len(list((job.run_dir / "large" / "000").glob("*.parquet")))


def test_a_node_that_goes_takes_only_its_uncommitted_shards(undisturbed_demo: Undisturbed, job: Job) -> None:
    """The large model's engine is on a node of its own, which is taken away and another one added while it works."""
    words, one_node = undisturbed_demo
    pinned = ["models.large.pool.resources={large: 1}", "models.small.pool.resources={small: 1}"]
    small, large = {"num_cpus": 2, "small": 1}, {"num_cpus": 1, "large": 1}
    with nodes.started(1, small, large) as cluster:

        def disturb() -> None:
            wait_until(lambda: large_nodes(job) >= 2, 200, "two shards of the large model")
            cluster.remove(2)
            cluster.add(**large)

        with beside(disturb):
            job.run_process(*words, *pinned, f"ray.address={cluster.address}", config=DEMO_CONFIG, timeout_s=600)
    assert job.plan() == one_node.plan()
    assert job.output().equals(one_node.output())
    assert not (job.run_dir / "quarantine").exists()


def test_a_node_added_on_the_way_is_used(undisturbed_demo: Undisturbed, job: Job) -> None:
    """The pool wants two engines, and the second one finds room only on the node that comes later."""
    words, one_node = undisturbed_demo
    pools = ["models.large.pool.resources={large: 1}", "models.large.pool.actors=2"]
    with nodes.started(2, {"num_cpus": 1, "large": 1}) as cluster:

        def grow() -> None:
            wait_until(lambda: (job.run_dir / "scores").exists(), 200, "scores")
            cluster.add(num_cpus=1, large=1)

        with beside(grow):
            job.run_process(*words, *pools, f"ray.address={cluster.address}", config=DEMO_CONFIG, timeout_s=600)
    assert job.plan() == one_node.plan()
    assert job.output().equals(one_node.output())
    engines = list((job.run_dir / "meter").glob("large-*.json"))
    assert len(engines) == 2
