"""A file of which only the bytes that are asked for are fetched."""

import io
from collections.abc import Callable
from typing import Any


class RangedFile(io.RawIOBase):
    """Read-only, from the beginning or anywhere."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        """Args: size: its bytes; fetch: gives those from one place to another (exclusive), which is never beyond the end."""
        self._at, self._size, self._fetch = 0, size, fetch

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves, and returns the new position."""
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer as far as there are bytes."""
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        content = self._fetch(self._at, stop)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
