"""Reads and writes files on S3, or on a server that speaks its protocol.

Objects are written whole, and only where there is none if this is wanted. Listings are never cached.

In each process botocore finds the endpoint, the region and the credentials (``AWS_ENDPOINT_URL``, ``AWS_REGION``,
``AWS_PROFILE``, the role of an instance …). None of them is passed on or written down. A request is tried again where
another attempt may succeed: throttling, errors of the server, broken connections. The pauses double and are random, so
that many workers do not return at once; they last about a minute in all. :mod:`routelmt_ray.storage.s3_errors` turns
every other error into one message.
"""

import io
import logging
import os
import uuid
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import s3fs
from fsspec.asyn import sync

from routelmt_ray.storage.errors import AddressRefused, StorageError
from routelmt_ray.storage.local import TEMPORARY
from routelmt_ray.storage.paths import Entry, S3Path
from routelmt_ray.storage.ranged import RangedFile
from routelmt_ray.storage.s3_errors import OutOfRange, Unmet, explaining, is_temporary

_RETRIES = {"mode": "legacy", "total_max_attempts": 7}
"""Retries of one request, by botocore. Its newer modes share one allowance among all requests of a process. A minute of
errors uses it up, and most requests would then fail at the first refusal."""
_ROUNDS = 2
"""Times that s3fs starts these attempts, as it retries more kinds of errors."""
_BODIES = 5
"""Times that an answer is requested if it breaks off before its end."""
_DELETE_KEYS = 1_000
_NO_TAG = '"00000000000000000000000000000000"'
_READ_BYTES = 8 << 20


def _client() -> Any:
    return _client_of(os.getpid())


@lru_cache(maxsize=1)
def _client_of(pid: int) -> Any:
    # One client for all threads of a process: the cache of s3fs has one for each thread, with its own connections.
    s3fs.core.set_custom_error_handler(is_temporary)
    for name in ("botocore", "aiobotocore"):  # they tell where they found credentials and endpoints
        logging.getLogger(name).setLevel(logging.WARNING)
    client = s3fs.S3FileSystem(
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={"retries": _RETRIES, "max_pool_connections": 64},
    )
    client.retries = _ROUNDS
    return client


def _call(path: S3Path, method: str, **arguments: Any) -> dict[str, Any]:
    with explaining(path):
        return _client().call_s3(method, Bucket=path.bucket, **arguments)


def read(path: S3Path, start: int | None = None, stop: int | None = None) -> bytes:
    """Reads an object, or its bytes ``start`` to ``stop`` (exclusive). A negative start counts from the end."""
    return _get(path, start, stop)[0]


def _get(path: S3Path, start: int | None = None, stop: int | None = None) -> tuple[bytes, str]:
    """The content and the tag of an object."""
    if start is None:
        wanted = {}
    elif start < 0:
        wanted = {"Range": f"bytes={start}"}
    else:
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
    for left in reversed(range(_BODIES)):
        answer = _call(path, "get_object", Key=path.key, **wanted)
        try:
            with explaining(path):
                return sync(_client().loop, _content, answer["Body"]), answer["ETag"]
        except StorageError:
            if not left:
                raise
    raise AssertionError


async def _content(body: Any) -> bytes:
    async with body:
        return await body.read()


def create(path: S3Path, content: bytes) -> bool:
    """Writes a new object. Returns False, and changes nothing, where there is an object of that name.

    If the answer to a put is lost, the put is tried again and meets its own object. The result is then False although
    the content was written.
    """
    try:
        with explaining(path):
            _client().pipe_file(f"{path.bucket}/{path.key}", content, mode="create")
    except Unmet:
        return False
    return True


def replace(path: S3Path, content: bytes, durable: bool = True) -> None:
    """Writes an object, or replaces one. S3 is always durable."""
    with explaining(path):
        _client().pipe_file(f"{path.bucket}/{path.key}", content)


def upload(source: Path, path: S3Path) -> None:
    """Uploads a local file of any size; replaces an object of that name."""
    with explaining(path):
        _client().put_file(str(source), f"{path.bucket}/{path.key}")


def swap(path: S3Path, old: bytes, new: bytes) -> bool:
    """Replaces an object if it still holds ``old``. Returns False where it does not."""
    try:
        content, tag = _get(path)
        if content != old:
            return False
        # After a refusal, another process wrote the object, or this one did and the answer was lost.
        return _put_if(path, new, tag) or read(path) == new
    except FileNotFoundError:
        return False


def check_conditions(folder: S3Path) -> None:
    """Checks that S3 keeps the conditions of a put. It writes one small object and removes it."""
    path = folder / f"probe-{uuid.uuid4().hex}{TEMPORARY}"
    try:
        create(path, b"1")
        wanted = [("If-None-Match", lambda: create(path, b"2")), ("If-Match", lambda: _put_if(path, b"3", _NO_TAG))]
        if ignored := [name for name, put in wanted if put()]:
            raise AddressRefused(
                f"{folder}: this S3 ignores {' and '.join(ignored)} of a put, so that two workers could both commit a file, and "
                "two jobs take one run_dir; put run_dir on a store with conditional writes (Amazon S3, and newer releases of "
                "MinIO, Ceph and others have them), or on a disk that all machines share"
            )
    finally:
        remove(path)


def _put_if(path: S3Path, content: bytes, tag: str) -> bool:
    try:
        _call(path, "put_object", Key=path.key, Body=content, IfMatch=tag)
    except Unmet:
        return False
    return True


def exists(path: S3Path) -> bool:
    """Tells whether an object exists."""
    try:
        read(path, 0, 1)  # unlike a HEAD, a GET that fails gives the reason
    except FileNotFoundError:
        return False
    except OutOfRange:  # the object is empty
        return True
    return True


def entry(path: S3Path) -> Entry:
    """Looks up the size, the time and the tag of one object."""
    found = _call(path, "head_object", Key=path.key)
    return Entry(path.name, found["ContentLength"], found["LastModified"].timestamp(), found["ETag"])


def remove(path: S3Path) -> None:
    """Removes an object, if it is there."""
    _call(path, "delete_object", Key=path.key)


def remove_tree(folder: S3Path) -> None:
    """Removes all objects below an address."""
    keys = [(folder / entry.name).key for entry in entries(folder)]
    for at in range(0, len(keys), _DELETE_KEYS):
        objects = [{"Key": key} for key in keys[at : at + _DELETE_KEYS]]
        answer = _call(folder, "delete_objects", Delete={"Objects": objects, "Quiet": True})
        if errors := answer.get("Errors"):
            raise StorageError(f"{folder}/{errors[0]['Key']}: could not be removed ({errors[0].get('Code')})")


def _pages(folder: S3Path, **words: str) -> Iterator[dict[str, Any]]:
    while True:
        page = _call(folder, "list_objects_v2", Prefix=_prefix(folder), **words)
        yield page
        if not page.get("IsTruncated"):
            return
        words["ContinuationToken"] = page["NextContinuationToken"]


def _prefix(folder: S3Path) -> str:
    return f"{folder.key}/" if folder.key else ""


def names(folder: S3Path) -> list[str]:
    """Lists the names of objects and folders directly below an address."""
    found = []
    for page in _pages(folder, Delimiter="/"):
        found += [item["Key"].removeprefix(_prefix(folder)) for item in page.get("Contents", [])]
        found += [item["Prefix"].removeprefix(_prefix(folder)).rstrip("/") for item in page.get("CommonPrefixes", [])]
    return [name for name in found if name]


def entries(folder: S3Path) -> Iterator[Entry]:
    """Lists all objects below an address, without the placeholders that consoles write for empty folders."""
    for page in _pages(folder):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):
                name = item["Key"].removeprefix(_prefix(folder))
                yield Entry(name, item["Size"], item["LastModified"].timestamp(), item["ETag"])


def open_file(path: S3Path) -> io.BufferedReader:
    """Opens an object that is read in pieces of 8 MiB. Reading can start at any byte."""
    return io.BufferedReader(ranged(path), _READ_BYTES)


def ranged(path: S3Path) -> RangedFile:
    """Opens an object as a file. Every read is one request for exactly those bytes."""
    return RangedFile(entry(path).size_bytes, lambda start, stop: read(path, start, stop))
