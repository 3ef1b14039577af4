"""The processes of a job, found and killed as the machine, the kernel or an operator would."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest

MARK = "ROUTELMT_TEST_MARK"


def mark_processes(patch: pytest.MonkeyPatch, name: str) -> None:
    """Has every process that is started from now on carry a name in its environment."""
    patch.setenv(MARK, name)


def marked(name: str) -> list[psutil.Process]:
    """Live processes that carry the name, this one left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == name and process.is_running():
                found.append(process)
        except psutil.Error:
            continue
    return found


def actors(name: str, stage: str) -> list[psutil.Process]:
    """Of these, the actors that hold instances of a stage, e.g. ``Translate``; Ray writes it into their titles."""
    found = []
    for process in marked(name):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::") and stage in title:
            found.append(process)
    return found


def kill(process: psutil.Process) -> None:
    """Kills without a warning."""
    os.kill(process.pid, signal.SIGKILL)


@contextmanager
def beside(act: Callable[[], None]) -> Iterator[None]:
    """Acts in a thread while the body runs; what fails there fails the test."""
    with ThreadPoolExecutor(1) as thread:
        acting = thread.submit(act)
        yield
        acting.result()


def wait_until(ready: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Waits; fails with what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.2)  # to look at all processes takes CPU time
