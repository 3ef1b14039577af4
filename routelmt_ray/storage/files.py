"""Reads, writes and lists files and folders, on this machine or on S3."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from routelmt_ray.storage import local
from routelmt_ray.storage.paths import Entry, Location, S3Path

_NUMBER = re.compile(r"([0-9]+)")
_THREADS = 16

T = TypeVar("T")
R = TypeVar("R")


def by_number(name: str) -> tuple[list[str | int], str]:
    """Gives the sort key that orders names by the numbers in them: ``999.json`` before ``1000.json``."""
    return [int(part) if i % 2 else part for i, part in enumerate(_NUMBER.split(name))], name


def module_of(path: Location) -> Any:
    """Finds the module that handles a location. S3 is imported only where it is used, as its client loads slowly."""
    if isinstance(path, S3Path):
        from routelmt_ray.storage import s3

        return s3
    return local


def create(path: Location, content: bytes) -> bool:
    """Writes a new file, whole and durably. Returns False, and changes nothing, where a file of that name exists."""
    return module_of(path).create(path, content)


def swap(path: Location, old: bytes, new: bytes) -> bool:
    """Replaces a file in one step if it still holds ``old``. Returns False where it does not."""
    return module_of(path).swap(path, old, new)


def check_conditions(folder: Location) -> None:
    """Checks that :func:`create` and :func:`swap` keep their conditions in a folder; some S3 servers ignore them.
    Raises AddressRefused if they do not keep them."""
    module_of(folder).check_conditions(folder)


def write_json(path: Location, value: Any, durable: bool = True) -> None:
    """Writes a value as a JSON file, which appears whole; see :func:`write_bytes`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", durable)


def write_text(path: Location, text: str, durable: bool = True) -> None:
    """Writes a text file as UTF-8, which appears whole; see :func:`write_bytes`."""
    write_bytes(path, text.encode("utf-8"), durable)


def write_bytes(path: Location, content: bytes, durable: bool = True) -> None:
    """Writes a file, or replaces one. Readers see the old content or the new one, never a part. With `durable` it waits
    for the disk. Without it, the file may be lost when the machine stops; it suits files that are written every few
    seconds."""
    module_of(path).replace(path, content, durable)


def read_bytes(path: Location, start: int | None = None, stop: int | None = None) -> bytes:
    """Reads a file, or its bytes ``start`` to ``stop`` (exclusive). A negative start counts from the end."""
    return module_of(path).read(path, start, stop)


def read_json(path: Location) -> Any:
    """Reads a JSON file. Raises ValueError if the file is not valid JSON."""
    content = read_bytes(path)
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}): cut short or altered. Put it back as it was, or use another run_dir"
        ) from None


def exists(path: Location) -> bool:
    """Tells whether a file exists."""
    return module_of(path).exists(path)


def entry(path: Location) -> Entry | None:
    """Looks up the size and the time of one file. Returns None where there is no such file."""
    try:
        found: Entry = module_of(path).entry(path)
    except FileNotFoundError:
        return None
    return found


def remove(path: Location) -> None:
    """Removes a file, if it is there."""
    module_of(path).remove(path)


def remove_tree(folder: Location) -> None:
    """Removes a folder and everything in it."""
    module_of(folder).remove_tree(folder)


def list_names(folder: Location) -> list[str]:
    """Lists the names in a folder, sorted by :func:`by_number`, without temporary files. An absent folder is empty."""
    found = (name for name in module_of(folder).names(folder) if not name.endswith(local.TEMPORARY))
    return sorted(found, key=by_number)


def entries(folder: Location) -> list[Entry]:
    """Lists all files below a folder, by :func:`by_number`, without temporary ones. An absent folder is empty."""
    found = (entry for entry in module_of(folder).entries(folder) if not entry.name.endswith(local.TEMPORARY))
    return sorted(found, key=lambda entry: by_number(entry.name))


def list_tree(folder: Location) -> list[str]:
    """Lists the names of all files below a folder, relative to it, as :func:`entries` does."""
    return [entry.name for entry in entries(folder)]


def leftovers(folder: Location) -> Iterator[Path]:
    """Finds temporary files that killed writers left below a folder. A listing of S3 shows none."""
    if isinstance(folder, Path):
        for root, _, names in os.walk(folder):
            yield from (Path(root, name) for name in names if name.startswith(".") and name.endswith(local.TEMPORARY))


def open_file(path: Location) -> BinaryIO:
    """Opens a file that is to be read in pieces."""
    return path.open("rb") if isinstance(path, Path) else module_of(path).open_file(path)


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Does work that waits for files on several items at a time; returns the results in order."""
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(work, items))


@contextmanager
def new_file(path: Location) -> Iterator[Path]:
    """Publishes a file of any size, which the body writes at the local path it is given. An error publishes none."""
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{local.TEMPORARY}")
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, path.name)
        module_of(path).upload(Path(folder, path.name), path)
