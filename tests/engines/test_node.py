"""What engines of one node share: real processes that lock, make and remove."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from routelmt_ray.engines.node import first_start_alone, shared_folder, wait_for_room


def in_processes(function: Callable[..., None], folder: Path, count: int, *, together: bool = False) -> None:
    """Runs a function in processes of their own; ``together``: each waits inside until all are there."""
    context = multiprocessing.get_context("fork")
    wait = context.Barrier(count).wait if together else lambda timeout: None
    processes = [context.Process(target=function, args=(folder, wait)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def note(folder: Path, word: str) -> None:
    with (folder / "log").open("a") as log:
        log.write(f"{word}\n")


def notes(folder: Path) -> list[str]:
    """What processes noted since the last call."""
    found = (folder / "log").read_text().split()
    (folder / "log").unlink()
    return found


def start(folder: Path, wait: Callable[[float], object]) -> None:
    with first_start_alone(folder / "cache", "kind"):
        note(folder, "begin")
        wait(30)
        note(folder, "end")


def use(folder: Path, wait: Callable[[float], object]) -> None:
    def fill(path: Path) -> None:
        note(folder, "fill")
        path.mkdir()
        (path / "weights").write_text("weights")

    with shared_folder(folder / "shared", fill) as path:
        wait(30)
        assert (path / "weights").read_text() == "weights"


def test_the_first_start_goes_alone_and_later_ones_together(tmp_path: Path) -> None:
    in_processes(start, tmp_path, 4)
    assert notes(tmp_path)[:2] == ["begin", "end"]
    in_processes(start, tmp_path, 3, together=True)
    assert notes(tmp_path) == ["begin"] * 3 + ["end"] * 3


def test_a_first_start_that_fails_leaves_the_next_one_alone_again(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), first_start_alone(tmp_path / "cache", "kind"):
        raise RuntimeError
    in_processes(start, tmp_path, 3)
    assert notes(tmp_path)[:2] == ["begin", "end"]


def test_a_shared_folder_is_made_once_for_all_users_and_gone_after_the_last(tmp_path: Path) -> None:
    in_processes(use, tmp_path, 4, together=True)
    assert notes(tmp_path) == ["fill"]
    for _ in range(8):  # users who come while others leave
        in_processes(use, tmp_path, 6)
        assert not (tmp_path / "shared").exists()


def test_a_folder_that_a_killed_user_left_is_used_and_removed(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "weights").write_text("weights")
    in_processes(use, tmp_path, 1)
    assert not (tmp_path / "log").exists() and not (tmp_path / "shared").exists()


def test_memory_is_waited_for_and_not_for_ever() -> None:
    shares = iter([0.1, 0.5, 0.95])
    assert wait_for_room(lambda: next(shares), 0.9, timeout_s=10, poll_s=0.001)
    assert next(shares, None) is None
    assert not wait_for_room(lambda: 0.5, 0.9, timeout_s=0.02, poll_s=0.001)
