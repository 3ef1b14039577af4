"""Files of a run directory: read, list, and publish once.

A file appears whole under its final name or not at all. Publishing links a finished temporary file to its name, which
fails where the name is taken: of two writers of one shard the second loses without harm.
"""

import glob
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEMPORARY = ".tmp"


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary(path: Path) -> Path:
    # Unique: a task may outlive the driver that started it and meet its successor.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")


def publish_table(path: Path, table: pa.Table, meta: dict[str, Any], **parquet_options: Any) -> bool:
    """Writes a Parquet file and publishes it once, durably.

    Args:
        path: final name.
        table: the rows.
        meta: what a driver learns from this commit; kept as JSON in the footer, see :func:`read_meta`.
        parquet_options: passed to ``pyarrow.parquet.write_table``.

    Returns:
        False where the name was taken already; the file there is left as it is.
    """
    footer = {**(table.schema.metadata or {}), b"routelmt": json.dumps(meta).encode()}
    temporary = _temporary(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as sink:
            pq.write_table(table.replace_schema_metadata(footer), sink, **parquet_options)
            sink.flush()
            os.fsync(sink.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        _fsync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def read_meta(path: Path) -> dict[str, Any]:
    """The JSON kept in a Parquet footer by :func:`publish_table`."""
    with pq.ParquetFile(path) as file:
        meta = json.loads((file.metadata.metadata or {})[b"routelmt"])
    assert isinstance(meta, dict)
    return meta


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Replaces a JSON file whole, and durably unless told otherwise."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", durable)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Replaces a text file whole, and durably unless told otherwise."""
    write_bytes(path, text.encode("utf-8"), durable)


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Replaces a file whole.

    Args:
        path: final name.
        content: all of it.
        durable: wait for the disk; without, a file that is replaced every other second may be lost with the machine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as sink:
            sink.write(content)
            if durable:
                sink.flush()
                os.fsync(sink.fileno())
        os.replace(temporary, path)
        if durable:
            _fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears whole or not at all: the body fills the one it is given, which then takes the name.

    A folder of that name is replaced at the end; what killed writers of it left is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY}"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # some writers leave files to their owner alone
                handle = os.open(file, os.O_RDONLY)
                os.fsync(handle)
                os.close(handle)
        if path.exists():
            old = _temporary(path)
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
        _fsync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: it is not there.
    """
    return json.loads(path.read_text("utf-8"))


def list_names(folder: Path) -> list[str]:
    """Names in a folder, sorted, temporary files left out; an absent folder is empty."""
    if not folder.is_dir():
        return []
    return sorted(name for name in os.listdir(folder) if not name.endswith(TEMPORARY))


def list_tree(folder: Path) -> list[str]:
    """Names of all files below a folder, relative to it and sorted, temporary files left out; absent is empty."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found if not path.name.endswith(TEMPORARY))


def remove(path: Path) -> None:
    """Removes a file, if it is there."""
    path.unlink(missing_ok=True)


def leftovers(folder: Path) -> Iterator[Path]:
    """Temporary files that a killed writer left anywhere under a folder."""
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names if name.startswith(".") and name.endswith(TEMPORARY))


def modified_s(folder: Path) -> dict[str, float]:
    """When each file in a folder was last written, seconds since the epoch, by name; temporary files are left out."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_mtime for entry in entries if not entry.name.endswith(TEMPORARY)}
