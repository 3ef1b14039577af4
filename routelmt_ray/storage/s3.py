"""Files on S3, and on what speaks its protocol: whole objects, put once where asked for, listed anew each time.

Endpoint, region and credentials are found by botocore (``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_PROFILE``, an
instance's role …) in each process; nothing of them is passed on or written down. What S3 says that a retry may mend
(throttling, its own errors, connections that break) is tried again with pauses that double, drawn at random so that many
workers do not come back at once: about a minute in all. Everything else becomes one message in :func:`_words`.
"""

import io
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import aiohttp
import s3fs
from botocore import exceptions as boto
from fsspec.asyn import sync

from routelmt_ray.storage.errors import AddressRefused, StorageError
from routelmt_ray.storage.listing import Entry
from routelmt_ray.storage.local import TEMPORARY
from routelmt_ray.storage.paths import S3Path
from routelmt_ray.storage.ranged import RangedFile

_RETRIES = {"mode": "legacy", "total_max_attempts": 7}
"""Of one request, by botocore. Its newer modes share an allowance among all requests of a process, which a minute of
trouble uses up: most would then fail at the first refusal."""
_ROUNDS = 2
"""How often that is begun again, by s3fs, which knows more errors."""
_BODIES = 5
"""How often an answer is asked for that breaks off half way."""
_CREDENTIALS = {
    "AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken",
    "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
_REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "301", "307"}
_UNFIT = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.ProfileNotFound,
    boto.TokenRetrievalError, boto.UnauthorizedSSOTokenError, boto.SSOTokenLoadError,
)  # fmt: skip
_PASSING = {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown", "Throttling"}
_DELETE_KEYS = 1_000
_NO_TAG = '"00000000000000000000000000000000"'
_READ_BYTES = 8 << 20


class _Unmet(Exception):
    """A condition of a request did not hold."""


class _OutOfRange(Exception):
    """There are no such bytes."""


def _client() -> Any:
    return _client_of(os.getpid())


@lru_cache(maxsize=1)
def _client_of(pid: int) -> Any:
    # One for all threads of a process; s3fs's own cache has one a thread, each with connections of its own.
    s3fs.core.set_custom_error_handler(_passes)
    for name in ("botocore", "aiobotocore"):  # they tell where they found credentials and endpoints
        logging.getLogger(name).setLevel(logging.WARNING)
    client = s3fs.S3FileSystem(
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={"retries": _RETRIES, "max_pool_connections": 64},
    )
    client.retries = _ROUNDS
    return client


def _passes(error: Exception) -> bool:
    """True for an error that another attempt may not meet; s3fs knows some by itself."""
    if isinstance(error, boto.ClientError):
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or answer["Error"].get("Code") in _PASSING
    return isinstance(error, boto.ConnectionError)


@contextmanager
def _words(path: S3Path) -> Iterator[None]:
    """Puts what S3 or botocore says into words.

    Raises:
        FileNotFoundError: no such object.
        AddressRefused: the user has to change something.
        StorageError: S3 did not do what it should.
    """
    try:
        yield
    except (StorageError, _Unmet, _OutOfRange):
        raise
    except (OSError, aiohttp.ClientError, boto.BotoCoreError, boto.ClientError) as error:
        raise _translated(path, error) from None


def _translated(path: S3Path, error: BaseException) -> Exception:
    said = error if isinstance(error, boto.ClientError) else error.__cause__
    if isinstance(said, boto.ClientError):
        code = str(said.response["Error"].get("Code", ""))
        status = said.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchBucket":
            return AddressRefused(f"{path}: there is no bucket {path.bucket}; correct the address, or make the bucket")
        if status == 404:
            return FileNotFoundError(str(path))
        if status == 412:
            return _Unmet()
        if status == 416:
            return _OutOfRange()
        if code in _CREDENTIALS:
            return AddressRefused(
                f"{path}: S3 does not accept the credentials ({code}); renew them, or see AWS_PROFILE"
            )
        if code in _REGION:
            return AddressRefused(f"{path}: the bucket is in another region ({code}); set AWS_REGION to that one")
        if status in (401, 403):
            action = said.operation_name
            return AddressRefused(
                f"{path}: no permission for {action} ({code}); a run reads, lists, writes and deletes below its run_dir, and "
                "reads and lists its input"
            )
        if not _passes(said):
            return AddressRefused(f"{path}: S3 refuses {said.operation_name} ({code}, status {status})")
        return StorageError(f"{path}: S3 goes on failing {said.operation_name} ({code}, status {status})")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(str(path))
    if isinstance(error, _UNFIT):
        return AddressRefused(
            f"{path}: no credentials ({type(error).__name__}); set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, on every machine of the cluster"
        )
    if isinstance(
        error, aiohttp.ClientError | boto.ConnectionError | boto.HTTPClientError
    ):  # their own words name the endpoint
        return StorageError(
            f"{path}: S3 cannot be reached ({type(error).__name__}); see the network and AWS_ENDPOINT_URL"
        )
    return StorageError(f"{path}: {type(error).__name__}: {error}")


def _call(path: S3Path, method: str, **arguments: Any) -> dict[str, Any]:
    with _words(path):
        answer: dict[str, Any] = _client().call_s3(method, Bucket=path.bucket, **arguments)
        return answer


def read(path: S3Path, start: int | None = None, stop: int | None = None) -> bytes:
    """An object, or bytes ``start`` to ``stop`` (exclusive) of it, in one request; a negative start counts from the end."""
    return _get(path, start, stop)[0]


def _get(path: S3Path, start: int | None = None, stop: int | None = None) -> tuple[bytes, str]:
    """Content and tag."""
    if start is None:
        wanted = {}
    elif start < 0:
        wanted = {"Range": f"bytes={start}"}
    else:
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
    for left in reversed(range(_BODIES)):
        answer = _call(path, "get_object", Key=path.key, **wanted)
        try:
            with _words(path):
                return sync(_client().loop, _content, answer["Body"]), answer["ETag"]
        except StorageError:
            if not left:
                raise
    raise AssertionError


async def _content(body: Any) -> bytes:
    async with body:
        content: bytes = await body.read()
        return content


def create(path: S3Path, content: bytes) -> bool:
    """Puts an object where there is none; False where there is one.

    A put whose answer was lost is tried again and finds its own object: False, and the content is there all the same.
    """
    try:
        with _words(path):
            _client().pipe_file(f"{path.bucket}/{path.key}", content, mode="create")
    except _Unmet:
        return False
    return True


def replace(path: S3Path, content: bytes, durable: bool = True) -> None:
    """Puts an object whatever was there; S3 is always durable."""
    with _words(path):
        _client().pipe_file(f"{path.bucket}/{path.key}", content)


def upload(source: Path, path: S3Path) -> None:
    """Puts a file of any size, whatever was there."""
    with _words(path):
        _client().put_file(str(source), f"{path.bucket}/{path.key}")


def swap(path: S3Path, old: bytes, new: bytes) -> bool:
    """Replaces an object if it still is ``old``; False where it is not."""
    try:
        content, tag = _get(path)
        if content != old:
            return False
        # Where it is refused: somebody else's put, or an own one whose answer was lost.
        return _put_if(path, new, tag) or read(path) == new
    except FileNotFoundError:
        return False


def check_conditions(folder: S3Path) -> None:
    """Tries whether S3 keeps to the conditions of a put, with one small object that is removed afterwards.

    Raises:
        AddressRefused: it does not: of two writers of one file both would win.
    """
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
    except _Unmet:
        return False
    return True


def exists(path: S3Path) -> bool:
    """True where there is such an object."""
    try:
        read(path, 0, 1)  # unlike a HEAD, a GET that fails says why
    except FileNotFoundError:
        return False
    except _OutOfRange:  # it is empty
        return True
    return True


def entry(path: S3Path) -> Entry:
    """What there is to say of one object."""
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
    """Names of objects and of further addresses right below an address."""
    found = []
    for page in _pages(folder, Delimiter="/"):
        found += [item["Key"].removeprefix(_prefix(folder)) for item in page.get("Contents", [])]
        found += [item["Prefix"].removeprefix(_prefix(folder)).rstrip("/") for item in page.get("CommonPrefixes", [])]
    return [name for name in found if name]


def entries(folder: S3Path) -> Iterator[Entry]:
    """All objects below an address; what consoles put for an empty folder is none."""
    for page in _pages(folder):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):
                name = item["Key"].removeprefix(_prefix(folder))
                yield Entry(name, item["Size"], item["LastModified"].timestamp(), item["ETag"])


def open_file(path: S3Path) -> io.BufferedReader:
    """An object to read in pieces of 8 MiB, from the beginning or anywhere."""
    return io.BufferedReader(ranged(path), _READ_BYTES)


def ranged(path: S3Path) -> RangedFile:
    """An object as a file: every read is one request for just those bytes."""
    return RangedFile(entry(path).size_bytes, lambda start, stop: read(path, start, stop))
