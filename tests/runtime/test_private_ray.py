"""What the project uses of Ray that Ray may change without notice: each has its reason, and is there in this version."""

import inspect
import logging
import re
from pathlib import Path

import ray.data
from ray._private import auto_init_hook, parameter, ray_constants
from ray.data._internal.execution import resource_manager
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.streaming_executor import StreamingExecutor

from routelmt_ray.runtime import work_items
from tests.conftest import ROOT

REASONS = {
    "map_batches_internal": "a developer's interface: the public one refuses GPUs without a batch size, which would merge shards",
    "_logical_plan": "the public repartition takes neither num_cpus=0 nor one task, and items would be made ahead",
    "ray_constants": "the only switch that makes a local cluster listen on 127.0.0.1 alone",
    "parameter": "ray.init waits five seconds where another cluster has its agent's port, and starts processes that nobody needs",
    "auto_init_hook": "after the end a late call would start another cluster",
    "execution_callback": "an execution that a signal interrupts before its first result has no public handle",
    "streaming_executor": "the same: only the executor can be shut down",
    "streaming_executor_state": "a logger, which tells of lost workers",
    "resource_manager": "a logger, which warns of waiting that ends",
    "progress": "a logger, which warns that progress bars are off",
    "authentication_token_setup": "a logger, which warns of Ray's own default",
}
"""The last part of each name, and why there is no public way."""
PRIVATE = re.compile(r"\bray(?:\.\w+)*\.(?:_internal|_private)(?:\.\w+)*(?: import (?P<names>[\w, ]+))?")
ATTRIBUTES = re.compile(r"\.(map_batches_internal|_logical_plan)\b")


def private_names(text: str) -> set[str]:
    """Finds the private parts of Ray in the source of a module."""
    found = set(ATTRIBUTES.findall(text))
    for match in PRIVATE.finditer(text):
        module = match[0].partition(" import ")[0]
        last = module.rpartition(".")[2]
        found |= {name.strip() for name in match["names"].split(",")} if last == "_private" else {last}
    return found


def test_every_use_has_its_reason() -> None:
    sources = [*Path(ROOT, "routelmt_ray").rglob("*.py"), *Path(ROOT, "jobs").rglob("*.py")]
    found = set().union(*(private_names(path.read_text()) for path in sources))
    assert found == set(REASONS), "a new private use needs a reason here; a reason without a use goes"


def test_they_are_there_in_this_ray() -> None:
    assert {"compute", "num_gpus", "batch_size"} <= set(
        inspect.signature(ray.data.Dataset.map_batches_internal).parameters
    )
    assert "force" in inspect.signature(StreamingExecutor.shutdown).parameters
    assert callable(ExecutionCallback.before_execution_starts)
    assert {"dashboard_agent_listen_port", "include_log_monitor", "no_monitor"} <= set(
        inspect.signature(parameter.RayParams).parameters
    )
    assert isinstance(ray_constants.ENABLE_RAY_CLUSTER, bool)
    assert isinstance(auto_init_hook.enable_auto_connect, bool)


def test_the_public_method_still_refuses_gpus_without_a_batch_size() -> None:
    """Where it no longer does, `map_batches_internal` can go."""
    source = inspect.getsource(ray.data.Dataset.map_batches)
    assert "You must provide `batch_size` to `map_batches` when requesting GPUs" in source


def test_a_warning_of_waiting_that_ends_is_the_only_one_of_its_logger(local_ray: None) -> None:
    source = inspect.getsource(resource_manager)
    assert source.count("The job may hang forever") == source.count("logger.warning(") == 1
    assert "logger.error(" not in source and not resource_manager.logger.isEnabledFor(logging.WARNING)


def test_items_are_made_by_one_task_that_reserves_nothing(local_ray: None) -> None:
    items = work_items.dataset([("scores", 0), ("scores", 1)], lambda stage, shard: {"stage": stage, "shard": shard})
    operator = items._logical_plan.dag
    assert (operator.ray_remote_args["num_cpus"], operator.compute.size) == (0, 1)
    assert [row["shard"] for row in items.take_all()] == [0, 1]
