"""Coordinates the engines of one node: their first start, a shared folder, and the memory of a device."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def first_start_alone(folder: Path, key: str) -> Iterator[None]:
    """Lets the first start of a kind finish before others begin; all later ones run at the same time. Locks and marks
    are in a folder on the node, and the name of the kind is part of their names.

    The first start compiles code that the others find in a cache. If all compiled at once, they would race.
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
    """Waits until a share of the memory of a device is free. An engine that has just ended may not have released its
    memory yet. Returns False after the time limit; the program that needs the memory then reports the lack."""
    deadline = time.monotonic() + timeout_s
    while free_share() < wanted:
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_s)
    return True


@contextmanager
def shared_folder(path: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """Shares a folder, by a path that is the same for all users on the node: the first user fills it, and the last one
    removes it. When it is filled, it must appear whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        while not path.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                fill(path)
            fcntl.flock(lock, fcntl.LOCK_SH)  # not one atomic step: a user that leaves may remove it in between
        try:
            yield path
        finally:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            except BlockingIOError:
                pass  # another user still reads it, and will remove it
