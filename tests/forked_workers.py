"""Worker processes of the tests' shared cluster, forked from one process that has imported everything once.

Each worker of Ray is a separate process. It spends 2 CPU-seconds on imports, and 5 where it loads a model. The suite starts
hundreds. So the tests' cluster runs :func:`_ask` where it would run Python; that asks the *parent*, which has imported all
that workers import, for a fork. Jobs that are tested as processes start their workers as users' jobs do.

Where vLLM is installed, the parent has imported it too. A process of one of its engines or a server of it then starts in 2
CPU-seconds and not in 12 (:func:`forked_engines`).

Run as a script: `forked_workers.py serve SOCKET` is the parent, `forked_workers.py ask SOCKET PYTHON WORDS…` is what Ray runs.
"""

import array
import fcntl
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
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_WORKER = "default_worker.py"
"""Ray's script that is a worker. Where a worker has a `runtime_env`, another script sets that up and then runs this one."""
_FOR_SETUP = ("--serialized-runtime-env-context=", "--language=")
"""Arguments that are for that other script only."""
_LENGTH_BYTES = 8
_MOST_FILES = 200
_OUT_OF_THE_WAY = 512
"""A file number above those that a process is given."""
_IMPORTS = (
    "ray.data", "ray.actor", "ray._private.workers.setup_worker", "ray._private.runtime_env.setup_hook", "pandas",
    "pyarrow.compute", "pyarrow.parquet", "pyarrow.dataset", "torch", "transformers", "peft", "sacrebleu",
    "transformers.models.qwen3.modeling_qwen3", "routelmt_ray.engines.hf", "routelmt_ray.stages.translate",
    "routelmt_ray.stages.score",
)  # fmt: skip
_VLLM_IMPORTS = (
    "routelmt_ray.engines.vllm_requests", "routelmt_ray.engines.vllm", "vllm.v1.engine.core", "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.cpu_worker", "vllm.model_executor.models.qwen3", "vllm.entrypoints.launchers.api_server.entry",
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
            [sys.executable, __file__, "serve", str(address), str(runner)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True, env={"RAY_AUTH_MODE": "token"} | os.environ | found,
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


def _import_vllm() -> None:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # it reads this when it is imported
    for name in _VLLM_IMPORTS:
        import_module(name)


def _serve(address: str, runner: str) -> None:
    """Imports, then forks a process for each that asks; ends when its input does, which is when who started it ends."""
    # Ray reads these when it is imported: no job yet, which Ray tells a worker with its first task, and whom to outlive not.
    os.environ |= {"RAY_JOB_ID": "ffffffff", "RAY_RAYLET_PID": str(os.getpid())}
    for name in _IMPORTS:
        import_module(name)
    engines: Any = nullcontext()
    if find_spec("vllm") is not None:
        _import_vllm()
        engines = forked_engines(Path(runner))
    import_module("tests.toy_kinds").add()  # workers know them; a test adds them to its own process
    _pause_little()
    gc.freeze()  # shared pages stay shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets workers that ended
    with engines, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)  # not before: Ray gives up where its agents take 15 seconds to start beside this
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            asker, _ = listener.accept()
            thread = threading.Thread(target=_fork, args=[asker])
            thread.start()
            thread.join()


def _pause_little() -> None:
    """Shortens the pauses before Ray Data tries a stage again that raised an error: three seconds on average, and no test
    is about them."""
    from ray.data._internal import util

    pauses: Any = util
    pauses.random = SimpleNamespace(random=lambda: 0.02, randint=util.random.randint)


def _fork(asker: socket.socket) -> None:
    """Forks the process that is asked for, in a new thread.

    Ray has a random generator for each thread, whose identifiers must not be those of another worker.
    """
    from ray._raylet import UniqueID

    words, environment, folder, numbers, files = _received(asker)
    UniqueID.from_random()  # makes this thread's generator before the fork, so that the next one gets another
    if os.fork() == 0:
        line, status = _moved(asker.detach()), 0  # stays open as long as this process lives
        try:
            _become(words, environment, folder, dict(zip(numbers, files)), line)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os.write(line, bytes([status % 256]))
        os._exit(status)
    asker.close()
    for file in files:
        os.close(file)


def _received(asker: socket.socket) -> tuple[list[str], dict[str, str], str, list[int], list[int]]:
    files = array.array("i")
    first, extra, _, _ = asker.recvmsg(_LENGTH_BYTES, socket.CMSG_SPACE(_MOST_FILES * files.itemsize))
    for _, _, data in extra:
        files.frombytes(data)
    length, parts = int.from_bytes(first, "big"), b""
    while len(parts) < length:
        parts += asker.recv(length - len(parts))
    words, environment, folder, numbers = json.loads(parts)
    return words, environment, folder, numbers, list(files)


def _become(words: list[str], environment: dict[str, str], folder: str, files: dict[int, int], line: int) -> None:
    """Turns this process into what Python would turn into with these words.

    Args:
        words: what follows the name of Python in a command.
        environment: its variables.
        folder: where it is started.
        files: those that it is given, by the numbers they must get.
        line: to the process that asked.
    """
    import random
    import runpy

    import numpy as np

    os.setpgid(0, 0)  # Ray ends a worker's whole group
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in [(number, _moved(file)) for number, file in files.items()]:
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.environ.update(_setting(words).get("env_vars", {}))
    random.seed()
    np.random.seed()
    if os.path.basename(words[0]) != _WORKER:
        threading.Thread(target=_end_after, args=[line], daemon=True).start()
    if words[0] in ("-c", "-m"):
        sys.path[0] = folder
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = ["-c", *words[2:]]
            exec(words[1], {"__name__": "__main__"})
        return
    sys.argv = [word for word in words if not word.startswith(_FOR_SETUP)]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")


def _moved(file: int) -> int:
    high = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
    os.close(file)
    return high


def _end_after(line: int) -> None:
    """Ends this process when the one that asked for it was ended: others know only that one."""
    os.read(line, 1)
    os.killpg(0, signal.SIGKILL)


def _setting(words: list[str]) -> dict[str, Any]:
    """Reads a worker's `runtime_env` as Ray gives it to its script."""
    texts = [word.partition("=")[2] for word in words if word.startswith(_FOR_SETUP[0])]
    found: dict[str, Any] = json.loads(texts[0]) if texts and texts[0] else {}
    return found


def _to_fork(python: str, words: list[str]) -> list[str]:
    """Finds the words of a process that is forked: a worker, a process of vLLM's engine, a server of it, a benchmark. None for
    others."""
    if words[-1] == "--multiprocessing-fork":
        return words[-3:]
    if words[0].startswith("tests/benchmarks/") or (words[0] == "-m" and words[1].startswith("vllm.")):
        return words
    scripts = [word for word in words if not word.startswith("-")][:2]
    if not scripts or os.path.basename(scripts[-1]) != _WORKER:
        return []
    return words[words.index(scripts[-1]) :] if _setting(words).get("py_executable", python) == python else []


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


def _ask(address: str, python: str, words: list[str]) -> None:
    """Has a process forked and waits until it ends; any other is run as it is."""
    forked_words = _to_fork(python, words)
    if not forked_words:
        os.execv(python, [python, *words])
    numbers = [0, 1, 2, *(_inherited() if forked_words[0] == "-c" else [])]
    message = json.dumps([forked_words, dict(os.environ), os.getcwd(), numbers]).encode()
    with socket.socket(socket.AF_UNIX) as parent:
        parent.connect(address)
        length = len(message).to_bytes(_LENGTH_BYTES, "big")
        parent.sendmsg([length], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))])
        parent.sendall(message)
        told = parent.recv(1)  # nothing where it was killed: its end of the socket closes with it
    sys.exit(told[0] if told else 1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2], sys.argv[3])
    else:
        _ask(sys.argv[2], sys.argv[3], sys.argv[4:])
