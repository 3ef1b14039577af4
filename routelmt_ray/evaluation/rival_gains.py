"""Calibration of a rival's score to units of gain, so that it can be divided by a cost like a predicted gain.

Most scores are not gains: a length, a rarity, a log-probability. Where rows cost unequally, routing in the order of
such a score would be worse than its best use. So each score is calibrated to gain on labelled rows that nothing else
was fitted on. There are three kinds: a straight line, a monotone step function (isotonic regression), and a line that
also uses the length of the source, because the length is known wherever a cost is. The kind that predicts left-out
documents best is chosen. No kind falls with the score. For a score that says nothing about the gain, the result depends
only on the length, or is the same gain in every row.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from routelmt_ray.metrics.ties import Array

LEAST_ROWS = 50
"""Rows a calibration needs."""
LINEAR, ISOTONIC, WITH_LENGTH = "linear", "isotonic", "linear with the length"
_FOLDS = 5

Predict = Callable[[Array, Array], Array]
"""Maps scores and lengths, each of shape (rows,), to expected gains (rows,), float64."""


class Worth(NamedTuple):
    """A calibration: its kind, and the function from scores to expected gains."""

    kind: str
    """`linear`, `isotonic` or `linear with the length`."""
    predict: Predict


def calibrate_to_gain(score: np.ndarray, length: np.ndarray, gain: np.ndarray, documents: Sequence[str]) -> Worth:
    """Fits the expected gain to a score, by the kind with the least squared error on left-out folds of documents.

    All have the shape (rows,). Rows whose score is NaN are left out; at least one is finite. Lengths are in characters.
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
    rise, start, level = slope(x, y), x.mean(), y.mean()
    return lambda score, length: level + max(rise, 0.0) * (score - start)


def _steps(x: Array, size: Array, y: Array) -> Predict:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    return lambda score, length: np.asarray(fitted.predict(score), np.float64)


def _plane(x: Array, size: Array, y: Array) -> Predict:
    # The length is regressed out first, then the score fits the rest: the slope is that of a regression on both.
    across, along = slope(size, x), slope(size, y)
    beyond = x - x.mean() - across * (size - size.mean())
    rise = max(slope(beyond, y - y.mean() - along * (size - size.mean())), 0.0)
    return lambda score, length: y.mean() + rise * (score - x.mean()) + (along - rise * across) * (length - size.mean())


def slope(x: Array, y: Array) -> float:
    """Fits the slope by least squares; 0 where x is constant except for rounding."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ y) / spread if spread > 1e-12 * len(x) * float(np.mean(x * x)) else 0.0


_KINDS: dict[str, Callable[[Array, Array, Array], Predict]] = {LINEAR: _line, ISOTONIC: _steps, WITH_LENGTH: _plane}
