"""Scorers that need no model: each turns the rows of a shard into one float32 a row.

They are not in units of gain. NaN marks a row that may not be routed.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray.budget.keys import mix

_RANDOM_STREAM = 0x5EED
_TOO_LARGE = 2**53


def length_scores(texts: Sequence[str]) -> np.ndarray:
    """Characters of each source, shape ``(rows,)``, float32."""
    return np.fromiter((len(t) for t in texts), np.float32, len(texts))


def random_scores(places: np.ndarray, seed: int) -> np.ndarray:
    """A uniform draw in [0, 1) for each place, the same whatever the shards; shape ``(rows,)``, float32."""
    mixed = mix(places.astype(np.uint64), (seed ^ _RANDOM_STREAM) & (2**64 - 1))
    return ((mixed >> np.uint64(40)).astype(np.float64) / 2**24).astype(np.float32)


def column_scores(column: pa.ChunkedArray) -> np.ndarray:
    """A numeric column the corpus brings, shape ``(rows,)``, float32.

    Null, NaN and infinite values become NaN, as do integers from 2⁵³ on, which are ids or hashes rather than scores.
    """
    values = pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan")).to_numpy()
    if pa.types.is_integer(column.type):
        values = np.where(np.abs(values) < _TOO_LARGE, values, np.nan)
    return finite(values)


def scaled(scores: np.ndarray, scale: float, intercept: float) -> np.ndarray:
    """Scores times a scale, plus an intercept, float32; what overflows becomes NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        # In float64: NumPy 1 and 2 differ in what a float32 array becomes beside a number that float32 does not hold.
        return finite(scale * scores.astype(np.float64) + intercept)


def finite(values: np.ndarray) -> np.ndarray:
    """Values as float32; NaN where they are not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        scores = values.astype(np.float32)
    return np.where(np.isfinite(scores), scores, np.float32("nan"))
