"""Names of files: a ``pathlib.Path`` on this machine, an :class:`S3Path` on S3.

An S3 path is only a name. The functions of this package do all reading and writing. So the class stays small, any
worker can receive it, and it has no method that could answer from a cache.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

SCHEME = "s3://"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOW = {
    "hf": "download it first, e.g. with `hf download --repo-type dataset NAME --local-dir FOLDER`, and name the folder",
    **dict.fromkeys(("s3a", "s3n"), "write s3://bucket/prefix"),
}


@dataclass(frozen=True, order=True)
class S3Path:
    """``s3://bucket/key``."""

    bucket: str
    key: str
    """The rest of the address, without the slash before it."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> S3Path:
        return dataclasses.replace(self, key=f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.key.rpartition("/")[2]

    def with_name(self, name: str) -> S3Path:
        """Builds the address that has another name after the last slash."""
        return self.parent / name

    @property
    def parent(self) -> S3Path:
        """The address up to the last slash."""
        return dataclasses.replace(self, key=self.key.rpartition("/")[0])


Location = Path | S3Path
"""Place of a file or a folder."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a folder, as a listing has it."""

    name: str
    """Path of the file inside the folder, with slashes."""
    size_bytes: int
    modified_s: float
    """Time of the last write, seconds since the epoch by the clock of the file system or of S3."""
    tag: str = ""
    """Tag (ETag) by which S3 identifies the content; empty for other files."""


def is_s3(text: str) -> bool:
    """Tells whether a text is an address on S3."""
    return text.startswith(SCHEME)


def local_name(text: str) -> str:
    """Turns a ``file://`` address into a plain path; returns a plain path unchanged. Raises ValueError if the address
    is of a kind that is not supported."""
    found = _SCHEME.match(text)
    if found is None:
        return text
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme == "file" and rest.removeprefix("localhost").startswith("/"):
        return unquote(rest.removeprefix("localhost"))
    how = _HOW.get(scheme, "copy it to this machine, or to S3 or what speaks its protocol (s3://bucket/prefix)")
    raise ValueError(f"{text}: addresses of the kind {found[0]} are not read; {how}")


def path(text: str | Location) -> Location:
    """Turns an address, ``s3://bucket/prefix`` or a path on this machine, into a location. A path is made absolute, as
    workers run in other folders. Raises ValueError if the address names no bucket, or is of a kind that is not
    supported."""
    if isinstance(text, S3Path):
        return text
    if not is_s3(str(text)):
        return Path(local_name(text) if isinstance(text, str) else text).absolute()
    bucket, _, key = str(text).removeprefix(SCHEME).partition("/")
    if not bucket:
        raise ValueError(f"{text}: names no bucket; write s3://bucket/prefix")
    return S3Path(bucket, key.rstrip("/"))


def below(folder: Location, name: str) -> Location:
    """Builds the location of a name inside a folder. The name may hold slashes. Raises ValueError if the name could
    lead out of the folder: it is absolute, or has a part that is empty, ``.`` or ``..``."""
    if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} leads out of {folder}, or is not the name of a file")
    return folder / name
