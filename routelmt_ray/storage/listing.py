"""What a listing says of a file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a folder."""

    name: str
    """Its path inside the folder, with slashes."""
    size_bytes: int
    """Size."""
    modified_s: float
    """When it was last written, seconds since the epoch by the clock of the file system or of S3."""
    tag: str = ""
    """What S3 identifies its content by; empty elsewhere."""
