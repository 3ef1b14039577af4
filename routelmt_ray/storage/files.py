"""Files wherever they are: whole ones, small ones, folders of them."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from routelmt_ray.storage import local
from routelmt_ray.storage.listing import Entry
from routelmt_ray.storage.paths import Location, S3Path

_NUMBER = re.compile(r"([0-9]+)")


def by_number(name: str) -> tuple[list[str | int], str]:
    """Gives the key that sorts names as people count: ``999.json`` before ``1000.json``."""
    return [int(part) if i % 2 else part for i, part in enumerate(_NUMBER.split(name))], name


def module_of(path: Location) -> Any:
    """The module that handles a location; S3 is imported where it is used, as its client takes a while."""
    if isinstance(path, S3Path):
        from routelmt_ray.storage import s3

        return s3
    return local


def create(path: Location, content: bytes) -> bool:
    """Writes a file once, whole and durably; False where the name was taken: the file there is left as it is."""
    created: bool = module_of(path).create(path, content)
    return created


def swap(path: Location, old: bytes, new: bytes) -> bool:
    """Replaces a file that still is ``old``, as one step; False where it is not."""
    swapped: bool = module_of(path).swap(path, old, new)
    return swapped


def check_conditions(folder: Location) -> None:
    """Tries whether files of a folder are created once and replaced only as they were, where a server may not see to it.

    Raises:
        AddressRefused: they are not.
    """
    module_of(folder).check_conditions(folder)


def write_json(path: Location, value: Any, durable: bool = True) -> None:
    """Replaces a JSON file whole, and durably unless told otherwise."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", durable)


def write_text(path: Location, text: str, durable: bool = True) -> None:
    """Replaces a text file whole, and durably unless told otherwise."""
    write_bytes(path, text.encode("utf-8"), durable)


def write_bytes(path: Location, content: bytes, durable: bool = True) -> None:
    """Replaces a file whole.

    Args:
        path: final name.
        content: all of it.
        durable: wait for the disk; without, a file that is replaced every other second may be lost with the machine.
    """
    module_of(path).replace(path, content, durable)


def read_bytes(path: Location, start: int | None = None, stop: int | None = None) -> bytes:
    """A file, or bytes ``start`` to ``stop`` (exclusive) of it; a negative start counts from the end.

    Raises:
        FileNotFoundError: it is not there.
    """
    content: bytes = module_of(path).read(path, start, stop)
    return content


def read_json(path: Location) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no JSON.
    """
    content = read_bytes(path)
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}): cut short or altered. Put it back as it was, or take another run_dir"
        ) from None


def exists(path: Location) -> bool:
    """True where there is such a file."""
    there: bool = module_of(path).exists(path)
    return there


def entry(path: Location) -> Entry | None:
    """What there is to say of one file; None where it is not there."""
    try:
        found: Entry = module_of(path).entry(path)
    except FileNotFoundError:
        return None
    return found


def remove(path: Location) -> None:
    """Removes a file, if it is there."""
    module_of(path).remove(path)


def remove_tree(folder: Location) -> None:
    """Removes a folder with all that is in it."""
    module_of(folder).remove_tree(folder)


def list_names(folder: Location) -> list[str]:
    """Names in a folder, sorted by :func:`by_number`, temporary files left out; an absent folder is empty."""
    found = (name for name in module_of(folder).names(folder) if not name.endswith(local.TEMPORARY))
    return sorted(found, key=by_number)


def entries(folder: Location) -> list[Entry]:
    """All files below a folder, sorted by :func:`by_number`, temporary ones left out; an absent folder is empty."""
    found = (entry for entry in module_of(folder).entries(folder) if not entry.name.endswith(local.TEMPORARY))
    return sorted(found, key=lambda entry: by_number(entry.name))


def list_tree(folder: Location) -> list[str]:
    """Names of all files below a folder, relative to it and sorted, temporary files left out; absent is empty."""
    return [entry.name for entry in entries(folder)]


def leftovers(folder: Location) -> Iterator[Path]:
    """Temporary files that a killed writer left anywhere under a folder; S3 has none that a listing shows."""
    if isinstance(folder, Path):
        for root, _, names in os.walk(folder):
            yield from (Path(root, name) for name in names if name.startswith(".") and name.endswith(local.TEMPORARY))


def open_file(path: Location) -> BinaryIO:
    """A file to read in pieces."""
    opened: BinaryIO = path.open("rb") if isinstance(path, Path) else module_of(path).open_file(path)
    return opened


@contextmanager
def new_file(path: Location) -> Iterator[Path]:
    """A file of any size that appears whole or not at all: the body writes the one it is given, on this machine."""
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
