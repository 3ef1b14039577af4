"""Finds the files of a corpus by a path, a folder or a glob, on this machine or S3; recognizes them by a fingerprint."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from routelmt_ray import storage
from routelmt_ray.corpus import local_inputs, s3_inputs, sniff
from routelmt_ray.corpus.input_kinds import ENDINGS, JSON, JSON_LINES, PARQUET, Unread, has_ending

__all__ = ["PARQUET", "Found", "InputFile", "Unread", "find", "find_files", "fingerprint", "is_json_lines", "look_at"]

log = logging.getLogger(__name__)

_EDGE_BYTES = 1 << 16
_FEW = 5


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the corpus."""

    path: str
    """Path or S3 address of the file."""
    name: str
    """Path inside the corpus; files are in the order of their names."""
    size_bytes: int
    edge_digest: str
    """SHA-256, first 16 hexadecimal digits, of the first and last 64 KiB, which have a Parquet file's statistics; on
    S3, of the ETag."""
    modified_s: float = field(default=0.0, compare=False)
    """Time of the last modification, seconds since the epoch; 0 on S3. It is not compared by itself; see `edits`."""


def fingerprint(files: Sequence[InputFile]) -> dict[str, Any]:
    """Computes what identifies a corpus: number of files, bytes, and a hash of names, sizes and edge digests."""
    digest = hashlib.sha256()
    for f in files:
        digest.update(json.dumps([f.name, f.size_bytes, f.edge_digest]).encode())
    return {"files": len(files), "bytes": sum(f.size_bytes for f in files), "digest": digest.hexdigest()[:16]}


@dataclass(frozen=True)
class Found:
    """The files that a path names."""

    files: tuple[InputFile, ...]
    """Files of the corpus, in order."""
    unread: tuple[Unread, ...]
    """Other files and folders that are not read, in the order of the names."""


def find(path: str) -> Found:
    """Finds the files of a corpus, with size and fingerprint, and other files that are not read; parses no rows.

    The path is a file, a folder (read recursively; hidden names and names that begin with ``_`` are left out) or a
    glob, also with ``{a,b}``; on this machine or on S3. Raises ValueError if it names nothing, a file of an unknown
    kind, or a folder that is no corpus, such as a run directory, and StorageError if S3 cannot be listed.
    """
    if storage.is_s3(path):
        on_s3, unread = s3_inputs.find(path)
        here: list[tuple[str, str]] = []
    else:
        on_s3, (here, unread) = [], local_inputs.find(_here(path))
    looked = storage.in_threads(_other, [*here, *((address, name) for address, name, _ in on_s3)])
    others = dict(other for other in looked if other is not None)
    unread = sorted([*unread, *others.values()], key=lambda other: other.name)
    files = [_on_s3(*each) for each in on_s3 if each[0] not in others]
    files += look_at([each for each in here if each[0] not in others])
    if not files:
        raise ValueError(_nothing_read(path, unread))
    return Found(tuple(sorted(files, key=lambda file: file.name)), tuple(unread))


def _here(path: str) -> str:
    try:
        return storage.local_name(path)
    except ValueError as error:
        raise ValueError(f"input.path {error}") from None


def find_files(path: str) -> list[InputFile]:
    """Returns only the files of :func:`find`; logs what may hold rows and is not read."""
    found = find(path)
    if lost := [f"{other.name}: {other.reason}" for other in found.unread if other.counts]:
        log.warning("%s: not read are %d files that may hold rows: %s", path, len(lost), "; ".join(lost[:_FEW]))
    return list(found.files)


def _other(found: tuple[str, str]) -> tuple[str, Unread] | None:
    """A file that is not what its name says, by its beginning; ``.json`` may be JSON Lines or a single value."""
    path, name = found
    is_here = not storage.is_s3(path)
    try:
        reason = sniff.pointer(path) if is_here else None
        if reason is None and has_ending(name, JSON) and (not is_here or os.path.isfile(path)):
            reason = sniff.why_no_lines(path)
    except storage.StorageError:
        raise
    except OSError:
        return None  # the later reader reports it
    return None if reason is None else (path, Unread(name, reason, True))


def _nothing_read(path: str, unread: Sequence[Unread]) -> str:
    if len(unread) == 1 and path.rpartition("/")[2] == unread[0].name:  # the file itself was named
        if has_ending(path, JSON_LINES + PARQUET):
            return f"input.path {path}: {unread[0].reason}"
        return f"input.path {path}: unknown kind of file ({sniff.describe_file(path)}); the name must end in {ENDINGS}"
    more = "; ".join(f"{other.name}: {other.reason}" for other in unread[:3])
    return f"input.path {path}: the folder has no file that ends in {ENDINGS}" + (f"; not read: {more}" if more else "")


def look_at(paths: Sequence[tuple[str, str]]) -> list[InputFile]:
    """Reads size and fingerprint of files, which are given as path and name inside the corpus. Raises ValueError if a
    path is no file, or the file cannot be read."""
    return storage.in_threads(lambda path: _look(*path), paths)


def _look(path: str, name: str) -> InputFile:
    if storage.is_s3(path):
        if (entry := storage.entry(storage.path(path))) is None:
            raise ValueError(f"input.path: {path} was removed while the files were listed; start the job again")
        return _on_s3(path, name, entry)
    if not os.path.isfile(path):
        raise ValueError(
            f"input.path: {path!r} is not a file, or is a link to a missing one; remove it, or select the files with a glob"
        )
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
    # The path is absolute, because a worker may run in another folder than the driver.
    return InputFile(os.path.abspath(path), name, size, hashlib.sha256(head + tail).hexdigest()[:16], modified_s)


def _on_s3(path: str, name: str, entry: storage.Entry) -> InputFile:
    return InputFile(path, name, entry.size_bytes, hashlib.sha256(entry.tag.encode()).hexdigest()[:16])


def is_json_lines(file: InputFile) -> bool:
    """Tells by its name whether a file is JSON Lines, which have to be staged."""
    return has_ending(file.path, JSON_LINES)
