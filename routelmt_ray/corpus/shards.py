"""Cuts a corpus into shards: a row has a place in the whole corpus, and a shard is a range of places.

Files are used in order, one after the other; shard ``i`` is the places ``[i * shard_rows, (i + 1) * shard_rows)``.
Small files share a shard, and a large file gives many. Nothing depends on row groups, because a reader finds those
itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Span:
    """Rows ``start`` to ``stop`` (exclusive) of one file."""

    file: str
    start: int
    stop: int


@dataclass(frozen=True)
class Shard:
    """One unit of work."""

    index: int
    """Number of the shard, which is part of file names."""
    first_place: int
    """Place of the first row in the whole corpus."""
    rows: int
    spans: tuple[Span, ...]
    """Places of the rows in files, in order."""

    def cut(self, rows: int) -> Iterator["Shard"]:
        """Cuts the shard, whose first place is a multiple of ``rows``, into those of a plan with that many rows a shard."""
        left = list(reversed(self.spans))
        for first in range(self.first_place, self.first_place + self.rows, rows):
            wanted = min(rows, self.first_place + self.rows - first)
            spans, missing = [], wanted
            while missing:
                span = left.pop()
                stop = min(span.stop, span.start + missing)
                spans.append(Span(span.file, span.start, stop))
                missing -= stop - span.start
                if stop < span.stop:
                    left.append(Span(span.file, stop, span.stop))
            yield Shard(first // rows, first, wanted, tuple(spans))


class ShardPlan:
    """The shards of a corpus, computed on demand so that a billion rows need no list."""

    def __init__(self, files: Sequence[str], file_rows: Sequence[int], shard_rows: int) -> None:
        """Args: file names in corpus order, rows of each file, and rows of a shard."""
        self._files = files
        self._ends = np.cumsum(np.asarray(file_rows, np.int64)) if len(files) else np.zeros(0, np.int64)
        self.rows = int(self._ends[-1]) if len(files) else 0
        self.shard_rows = shard_rows

    def __len__(self) -> int:
        return -(-self.rows // self.shard_rows)

    def __getitem__(self, index: int) -> Shard:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.stretch(index * self.shard_rows, min((index + 1) * self.shard_rows, self.rows), index)

    def stretch(self, first: int, last: int, index: int) -> Shard:
        """Builds a shard of the places ``first`` to ``last`` (exclusive), with a number that the caller gives."""
        spans, at = [], int(np.searchsorted(self._ends, first, side="right"))
        place = first
        while place < last:
            file_start = int(self._ends[at - 1]) if at else 0
            stop = min(last, int(self._ends[at]))
            if stop > place:  # an empty file has no rows to give
                spans.append(Span(self._files[at], place - file_start, stop - file_start))
            place, at = stop, at + 1
        return Shard(index, first, last - first, tuple(spans))
