"""Files on this machine or on a disk that machines share.

A file appears whole under its final name or not at all. To create a file, a finished temporary file is linked to the
final name. The link fails where the name exists, so of two writers of one file the second changes nothing. On a disk
without hard links, the temporary file is renamed under the same condition.
"""

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from routelmt_ray.storage.errors import AddressRefused
from routelmt_ray.storage.paths import Entry

TEMPORARY = ".tmp"
_UNSUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EMLINK)
"""Errors of file systems that lack a call. Linux answers EPERM where there are no hard links."""
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # of linux/fcntl.h and linux/fs.h


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:  # some mounts sync files alone
            raise
    finally:
        os.close(handle)


def _put_where_none_is(temporary: Path, path: Path) -> None:
    """Gives a finished file its final name, as one step. Raises FileExistsError if the name is taken, and
    AddressRefused if the file system has no way to do this."""
    try:
        os.link(temporary, path)
        return
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    try:
        _rename_where_none_is(temporary, path)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        raise AddressRefused(
            f"{path.parent}: this file system has neither hard links nor a rename that never replaces a file, so two "
            "writers could overwrite each other; choose a folder on a local disk, on NFS or on S3"
        ) from None


def _rename_where_none_is(temporary: Path, path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):  # no Linux
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(path))
    names = os.fsencode(temporary), os.fsencode(path)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))


def _temporary(path: Path) -> Path:
    # Unique: a task may outlive the driver that started it and meet its successor.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")


@contextmanager
def _written(path: Path, content: bytes, durable: bool = True) -> Iterator[Path]:
    """Writes the content to a temporary file beside the final name. Removes it after the body, if it is still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as sink:
            sink.write(content)
            if durable:
                sink.flush()
                os.fsync(sink.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def create(path: Path, content: bytes) -> bool:
    """Writes a new file, durably. Returns False, and changes nothing, where a file of that name exists."""
    with _written(path, content) as temporary:
        try:
            _put_where_none_is(temporary, path)
        except FileExistsError:
            return False
        _fsync_folder(path.parent)
        return True


def replace(path: Path, content: bytes, durable: bool = True) -> None:
    """Writes a file, or replaces one. Without ``durable``, it may be lost when the machine stops."""
    with _written(path, content, durable) as temporary:
        os.replace(temporary, path)
        if durable:
            _fsync_folder(path.parent)


def swap(path: Path, old: bytes, new: bytes) -> bool:
    """Replaces a file if it still holds ``old``; else returns False. All its writers must use this function."""
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(path.open("rb+"))
            fcntl.flock(held, fcntl.LOCK_EX)
            current = os.fstat(held.fileno()).st_ino == path.stat().st_ino
        except FileNotFoundError:
            return False
        if not current or held.read() != old:
            return False  # another process replaced it while this one waited
        replace(path, new)  # an error here does not tell who holds the file
        return True


def check_conditions(folder: Path) -> None:
    """Does nothing: where a file system has no links or locks, the call that needs them raises an error."""


def read(path: Path, start: int | None = None, stop: int | None = None) -> bytes:
    """Reads a file, or its bytes ``start`` to ``stop`` (exclusive). A negative start counts from the end."""
    with path.open("rb") as source:
        if start is None:
            return source.read()
        at = start if start >= 0 else max(0, source.seek(0, os.SEEK_END) + start)
        source.seek(at)
        return source.read(-1 if stop is None else stop - at)


def exists(path: Path) -> bool:
    """Tells whether there is a file or folder of that name."""
    return path.exists()


def remove(path: Path) -> None:
    """Removes a file, if it is there."""
    path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Removes a folder and everything in it."""
    shutil.rmtree(folder, ignore_errors=True)


def names(folder: Path) -> list[str]:
    """Lists the names of files and folders in a folder. An absent folder is empty."""
    return os.listdir(folder) if folder.is_dir() else []


def entry(path: Path) -> Entry:
    """Looks up the size and the time of one file."""
    found = path.stat()
    return Entry(path.name, found.st_size, found.st_mtime)


def entries(folder: Path) -> Iterator[Entry]:
    """Lists all files below a folder; an absent folder has none. Links to folders are not followed: they may loop."""
    for root, _, found in os.walk(folder):
        for name in found:
            file = Path(root, name)
            try:
                status = file.stat()
            except FileNotFoundError:
                continue  # removed in the meantime, or a link to nothing
            yield Entry(file.relative_to(folder).as_posix(), status.st_size, status.st_mtime)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Publishes a folder once the body has filled the temporary one it is given. After an error, nothing appears.

    At the end it replaces a folder of the same name. Temporary folders that killed writers left are removed.
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
                file.chmod(0o644)  # some writers make files that only their owner can read
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
