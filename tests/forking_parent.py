"""The process that the tests' other processes are forked from: it has imported all that they import.

`forking_parent.py SOCKET RUNNER`; :mod:`tests.forked_workers` starts it, and says what is forked.
"""

import array
import atexit
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from contextlib import nullcontext, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from tests.forked_workers import DRIVER, FOR_SETUP, NUMBER_BYTES, WORKER, forked_engines, setting

_MOST_FILES = 200
_OUT_OF_THE_WAY = 512
"""A file number above those that a process is given."""
_IMPORTS = (
    "ray.data", "ray.actor", "ray._private.workers.setup_worker", "ray._private.runtime_env.setup_hook", "pandas",
    "pyarrow.compute", "pyarrow.parquet", "pyarrow.dataset", "torch", "transformers", "peft", "sacrebleu",
    "transformers.models.qwen3.modeling_qwen3", "routelmt_ray.engines.hf", "routelmt_ray.stages.translate",
    "routelmt_ray.stages.score", "jobs.translate", "jobs.label", "s3fs",
)  # fmt: skip
_VLLM_IMPORTS = (
    "routelmt_ray.engines.vllm_requests", "routelmt_ray.engines.vllm", "vllm.v1.engine.core", "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.cpu_worker", "vllm.model_executor.models.qwen3", "vllm.entrypoints.launchers.api_server.entry",
)  # fmt: skip


def main(address: str, runner: str) -> None:
    """Imports, then forks a process for each that asks; ends when its input does, which is when who started it ends."""
    # Ray reads these when it is imported: no job yet, which Ray tells a worker with its first task, and whom to outlive not.
    os.environ |= {"RAY_JOB_ID": "ffffffff", "RAY_RAYLET_PID": str(os.getpid())}
    gc.disable()  # nothing that is imported is garbage, and looking for some takes seconds
    for name in _IMPORTS:
        import_module(name)
    engines: Any = nullcontext()
    if find_spec("vllm") is not None:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # it reads this when it is imported
        for name in _VLLM_IMPORTS:
            import_module(name)
        engines = forked_engines(Path(runner))
    import_module("tests.toy_kinds").add()  # workers know them; a test adds them to its own process
    _pause_little()
    gc.freeze()  # shared pages stay shared
    gc.enable()
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
    """Shortens the pauses before Ray Data tries a stage again that raised an error, three seconds on average, and before
    botocore sends a request again: no test is about them. Nobody cuts the power either, so that nothing waits for the disk."""
    from random import random

    from botocore import retryhandler
    from ray.data._internal import util

    stages: Any = util
    stages.random = SimpleNamespace(random=lambda: 0.02, randint=util.random.randint)
    requests: Any = retryhandler
    requests.random = SimpleNamespace(random=lambda: random() / 20)
    system: Any = os
    system.fsync = lambda handle: None


def _fork(asker: socket.socket) -> None:
    """Forks the process that is asked for, in a new thread.

    Ray has a random generator for each thread, whose identifiers must not be those of another worker.
    """
    from ray._raylet import UniqueID

    words, environment, folder, files = _received(asker)
    UniqueID.from_random()  # makes this thread's generator before the fork, so that the next one gets another
    if os.fork() == 0:
        line = _moved(asker.detach())  # stays open as long as this process lives
        try:
            if os.path.basename(words[0]) == DRIVER:
                _attend(line)
            _become(words, environment, folder, files, line)
        except SystemExit as end:
            _end(end.code if isinstance(end.code, int) else int(end.code is not None), words, line)
        except BaseException:
            traceback.print_exc()
            _end(1, words, line)
        _end(0, words, line)
    asker.close()
    for file in files.values():
        os.close(file)


def _attend(line: int) -> None:
    """Forks a driver, in which this returns, and waits for its end.

    Sends the driver's number and its exit status to the process that asked. Kills the driver when that process is gone.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    driver = os.fork()
    if driver == 0:
        import_module("tests.toy_kinds").remove()  # a test adds them to its own process only
        os.close(line)
        return
    end, asker = os.pidfd_open(driver), socket.socket(fileno=line)
    with suppress(OSError):
        asker.sendall(driver.to_bytes(NUMBER_BYTES, "big"))
    if end not in select.select([asker, end], [], [])[0]:
        os.kill(driver, signal.SIGKILL)
    _, status = os.waitpid(driver, 0)
    with suppress(OSError):
        asker.sendall(status.to_bytes(NUMBER_BYTES, "big"))
    os._exit(0)


def _end(code: int, words: list[str], line: int) -> NoReturn:
    """Ends a forked process: a driver as the interpreter does. Any other first sends its exit status to the process that asked."""
    driver = os.path.basename(words[0]) == DRIVER
    if driver:
        atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        file.flush()
    if not driver:
        os.write(line, bytes([code % 256]))
    os._exit(code)


def _received(asker: socket.socket) -> tuple[list[str], dict[str, str], str, dict[int, int]]:
    files = array.array("i")
    first, extra, _, _ = asker.recvmsg(NUMBER_BYTES, socket.CMSG_SPACE(_MOST_FILES * files.itemsize))
    for _, _, data in extra:
        files.frombytes(data)
    length, parts = int.from_bytes(first, "big"), b""
    while len(parts) < length:
        parts += asker.recv(length - len(parts))
    words, environment, folder, numbers = json.loads(parts)
    return words, environment, folder, dict(zip(numbers, files))


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
    os.environ.update(setting(words).get("env_vars", {}))
    random.seed()
    np.random.seed()
    if os.path.basename(words[0]) not in (WORKER, DRIVER):
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
    sys.argv = [word for word in words if not word.startswith(FOR_SETUP)]
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


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
