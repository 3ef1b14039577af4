"""What the engines of one node share: a first start that goes alone, a folder that one makes for all, and memory."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def first_alone(folder: Path, key: str) -> Iterator[None]:
    """Lets the first start of a kind run alone and all later ones side by side.

    The first one compiles what the others find in a cache; compiling at once they would race.

    Args:
        folder: where locks and marks are kept, on the node.
        key: the kind, a name for files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"{key}.started"
    with (folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            fcntl.flock(lock, fcntl.LOCK_UN)
        yield
        done.touch()


def wait_for_room(free_share: Callable[[], float], wanted: float, timeout_s: float, poll_s: float = 0.5) -> bool:
    """Waits until a device has free memory: an engine that has just ended may not have given its own back yet.

    Args:
        free_share: share of the device's memory that is free.
        wanted: share that is needed.
        timeout_s: most seconds to wait.
        poll_s: seconds between looks.

    Returns:
        False where the time was up; whatever needs the memory then says so itself.
    """
    deadline = time.monotonic() + timeout_s
    while free_share() < wanted:
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_s)
    return True


@contextmanager
def shared_folder(path: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """A folder that the first user fills and the last one removes.

    Args:
        path: its name, the same for all users on the node.
        fill: makes the folder; it must appear whole or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        while not path.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                fill(path)
            fcntl.flock(lock, fcntl.LOCK_SH)  # not at one stroke: a user who leaves may remove it in between
        try:
            yield path
        finally:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            except BlockingIOError:
                pass  # another still reads it, and will remove it
