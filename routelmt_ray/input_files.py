"""Which files a corpus has: found by a path, a folder or a glob, here or on S3, and known again by size and fingerprint."""

import glob
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from routelmt_ray import s3_inputs, storage

PARQUET = (".parquet", ".pq")
JSON_LINES = tuple(a + b for a in (".jsonl", ".ndjson") for b in ("", ".gz", ".zst"))
_EDGE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the corpus."""

    path: str
    """Where it is."""
    name: str
    """Its path inside the corpus; the order of the files is the order of these."""
    size_bytes: int
    """Size."""
    edge_digest: str
    """SHA-256 over its first and last 64 KiB; the last hold a Parquet file's own statistics. On S3 over its ETag."""
    modified_s: float = field(default=0.0, compare=False)
    """When it was last written, seconds since the epoch; 0 on S3. Another time alone makes no other file; see `edits`."""


def fingerprint(files: Sequence[InputFile]) -> dict[str, Any]:
    """What identifies a corpus: files, bytes, and a hash over names, sizes and edges."""
    digest = hashlib.sha256()
    for f in files:
        digest.update(json.dumps([f.name, f.size_bytes, f.edge_digest]).encode())
    return {"files": len(files), "bytes": sum(f.size_bytes for f in files), "digest": digest.hexdigest()[:16]}


def find_files(path: str) -> list[InputFile]:
    """Files of a corpus in order, with size and fingerprint; nothing is parsed.

    Args:
        path: a file, a folder (read recursively; hidden names and names that begin with ``_`` are left out) or a glob;
            of this machine or of S3.

    Raises:
        ValueError: nothing there, or a file of an unknown kind was named.
        StorageError: S3 cannot be listed.
    """
    if storage.is_s3(path):
        return _find_on_s3(path)
    known = PARQUET + JSON_LINES
    if os.path.isdir(path):
        root, found = path, [name for name in _walk(path) if name.endswith(known)]
        if not found:
            raise ValueError(f"input.path {path}: the folder has no file that ends in {', '.join(known)}")
    else:
        found = (
            [path] if os.path.isfile(path) else sorted(n for n in glob.glob(path, recursive=True) if os.path.isfile(n))
        )
        if not found:
            raise ValueError(f"input.path {path}: no such file or folder, and nothing matches it as a glob")
        _check_kinds(found)
        root = (
            os.path.dirname(found[0])
            if len(found) == 1
            else os.path.commonpath([os.path.dirname(n) or "." for n in found])
        )
    return sorted(look_at([(name, os.path.relpath(name, root or ".")) for name in found]), key=lambda f: f.name)


def look_at(paths: Sequence[tuple[str, str]]) -> list[InputFile]:
    """Size and fingerprint of files, given as path and name inside the corpus.

    Raises:
        ValueError: one is no file, or cannot be read.
    """
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(lambda path: _look(*path), paths))


def _walk(folder: str) -> Iterable[str]:
    # Links to folders are not followed, so a loop of links cannot trap the walk.
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith((".", "_")))
        yield from (os.path.join(root, n) for n in sorted(names) if not n.startswith((".", "_")))


def _look(path: str, name: str) -> InputFile:
    if storage.is_s3(path):
        if (entry := storage.entry(storage.path(path))) is None:
            raise ValueError(f"input.path: {path} is gone")
        return _on_s3(path, name, entry)
    if not os.path.isfile(path):
        raise ValueError(f"input.path: {path!r} is no file, or a link to none; remove it or name the files by a glob")
    try:
        path.encode()
        with open(path, "rb") as source:
            head = source.read(_EDGE_BYTES)
            size = source.seek(0, os.SEEK_END)
            source.seek(max(len(head), size - _EDGE_BYTES))
            tail = source.read()
            modified_s = os.fstat(source.fileno()).st_mtime
    except UnicodeEncodeError:
        raise ValueError(f"input.path: the name {path!r} is not valid UTF-8; rename it") from None
    except OSError as error:
        raise ValueError(f"input.path: {path!r} cannot be read: {error.strerror}") from None
    # Absolute: a worker may run in another folder than the driver.
    return InputFile(os.path.abspath(path), name, size, hashlib.sha256(head + tail).hexdigest()[:16], modified_s)


def _check_kinds(paths: Iterable[str]) -> None:
    known = PARQUET + JSON_LINES
    unknown = [name for name in paths if not name.endswith(known)]
    if unknown:
        raise ValueError(f"input.path {unknown[0]}: unknown kind of file; the name must end in {', '.join(known)}")


def _find_on_s3(path: str) -> list[InputFile]:
    found = s3_inputs.find(path, PARQUET + JSON_LINES)
    _check_kinds(address for address, _, _ in found)
    return sorted((_on_s3(*each) for each in found), key=lambda f: f.name)


def _on_s3(path: str, name: str, entry: storage.Entry) -> InputFile:
    return InputFile(path, name, entry.size_bytes, hashlib.sha256(entry.tag.encode()).hexdigest()[:16])


def is_json_lines(file: InputFile) -> bool:
    """True for a file that has to be staged."""
    return file.path.endswith(JSON_LINES)
