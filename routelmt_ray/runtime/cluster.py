"""Starts or joins a Ray cluster, sets its options, and runs plain tasks."""

import logging
import os
import signal
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, ClassVar

import ray
from ray._private import auto_init_hook, parameter, ray_constants
from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.streaming_executor import StreamingExecutor

from routelmt_ray.config.common import PoolConfig, RayConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.runtime import placement

log = logging.getLogger(__name__)

_NO_PROGRESS_TIMEOUT_S = 4 * 3600
"""Time limit in seconds for a pipeline that hangs without a message; much longer than the slowest shard takes."""
_SOCKET_BYTES = 107
"""Longest name of a socket on Linux, in bytes."""
_SESSION = "session_2026-01-01_00-00-00_000000_4194304"
"""An example of the longest name of a Ray session."""
WITH_TORCH = {"USE_TORCH": "1"}
"""Environment of workers that hold a model. Ray keeps them apart from workers with the other environment."""
WITHOUT_TORCH = {"USE_TORCH": "0", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
"""Environment of all other workers, which only tokenise. Without torch, transformers 4 is imported in a third of
the CPU time (0.9 s instead of 3.1 s), on every worker of every node. Its advice to install torch is turned off."""
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false", **WITHOUT_TORCH
}  # fmt: skip
"""One thread for each worker: workers share the cores, and OpenMP threads that spin cost more than they compute.

A local cluster inherits it from this process. As a `runtime_env` it would cost seconds: the workers that Ray starts in
advance have no `runtime_env`, so they would stay unused, and each new worker would have to request it from an agent.
"""


def check(config: RayConfig) -> None:
    """Refuses a temporary folder whose name is too long for the sockets of a local cluster."""
    if config.address != "local" or ray.is_initialized():
        return
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    longest = _SOCKET_BYTES - len(os.fsencode(f"/ray/{_SESSION}/sockets/plasma_store"))
    if len(os.fsencode(folder)) > longest:
        raise ValueError(
            f"the temporary folder {folder} has a name of {len(os.fsencode(folder))} bytes, and Ray's sockets in it leave "
            f"room for {longest}; set RAY_TMPDIR to a shorter one, e.g. RAY_TMPDIR=/tmp"
        )


def start(config: RayConfig) -> None:
    """Starts or joins a cluster and sets the options that every pipeline of the project needs.

    A process that is already connected to a cluster, such as a notebook after its first job, stays with that cluster.
    Raises ValueError if this process is connected to a cluster other than `config.address`.
    """
    if ray.is_initialized():
        _check_connected(config.address)
    else:
        _connect(config)
    # This version has no other way to limit the retries of a pool.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    # One task at a time makes items of work, so the warning about low concurrency does not matter.
    warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks")
    context = DataContext.get_current()
    context.target_max_block_size = None  # never split a shard
    context.retried_map_errors, context.max_map_retries = True, 2
    context.execution_no_progress_timeout_s = _NO_PROGRESS_TIMEOUT_S
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It warns that the progress bars of Ray are off, which is intended.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    # It warns that the job "may hang forever" while another stage holds all CPUs. `check_pools` tells what cannot start.
    logging.getLogger("ray.data._internal.execution.resource_manager").setLevel(logging.ERROR)
    context.custom_execution_callback_classes = [_Executions]


def _check_connected(address: str) -> None:
    connected = ray.get_runtime_context().gcs_address
    if address not in ("local", "auto", connected):
        raise ValueError(
            f"ray.address is {address}, but this process is connected to the cluster at {connected}; "
            "call ray.shutdown() first, or start the job as a process"
        )


def _connect(config: RayConfig) -> None:
    options: dict[str, Any] = {}
    if config.address == "local":
        options = {
            "num_cpus": config.num_cpus or max(4, os.cpu_count() or 4),
            "object_store_memory": config.object_store_mb * 2**20,
            "include_dashboard": False,
        }
    else:
        options = {"address": config.address, "runtime_env": {"env_vars": _ENVIRONMENT}}
    # The SIGTERM handler of Ray would end the process without a message; the job has to stop it instead.
    handler = signal.getsignal(signal.SIGTERM)
    # The mode is the default of Ray for a local cluster, or the mode of the joined cluster; Ray warns that it is set.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    with _as_parent() if config.address == "local" else nullcontext():
        ray.init(**({"address": "local"} | options), log_to_driver=False, logging_level=logging.WARNING)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


class _Executions(ExecutionCallback):
    """Remembers the pipelines that run in this process."""

    running: ClassVar[weakref.WeakSet[StreamingExecutor]] = weakref.WeakSet()

    def before_execution_starts(self, executor: StreamingExecutor) -> None:
        """Records the executor of a pipeline that is about to run."""
        self.running.add(executor)


@contextmanager
def _as_parent() -> Iterator[None]:
    """Gives a local cluster the environment of its workers, and makes it listen on 127.0.0.1 only. The second uses the
    switch of Ray for machines that are not part of a cluster.

    It starts neither the process that sends the output of workers to the driver, which drops it, nor the one that asks a
    cloud for more nodes. Each costs a CPU-second. Its agent takes any free port. The fixed port of Ray is taken where another local cluster runs on the machine. Ray then
    tries for five seconds to get it before the cluster starts. `ray.init` has no argument for any of these.
    """
    before, switch = {name: os.environ.get(name) for name in _ENVIRONMENT}, ray_constants.ENABLE_RAY_CLUSTER
    params: Any = parameter.RayParams
    os.environ.update(_ENVIRONMENT)
    ray_constants.ENABLE_RAY_CLUSTER = False
    parameter.RayParams = partial(params, dashboard_agent_listen_port=None, include_log_monitor=False, no_monitor=True)
    try:
        yield
    finally:
        parameter.RayParams = params
        ray_constants.ENABLE_RAY_CLUSTER = switch
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def end_pipelines() -> None:
    """Ends the pipelines that still run in this process.

    Ray ends a pipeline that an exception leaves, except where a signal raised it between the start of the pipeline and
    its first result.
    """
    for executor in list(_Executions.running):
        executor.shutdown(force=True)


def stop() -> None:
    """Ends all pipelines and leaves the cluster. A local cluster ends."""
    end_pipelines()
    auto_init_hook.enable_auto_connect = False  # else a late call would start another cluster
    ray.shutdown()


def check_pools(pools: Mapping[str, PoolConfig], address: str) -> None:
    """Refuses pools of which no actor can ever start. On a joined cluster, which may grow, it only warns. `pools` has
    those of the job, by the key that sets each."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for key, pool in pools.items():
        if placement.can_never_fit(pool, nodes):
            wanted = f"{key}: an actor reserves {placement.words(placement.request(pool))}"
            has = "; ".join(sorted({placement.words(node) for node in nodes}))
            here = (
                f"{wanted}, and this machine has {has}: it could never start. Reserve less, "
                "or set ray.num_cpus, or ray.address to a cluster that has it"
            )
            elsewhere = f"{wanted}, and no node has that now ({has}): the job waits until one joins"
        elif placement.starves_tasks(pool, nodes):
            many, who, fewer = f" and {key}.actors {pool.actors}", "these actors leave", ", use fewer actors"
            if pool.actors == 1:
                many, who, fewer = "", "one actor leaves", ""
            here = (
                f"{key}.cpus is {pool.cpus:g}{many}: {who} less than {placement.TASK_CPUS:.1f} CPUs to the tasks that read and "
                f"write, so the job would wait for ever; reserve less{fewer}, or set ray.num_cpus to more"
            )
            elsewhere = f"{here}, or let a node join"
        else:
            continue
        if address == "local":
            raise Refused(here)
        log.warning("%s", elsewhere)


def pools_fit_together(pools: Sequence[PoolConfig]) -> bool:
    """Tells whether the cluster has room for all pools at once, with a CPU left for reading and writing."""
    return placement.fit(pools, [node["Resources"] for node in ray.nodes() if node["Alive"]])


def each(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Runs a function over argument tuples as plain Ray tasks, a limited number at a time. Results are in order."""
    return list(stream(function, arguments))


def stream(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Runs tasks like :func:`each`, and yields the results in order during the work, so that few are kept at a time."""
    remote = ray.remote(max_retries=2, retry_exceptions=[OSError])(function)
    room = 2 * int(ray.cluster_resources().get("CPU", 1)) + 2
    running: deque[Any] = deque()
    for words in arguments:
        if len(running) >= room:
            yield ray.get(running.popleft())
        running.append(remote.remote(*words))
    while running:
        yield ray.get(running.popleft())
