"""A file object that fetches only the bytes that are read."""

import io
from collections.abc import Callable
from typing import Any


class RangedFile(io.RawIOBase):
    """A read-only file; reading can start at any byte."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        """Args: size: bytes of the file; fetch: returns the bytes from a start to a stop (exclusive)."""
        self._at, self._size, self._fetch = 0, size, fetch

    def readable(self) -> bool:
        """Returns True: the file can always be read."""
        return True

    def seekable(self) -> bool:
        """Returns True: the position can always be changed."""
        return True

    def tell(self) -> int:
        """Returns the position, in bytes from the beginning."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position, and returns the new one in bytes from the beginning."""
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer until it is full or the file ends; returns the number of bytes."""
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        content = self._fetch(self._at, stop)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
