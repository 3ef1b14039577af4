"""What the score of a rival is worth in units of gain, so that it can be divided by a cost as a predicted gain is.

Most scores are no gains: a length, a rarity, a log-probability. Spent by their own order where rows cost unequally, they
would do worse than anybody would do with them. So each is calibrated to gain on labelled rows that nothing else was fitted
on: by the better of a straight line and a monotone step function (isotonic regression), neither of which ever falls. A
score that says nothing of the gain is worth the same gain in every row.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from routelmt_ray.evaluation.rows import Array

LEAST_ROWS = 50
"""Rows a calibration needs."""
LINEAR, ISOTONIC = "linear", "isotonic"
_FOLDS = 5

Predict = Callable[[Array], Array]


class Worth(NamedTuple):
    """A calibration."""

    kind: str
    """`linear` or `isotonic`."""
    predict: Predict
    """Scores, shape (rows,), to expected gains, float64."""


def calibrate_to_gain(score: np.ndarray, gain: np.ndarray, documents: Sequence[str]) -> Worth:
    """Fits the expected gain to a score; the kind is the one of less squared error on folds of documents left out.

    Args:
        score: shape (rows,); rows with NaN are left out, at least one is finite.
        gain: true gain, shape (rows,).
        documents: document of each row.
    """
    whole = np.isfinite(score)
    x, y = score[whole].astype(np.float64), gain[whole].astype(np.float64)
    fold = np.unique(np.asarray(documents)[whole], return_inverse=True)[1] % _FOLDS
    errors = dict.fromkeys(_KINDS, 0.0)
    for number in range(fold.max() + 1 if fold.max() > 0 else 0):
        held = fold == number
        for kind, fit in _KINDS.items():
            errors[kind] += float(np.sum((fit(x[~held], y[~held])(x[held]) - y[held]) ** 2))
    kind = min(errors, key=lambda name: errors[name])
    return Worth(kind, _KINDS[kind](x, y))


def _line(x: Array, y: Array) -> Predict:
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = max(float(centred @ y) / spread, 0.0) if spread > 0 else 0.0
    level = float(y.mean())
    return lambda values: level + slope * (values - x.mean())


def _steps(x: Array, y: Array) -> Predict:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    return lambda values: np.asarray(fitted.predict(values), np.float64)


_KINDS: dict[str, Callable[[Array, Array], Predict]] = {LINEAR: _line, ISOTONIC: _steps}
