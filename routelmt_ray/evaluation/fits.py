"""Small models on features: ridge and logistic regression, with penalties chosen on held-out rows."""

from collections.abc import Callable

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from routelmt_ray.router.ridge import Moments, solve

PENALTIES = [10.0**e for e in range(-4, 3)]
"""Penalties to choose from, in units of the mean variance of a feature."""

Predict = Callable[[np.ndarray], np.ndarray]
"""Maps features (rows, width) to predictions (rows,), float32; NaN where a feature is NaN."""


def fit_ridge(
    features: np.ndarray, target: np.ndarray, held_features: np.ndarray, held_target: np.ndarray
) -> Predict | None:
    """Fits ridge regression on features (rows, width) with the penalty that predicts held-out rows best; None for too few."""
    x, y = _whole(features, target)
    held_x, held_y = _whole(held_features, held_target)
    if len(x) < 2 or len(held_x) < 1:
        return None
    moments = Moments.empty(x.shape[1], 1)
    moments.add(x, y[:, None])
    weights, intercepts = solve(moments, PENALTIES)
    errors = [np.mean((held_x @ w[0] + b[0] - held_y) ** 2) for w, b in zip(weights, intercepts)]
    best = int(np.argmin(errors))
    weight, intercept = weights[best, 0], float(intercepts[best, 0])
    return lambda rows: (rows.astype(np.float64) @ weight + intercept).astype(np.float32)


def fit_logistic(
    features: np.ndarray, wins: np.ndarray, held_features: np.ndarray, held_wins: np.ndarray
) -> Predict | None:
    """Fits logistic regression with the penalty of least held-out log-loss; the intercept is not penalised.

    Features have the shape (rows, width); `wins` (rows,) are true for the class whose probability is predicted. None where
    one class is empty, or there are no held-out rows.
    """
    x, y = _whole(features, wins.astype(np.float64))
    held_x, held_y = _whole(held_features, held_wins.astype(np.float64))
    if not len(held_x) or y.min(initial=1) == y.max(initial=0):
        return None
    mean = x.mean(0)
    scale = np.sqrt(x.var(0).mean()) or 1.0
    z, held_z = (x - mean) / scale, (held_x - mean) / scale

    def fit(penalty: float) -> LogisticRegression:
        # It minimises the sum of the log-losses + |weights|² / 2C, where the penalty is for their mean.
        return LogisticRegression(C=1 / (penalty * len(y)), solver="newton-cholesky", tol=1e-8).fit(z, y)

    def held_loss(model: LogisticRegression) -> float:
        logits = model.decision_function(held_z)
        return float(np.mean(np.logaddexp(0, logits) - held_y * logits))

    best = min(map(fit, PENALTIES), key=held_loss)
    return lambda rows: expit((rows - mean) / scale @ best.coef_[0] + best.intercept_[0]).astype(np.float32)


def _whole(features: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keeps the rows without NaN, as float64."""
    kept = ~(np.isnan(features).any(axis=1) | np.isnan(target))
    return features[kept].astype(np.float64), target[kept].astype(np.float64)
