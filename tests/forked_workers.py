"""Processes of the tests that are forked from one process that has imported everything once.

Each worker of Ray is a separate process. It spends 2 CPU-seconds on imports, and 5 where it loads a model. The suite starts
hundreds. So the tests' cluster runs :func:`_ask` where it would run Python; that asks the *parent* (`forking_parent.py`),
which has imported all that workers import, for a fork. The driver of a job, which spends 5 CPU-seconds on imports, is forked
in the same way where a test starts it by `forked_driver.py`. Other jobs that are tested as processes start as users' jobs do.

Where vLLM is installed, the parent has imported it too. A process of one of its engines or a server of it then starts in 2
CPU-seconds and not in 12 (:func:`forked_engines`).

Run as a script, by what Ray runs: `forked_workers.py SOCKET PYTHON WORDS…`. It imports nothing that takes time.
"""

import array
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

KILL = signal.SIGUSR1
"""Signal at which the process that stands for a driver kills the driver, and then ends as if it were killed itself."""
WORKER = "default_worker.py"
"""Ray's script that is a worker. Where a worker has a `runtime_env`, another script sets that up and then runs this one."""
DRIVER = "forked_driver.py"
"""The tests' script that is a driver."""
FOR_SETUP = ("--serialized-runtime-env-context=", "--language=")
"""Arguments that are for that other script only."""
NUMBER_BYTES = 8


@contextmanager
def forked() -> Iterator[Path]:
    """Runs a parent while the block lasts; gives what a cluster has to run as `sys.executable` to fork its workers."""
    with tempfile.TemporaryDirectory(prefix="fork") as folder:
        address, runner = Path(folder, "socket"), Path(folder, "python")
        runner.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" "{address}" "{sys.executable}" "$@"\n'
        )
        runner.chmod(0o700)
        found = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # Ray sets this mode for a local cluster, and reads it when it is imported.
        with subprocess.Popen(
            [sys.executable, Path(__file__).with_name("forking_parent.py"), str(address), str(runner)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True, env={"RAY_AUTH_MODE": "token"} | os.environ | found,
        ) as parent:  # fmt: skip
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n", "the parent of the workers did not start"
            yield runner
            parent.terminate()


@contextmanager
def forked_engines(runner: Path) -> Iterator[None]:
    """Has the engines of vLLM that this process opens while the block lasts fork their processes.

    Args:
        runner: from :func:`forked`.
    """
    from multiprocessing import spawn

    from vllm.model_executor.models import registry

    before = spawn.get_executable(), registry._run_in_subprocess
    spawn.set_executable(str(runner))
    registry._run_in_subprocess = lambda ask: ask()  # to spare a GPU, it would ask a process that imports everything
    try:
        yield
    finally:
        spawn.set_executable(before[0])
        registry._run_in_subprocess = before[1]


def setting(words: list[str]) -> dict[str, Any]:
    """Reads a worker's `runtime_env` as Ray gives it to its script."""
    texts = [word.partition("=")[2] for word in words if word.startswith(FOR_SETUP[0])]
    found: dict[str, Any] = json.loads(texts[0]) if texts and texts[0] else {}
    return found


def _to_fork(python: str, words: list[str]) -> list[str]:
    """Finds the words of a process that is forked: a worker, a driver, a process of vLLM's engine, a server of it, a benchmark.
    None for others."""
    if words[-1] == "--multiprocessing-fork":
        return words[-3:]
    if words[0].startswith("tests/benchmarks/") or (words[0] == "-m" and words[1].startswith("vllm.")):
        return words
    scripts = [word for word in words if not word.startswith("-")][:2]
    script = next((word for word in scripts if os.path.basename(word) in (WORKER, DRIVER)), "")
    if not script or setting(words).get("py_executable", python) != python:
        return []
    return words[words.index(script) :]


def _inherited() -> list[int]:
    """Lists the files that this process was given to use, beside the three that every process has."""
    found = []
    for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        try:
            if number > 2 and os.get_inheritable(number):
                found.append(number)
        except OSError:
            continue  # that of the list
    return found


def _ask(address: str, python: str, words: list[str]) -> NoReturn:
    """Has a process forked, waits until it ends, and ends as it did; any other is run as it is."""
    forked_words = _to_fork(python, words)
    if not forked_words:
        os.execv(python, [python, *words])
    numbers = [0, 1, 2, *(_inherited() if forked_words[0] == "-c" else [])]
    message = json.dumps([forked_words, dict(os.environ), os.getcwd(), numbers]).encode()
    with socket.socket(socket.AF_UNIX) as parent:
        parent.connect(address)
        length = len(message).to_bytes(NUMBER_BYTES, "big")
        parent.sendmsg([length], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))])
        parent.sendall(message)
        if os.path.basename(forked_words[0]) == DRIVER:
            _stand_for(parent)
        told = parent.recv(1)  # nothing where it was killed: its end of the socket closes with it
    sys.exit(told[0] if told else 1)


def _stand_for(parent: socket.socket) -> NoReturn:
    """Passes signals on to the driver that was forked, and ends as it ends."""
    driver = int.from_bytes(parent.recv(NUMBER_BYTES), "big")

    def pass_on(number: int, _: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(driver, signal.SIGKILL if number == KILL else number)

    for number in (signal.SIGINT, signal.SIGTERM, KILL):
        signal.signal(number, pass_on)
    answer = parent.recv(NUMBER_BYTES)
    code = os.waitstatus_to_exitcode(int.from_bytes(answer, "big")) if answer else 1
    if code < 0:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    _ask(sys.argv[1], sys.argv[2], sys.argv[3:])
