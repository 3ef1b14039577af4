"""Ray as this project uses it: starting or joining a cluster, its settings, and plain tasks."""

import logging
import os
import signal
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import ray
from ray._private import auto_init_hook, ray_constants
from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.streaming_executor import StreamingExecutor

from routelmt_ray.config.common import PoolConfig, RayConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.runtime import placement

log = logging.getLogger(__name__)

_NO_PROGRESS_TIMEOUT_S = 4 * 3600
"""Backstop for a pipeline that hangs without a word; well above the slowest shard."""
_SOCKET_BYTES = 107
"""Longest name of a socket on Linux."""
_SESSION = "session_2026-01-01_00-00-00_000000_4194304"
"""As long as the name of a session of Ray gets."""
WITH_TORCH = {"USE_TORCH": "1"}
"""Environment of workers that hold a model; Ray never gives them a worker of the other kind."""
WITHOUT_TORCH = {"USE_TORCH": "0", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
"""Environment of all others, which only tokenise: transformers 4 without torch is imported in a third of the CPU time (0.9 s
for 3.1 s), which every worker of every node pays; it would advise to install torch."""
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false", **WITHOUT_TORCH
}  # fmt: skip
"""One thread a worker: workers share the cores, and spinning OpenMP threads cost more than they compute.

A local cluster inherits it from this process. As a `runtime_env` it would cost seconds: the workers that Ray starts ahead
have none, so they would stay unused, and each new one would have to ask an agent for it.
"""


def check(config: RayConfig) -> None:
    """Refuses a temporary folder whose name is too long for the sockets of a local cluster.

    Raises:
        ValueError: naming the folder and what to set.
    """
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
    """Starts or joins a cluster and sets what every pipeline of the project relies on.

    A process that is connected to a cluster already, such as a notebook after its first job, stays with that cluster.

    Raises:
        ValueError: this process is connected to another cluster than the one that is asked for.
    """
    if ray.is_initialized():
        _check_connected(config.address)
    else:
        _connect(config)
    # There is no other way in this version to bound the retries of a pool.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    # One task at a time makes items of work; a work with few of them is no concern.
    warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks")
    context = DataContext.get_current()
    context.target_max_block_size = None  # never split a shard
    context.retried_map_errors, context.max_map_retries = True, 2
    context.execution_no_progress_timeout_s = _NO_PROGRESS_TIMEOUT_S
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It warns that Ray's own bars are off, as they should be.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
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
    # Ray's handler of SIGTERM would end the process without a word; it has to be told to stop by the job.
    handler = signal.getsignal(signal.SIGTERM)
    # The mode is Ray's own default for a local cluster and the cluster's own otherwise; Ray warns that it has one.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    with _as_parent() if config.address == "local" else nullcontext():
        ray.init(**({"address": "local"} | options), log_to_driver=False, logging_level=logging.WARNING)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


class _Executions(ExecutionCallback):
    """Knows the pipelines that run in this process."""

    running: ClassVar[weakref.WeakSet[StreamingExecutor]] = weakref.WeakSet()

    def before_execution_starts(self, executor: StreamingExecutor) -> None:
        """Is told of each."""
        self.running.add(executor)


@contextmanager
def _as_parent() -> Iterator[None]:
    """Gives a local cluster its workers' environment, and has it listen on 127.0.0.1 alone, through Ray's own switch for
    machines that are no part of a cluster."""
    before, switch = {name: os.environ.get(name) for name in _ENVIRONMENT}, ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(_ENVIRONMENT)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = switch
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def end_pipelines() -> None:
    """Ends the pipelines that still run in this process.

    Ray ends one that is left by an exception, but not where a signal raised it between the pipeline's start and its first result.
    """
    for executor in list(_Executions.running):
        executor.shutdown(force=True)


def stop() -> None:
    """Ends all pipelines and leaves the cluster; a local one ends."""
    end_pipelines()
    auto_init_hook.enable_auto_connect = False  # or whoever is late would start a cluster of its own
    ray.shutdown()


def check_pools(pools: Mapping[str, PoolConfig], address: str) -> None:
    """Refuses pools of which no actor can ever start; on a cluster that is joined, and may grow, it warns.

    Args:
        pools: pools of the job, by the key that sets each.
        address: `ray.address`.

    Raises:
        Refused: naming the pool, what an actor reserves, and what the nodes have.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for key, pool in pools.items():
        if placement.hopeless(pool, nodes):
            wanted = placement.words(placement.request(pool))
            has = "; ".join(sorted({placement.words(node) for node in nodes}))
            if address == "local":
                raise Refused(
                    f"{key}: an actor reserves {wanted}, and this machine has {has}: it could never start. Reserve less, "
                    "or set ray.num_cpus, or ray.address to a cluster that has it"
                )
            log.warning(
                "%s: an actor reserves %s, and no node has that now (%s): the job waits until one joins",
                key,
                wanted,
                has,
            )


def pools_fit_together(pools: Sequence[PoolConfig]) -> bool:
    """True where the cluster has room for all pools at once, with a CPU left for reading and writing."""
    return placement.fit(pools, [node["Resources"] for node in ray.nodes() if node["Alive"]])


def each(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Runs a function over argument tuples as plain Ray tasks, a bounded number at a time; results in order."""
    return list(stream(function, arguments))


def stream(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Like :func:`each`, giving each result as it is there, in order, so that none has to be kept."""
    remote = ray.remote(max_retries=2, retry_exceptions=[OSError])(function)
    room = 2 * int(ray.cluster_resources().get("CPU", 1)) + 2
    running: deque[Any] = deque()
    for words in arguments:
        if len(running) >= room:
            yield ray.get(running.popleft())
        running.append(remote.remote(*words))
    while running:
        yield ray.get(running.popleft())
