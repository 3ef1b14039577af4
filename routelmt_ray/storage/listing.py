"""The facts that a listing gives about a file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a folder."""

    name: str
    """Path of the file inside the folder, with slashes."""
    size_bytes: int
    modified_s: float
    """Time of the last write, seconds since the epoch by the clock of the file system or of S3."""
    tag: str = ""
    """Tag (ETag) by which S3 identifies the content; empty for other files."""
