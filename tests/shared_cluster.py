"""The one local cluster that the tests of a process share, and the process that its workers are forked from."""

import faulthandler
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest

from routelmt_ray.config.common import RayConfig

_SHARED = ExitStack()
"""Fixtures and processes of the shared cluster. They end with the session."""
_END_SECONDS = 120
"""Longest time for the end of the shared cluster; a process that takes longer shows where it waits, and ends."""


@cache
def runner() -> Path:
    """Starts the process that workers of tests are forked from; gives what a cluster has to run in place of Python."""
    from tests.forked_workers import forked

    return _SHARED.enter_context(forked())


@contextmanager
def on_shared_cluster() -> Iterator[None]:
    """Has all that starts a local cluster in this process start the one that its tests share.

    A process stays with its first cluster, and the workers of any other are not forked: each then takes seconds.
    """
    from routelmt_ray.runtime import cluster

    connect = cluster._connect

    def connect_shared(config: RayConfig) -> None:
        if config.address != "local":
            connect(config)
            return
        import ray

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", str(runner()))
            connect(RayConfig(num_cpus=4, object_store_mb=200))
        _SHARED.callback(ray.shutdown)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "_connect", connect_shared)
        yield


def forking() -> tuple[str, ...]:
    """A launcher of :class:`Job` that has the job be forked, with its workers; see :func:`forked_workers`."""
    return str(runner()), "tests/forked_driver.py", str(runner())


def end() -> None:
    """Ends the cluster and the process that its workers are forked from."""
    faulthandler.dump_traceback_later(_END_SECONDS, exit=True)
    _SHARED.close()
    faulthandler.cancel_dump_traceback_later()
