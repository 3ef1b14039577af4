"""Scorers that need no model. Each gives one float32 for each row of a shard; NaN marks a row that may not be routed."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray.budget.keys import mix
from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.engines.artifact import Router

_RANDOM_STREAM = 0x5EED
_TOO_LARGE = 2**53


@dataclass(frozen=True)
class Unscored:
    """The rows of a shard that can be translated."""

    texts: list[str]
    places: np.ndarray
    """Place of each row in the whole corpus, shape ``(rows,)``, int64."""
    columns: pa.Table
    """The columns of the corpus that the scorer asked for."""
    seed: int
    languages: list[str | None]
    """Code of the target language of each row."""
    trained: Router | None = None
    """The trained router, where the scorer reads one."""
    prompts: list[list[int]] = field(default_factory=list)
    """Token ids of the small model's prompt of each row; empty ones for an engine without tokens."""


def length_scores(rows: Unscored, router: RouterConfig) -> np.ndarray:
    """Counts the characters of each source, shape ``(rows,)``, float32."""
    return np.fromiter((len(t) for t in rows.texts), np.float32, len(rows.texts))


def random_scores(rows: Unscored, router: RouterConfig) -> np.ndarray:
    """Draws a uniform number in [0, 1) for each place, independent of the shards. Shape ``(rows,)``, float32."""
    mixed = mix(rows.places.astype(np.uint64), (rows.seed ^ _RANDOM_STREAM) & (2**64 - 1))
    return ((mixed >> np.uint64(40)).astype(np.float64) / 2**24).astype(np.float32)


def word_scores(rows: Unscored, router: RouterConfig) -> np.ndarray:
    """Predicts the gain from each source, its target language and its prompt, without a model. Shape ``(rows,)``, float32."""
    assert rows.trained is not None
    return rows.trained.predict_by_words(rows.texts, rows.languages, rows.prompts)


def column_scores(rows: Unscored, router: RouterConfig) -> np.ndarray:
    """Reads scores from a numeric column of the corpus, shape ``(rows,)``, float32.

    Null, NaN and infinite values become NaN. So do integers of 2⁵³ or more, which are ids or hashes and not scores.
    """
    column = rows.columns[router.column]
    values = pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan")).to_numpy()
    if pa.types.is_integer(column.type):
        values = np.where(np.abs(values) < _TOO_LARGE, values, np.nan)
    return finite(values)


def scaled(scores: np.ndarray, scale: float, intercept: float) -> np.ndarray:
    """Computes scale · score + intercept, float32. A value that overflows becomes NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        # In float64: NumPy 1 and 2 give different types to a float32 array times a number that float32 cannot hold.
        return finite(scale * scores.astype(np.float64) + intercept)


def finite(values: np.ndarray) -> np.ndarray:
    """Converts values to float32, with NaN where they are not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        scores = values.astype(np.float32)
    return np.where(np.isfinite(scores), scores, np.float32("nan"))
