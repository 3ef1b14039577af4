"""Coordinates the engines of one node: their first start, a shared folder, and the memory of a device."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def first_start_alone(folder: Path, key: str) -> Iterator[None]:
    """Lets the first start of a kind finish before others begin; all later ones run at the same time.

    The first start compiles code that the others find in a cache. If all compiled at once, they would race.

    Args:
        folder: folder for locks and marks, on the node.
        key: name of the kind, used in file names.
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
    """Waits until a device has free memory. An engine that has just ended may not have released its memory yet.

    Args:
        free_share: gives the share of the memory of the device that is free.
        poll_s: seconds between two checks.

    Returns:
        False after the time limit. The program that needs the memory then reports the lack.
    """
    deadline = time.monotonic() + timeout_s
    while free_share() < wanted:
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_s)
    return True


@contextmanager
def shared_folder(path: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """Shares a folder among processes: the first user fills it, and the last one removes it.

    Args:
        path: path of the folder, the same for all users on the node.
        fill: makes the folder, which must appear whole or not at all.
    """
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
