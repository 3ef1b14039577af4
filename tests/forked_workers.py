"""Processes of the tests, forked from one process that has imported everything once: workers of Ray, and drivers.

Each worker of Ray is a separate process. It spends 2 CPU-seconds on imports, and 5 where it loads a model. The suite starts
hundreds. So the tests' cluster runs :func:`_ask` where it would run Python; that asks the *parent*, which has imported all
that workers import, for a fork. The driver of a job, which spends 5 CPU-seconds on imports, is forked in the same way where
a test starts it by `forked_driver.py`. Other jobs that are tested as processes start as users' jobs do.

Run as a script: `forked_workers.py serve SOCKET` is the parent, `forked_workers.py ask SOCKET PYTHON WORDS…` is what Ray runs.
"""

import array
import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

KILL = signal.SIGUSR1
"""Signal at which the process that stands for a driver kills the driver, and then ends as if it were killed itself."""
_WORKER = "default_worker.py"
"""Ray's script that is a worker. Where a worker has a `runtime_env`, another script sets that up and then runs this one."""
_DRIVER = "forked_driver.py"
"""The tests' script that is a driver."""
_FOR_SETUP = ("--serialized-runtime-env-context=", "--language=")
"""Arguments that are for that other script only."""
_NUMBER_BYTES = 8
_IMPORTS = (
    "ray.data", "ray.actor", "ray._private.workers.setup_worker", "ray._private.runtime_env.setup_hook", "pandas",
    "pyarrow.compute", "pyarrow.parquet", "pyarrow.dataset", "torch", "transformers", "peft", "sacrebleu",
    "transformers.models.qwen3.modeling_qwen3", "routelmt_ray.engines.hf", "routelmt_ray.stages.translate",
    "routelmt_ray.stages.score", "jobs.translate", "jobs.label", "s3fs",
)  # fmt: skip


@contextmanager
def forked() -> Iterator[Path]:
    """Runs a parent while the block lasts; gives what a cluster has to run as `sys.executable` to fork its workers."""
    with tempfile.TemporaryDirectory(prefix="fork") as folder:
        address, runner = Path(folder, "socket"), Path(folder, "python")
        runner.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" ask "{address}" "{sys.executable}" "$@"\n'
        )
        runner.chmod(0o700)
        found = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # Ray sets this mode for a local cluster, and reads it when it is imported.
        with subprocess.Popen(
            [sys.executable, __file__, "serve", str(address)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True, env={"RAY_AUTH_MODE": "token"} | os.environ | found,
        ) as parent:  # fmt: skip
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n", "the parent of the workers did not start"
            yield runner
            parent.terminate()


def _serve(address: str) -> None:
    """Imports, then forks a process for each that asks; ends when its input does, which is when who started it ends."""
    # Ray reads these when it is imported: no job yet, which Ray tells a worker with its first task, and whom to outlive not.
    os.environ |= {"RAY_JOB_ID": "ffffffff", "RAY_RAYLET_PID": str(os.getpid())}
    for name in _IMPORTS:
        import_module(name)
    import_module("tests.toy_kinds").add()  # workers know them; a test adds them to its own process
    _pause_little()
    gc.freeze()  # shared pages stay shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets workers that ended
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)  # not before: Ray gives up where its agents take 15 seconds to start beside this
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            asker, _ = listener.accept()
            thread = threading.Thread(target=_fork, args=[asker])
            thread.start()
            thread.join()


def _pause_little() -> None:
    """Shortens the pauses before Ray Data tries a stage again that raised an error, three seconds on average, and before
    botocore sends a request again: no test is about them."""
    from random import random

    from botocore import retryhandler
    from ray.data._internal import util

    stages: Any = util
    stages.random = SimpleNamespace(random=lambda: 0.02, randint=util.random.randint)
    requests: Any = retryhandler
    requests.random = SimpleNamespace(random=lambda: random() / 20)


def _fork(asker: socket.socket) -> None:
    """Forks the worker or the driver that is asked for, in a new thread.

    Ray has a random generator for each thread, whose identifiers must not be those of another worker.
    """
    from ray._raylet import UniqueID

    words, environment, folder, files = _received(asker)
    UniqueID.from_random()  # makes this thread's generator before the fork, so that the next one gets another
    if os.fork() == 0:
        try:
            if os.path.basename(words[0]) == _DRIVER:
                _attend(asker)
            _become(words, environment, folder, files)  # `asker` is open as long as a worker lives
        except SystemExit as end:
            _end(end.code if isinstance(end.code, int) else 1)
        except BaseException:
            traceback.print_exc()
            _end(1)
        _end(0)
    asker.close()
    for file in files:
        os.close(file)


def _attend(asker: socket.socket) -> None:
    """Forks a driver, in which this returns, and waits for its end.

    The process that asked is told the driver's number and how it ended. When that process is gone, the driver is killed.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    driver = os.fork()
    if driver == 0:
        asker.close()
        import_module("tests.toy_kinds").remove()  # a test adds them to its own process only
        return
    end = os.pidfd_open(driver)
    with suppress(OSError):
        asker.sendall(driver.to_bytes(_NUMBER_BYTES, "big"))
    if end not in select.select([asker, end], [], [])[0]:
        os.kill(driver, signal.SIGKILL)
    _, status = os.waitpid(driver, 0)
    with suppress(OSError):
        asker.sendall(status.to_bytes(_NUMBER_BYTES, "big"))
    os._exit(0)


def _end(code: int) -> NoReturn:
    """Ends a forked process as the interpreter does, but without the ends of the process it is a fork of."""
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        file.flush()
    os._exit(code)


def _received(asker: socket.socket) -> tuple[list[str], dict[str, str], str, list[int]]:
    files = array.array("i")
    first, extra, _, _ = asker.recvmsg(_NUMBER_BYTES, socket.CMSG_SPACE(3 * files.itemsize))
    for _, _, data in extra:
        files.frombytes(data)
    length, parts = int.from_bytes(first, "big"), b""
    while len(parts) < length:
        parts += asker.recv(length - len(parts))
    words, environment, folder = json.loads(parts)
    return words, environment, folder, list(files)


def _become(words: list[str], environment: dict[str, str], folder: str, files: list[int]) -> None:
    """Turns this process into the one that the script would turn into."""
    import random
    import runpy

    import numpy as np

    os.setpgid(0, 0)  # Ray ends a worker's whole group
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.environ.update(_setting(words).get("env_vars", {}))
    random.seed()
    np.random.seed()
    sys.argv = [word for word in words if not word.startswith(_FOR_SETUP)]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")


def _setting(words: list[str]) -> dict[str, Any]:
    """Reads a worker's `runtime_env` as Ray gives it to its script."""
    texts = [word.partition("=")[2] for word in words if word.startswith(_FOR_SETUP[0])]
    found: dict[str, Any] = json.loads(texts[0]) if texts and texts[0] else {}
    return found


def _ask(address: str, python: str, words: list[str]) -> None:
    """Has a worker or a driver forked and waits until it ends; anything else runs as it is."""
    scripts = [word for word in words if not word.startswith("-")][:2]
    script = next((word for word in scripts if os.path.basename(word) in (_WORKER, _DRIVER)), "")
    if not script or _setting(words).get("py_executable", python) != python:
        os.execv(python, [python, *words])
    message = json.dumps([words[words.index(script) :], dict(os.environ), os.getcwd()]).encode()
    files = array.array("i", [0, 1, 2])
    with socket.socket(socket.AF_UNIX) as parent:
        parent.connect(address)
        length = len(message).to_bytes(_NUMBER_BYTES, "big")
        parent.sendmsg([length], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        parent.sendall(message)
        if os.path.basename(script) == _DRIVER:
            _stand_for(parent)
        parent.recv(1)  # its end of the socket closes with it


def _stand_for(parent: socket.socket) -> NoReturn:
    """Passes signals on to the driver that was forked, and ends as it ends."""
    driver = int.from_bytes(parent.recv(_NUMBER_BYTES), "big")

    def pass_on(number: int, _: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(driver, signal.SIGKILL if number == KILL else number)

    for number in (signal.SIGINT, signal.SIGTERM, KILL):
        signal.signal(number, pass_on)
    answer = parent.recv(_NUMBER_BYTES)
    code = os.waitstatus_to_exitcode(int.from_bytes(answer, "big")) if answer else 1
    if code < 0:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        _ask(sys.argv[2], sys.argv[3], sys.argv[4:])
