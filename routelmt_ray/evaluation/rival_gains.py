"""What the score of a rival is worth in units of gain, so that it can be divided by a cost as a predicted gain is.

Most scores are no gains: a length, a rarity, a log-probability. Spent by their own order where rows cost unequally, they
would do worse than anybody would do with them. So each is calibrated to gain on labelled rows that nothing else was fitted
on, by whichever of three predicts left-out documents best: a straight line, a monotone step function (isotonic regression),
or a line that knows the length of the source too, as whoever divides by a cost does. None falls with the score. A score that
says nothing of the gain is worth what the length alone says, or the same gain in every row.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from routelmt_ray.metrics.rows import Array

LEAST_ROWS = 50
"""Rows a calibration needs."""
LINEAR, ISOTONIC, WITH_LENGTH = "linear", "isotonic", "linear with the length"
_FOLDS = 5

Predict = Callable[[Array, Array], Array]
"""Scores and lengths, each of shape (rows,), to expected gains (rows,), float64."""


class Worth(NamedTuple):
    """A calibration."""

    kind: str
    """`linear`, `isotonic` or `linear with the length`."""
    predict: Predict


def calibrate_to_gain(score: np.ndarray, length: np.ndarray, gain: np.ndarray, documents: Sequence[str]) -> Worth:
    """Fits the expected gain to a score; the kind is the one of least squared error on folds of documents left out.

    Args:
        score: shape (rows,); rows with NaN are left out, at least one is finite.
        length: characters of each source, shape (rows,).
        gain: true gain, shape (rows,).
        documents: document of each row.
    """
    whole = np.isfinite(score)
    x, size, y = (values[whole].astype(np.float64) for values in (score, length, gain))
    fold = np.unique(np.asarray(documents)[whole], return_inverse=True)[1] % _FOLDS
    errors = dict.fromkeys(_KINDS, 0.0)
    for number in range(fold.max() + 1 if fold.max() > 0 else 0):
        held = fold == number
        for kind, fit in _KINDS.items():
            predict = fit(x[~held], size[~held], y[~held])
            errors[kind] += float(np.sum((predict(x[held], size[held]) - y[held]) ** 2))
    kind = min(errors, key=lambda name: errors[name])
    return Worth(kind, _KINDS[kind](x, size, y))


def _line(x: Array, size: Array, y: Array) -> Predict:
    slope, start, level = _slope(x, y), x.mean(), y.mean()
    return lambda score, length: level + max(slope, 0.0) * (score - start)


def _steps(x: Array, size: Array, y: Array) -> Predict:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    return lambda score, length: np.asarray(fitted.predict(score), np.float64)


def _plane(x: Array, size: Array, y: Array) -> Predict:
    # By the length first, then what the score says beyond it: the slope is that of a regression on both.
    across, along = _slope(size, x), _slope(size, y)
    beyond = x - x.mean() - across * (size - size.mean())
    slope = max(_slope(beyond, y - y.mean() - along * (size - size.mean())), 0.0)
    return lambda score, length: (
        y.mean() + slope * (score - x.mean()) + (along - slope * across) * (length - size.mean())
    )


def _slope(x: Array, y: Array) -> float:
    """Least squares; 0 where x is constant but for rounding."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ y) / spread if spread > 1e-12 * len(x) * float(np.mean(x * x)) else 0.0


_KINDS: dict[str, Callable[[Array, Array, Array], Predict]] = {LINEAR: _line, ISOTONIC: _steps, WITH_LENGTH: _plane}
