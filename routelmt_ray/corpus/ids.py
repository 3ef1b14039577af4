"""Counts the user's ids that are null, and those that occur twice.

Every score shard keeps a 64-bit hash of each id. The hashes are counted in one pass and bounded memory. While there are
at most :data:`MOST_KEPT` ids the count is exact (except for equal hashes, in one of 10⁶ corpora of that size). Beyond
that, only ids whose hash is below a bound are kept, all rows of an id or none, and the count among them is scaled up.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MOST_KEPT = 1 << 22
_ALL = 1 << 64


@dataclass(frozen=True)
class IdCount:
    """Numbers of ids of a corpus that are null or duplicates."""

    null: int
    """Rows without an id."""
    duplicates: int
    """Rows whose id also occurs in an earlier row."""
    exact: bool
    """False where `duplicates` is an estimate."""


def id_keys(column: pa.ChunkedArray) -> pa.Array:
    """Computes a 64-bit hash of each id, uint64; null where the id is null."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = pc.cast(column, pa.large_binary())  # an id need not be valid UTF-8
    return pa.array([None if value is None else _key(value) for value in column.to_pylist()], pa.uint64())


def _key(value: object) -> int:
    content = value if isinstance(value, bytes) else repr(value).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def count_ids(shards: Iterable[pa.ChunkedArray]) -> IdCount:
    """Counts null and duplicate ids in all shards. `shards` has the result of :func:`id_keys` for each shard."""
    null, bound, pending, kept = 0, _ALL, 0, np.zeros(0, np.uint64)
    parts: list[npt.NDArray[np.uint64]] = []
    for keys in shards:
        null += keys.null_count
        values = keys.drop_null().to_numpy()
        parts.append(values[values < bound] if bound < _ALL else values)
        pending += len(parts[-1])
        if pending > MOST_KEPT:
            kept, parts, pending = np.concatenate([kept, *parts]), [], 0
            while len(kept) > MOST_KEPT:
                bound //= 2
                kept = kept[kept < bound]
    kept = np.concatenate([kept, *parts])
    duplicates = len(kept) - len(np.unique(kept))
    return IdCount(null, round(duplicates * (_ALL / bound)), bound == _ALL)
