"""Ridge regression in closed form, float64, from sums: states are read once, shard by shard, and not kept."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Moments:
    """Sums over rows that a least-squares fit needs."""

    rows: int
    state_sum: np.ndarray
    """Sum of the states, shape ``(hidden,)``, float64, like all that follow."""
    target_sum: np.ndarray
    """Sum of the targets, shape ``(targets,)``."""
    state_products: np.ndarray
    """Sum of state ⊗ state, shape ``(hidden, hidden)``."""
    cross_products: np.ndarray
    """Sum of state ⊗ target, shape ``(hidden, targets)``."""

    @classmethod
    def empty(cls, hidden: int, targets: int) -> "Moments":
        """Makes sums over no rows."""
        return cls(0, np.zeros(hidden), np.zeros(targets), np.zeros((hidden, hidden)), np.zeros((hidden, targets)))

    def add(self, states: np.ndarray, targets: np.ndarray) -> None:
        """Adds rows: states ``(rows, hidden)``, targets ``(rows, targets)``."""
        x, y = np.asarray(states, np.float64), np.asarray(targets, np.float64)
        self.rows += len(x)
        self.state_sum += x.sum(0)
        self.target_sum += y.sum(0)
        self.state_products += x.T @ x
        self.cross_products += x.T @ y


def solve(moments: Moments, penalties: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Fits one linear model for each penalty and target; the intercept is not penalised.

    Each fit minimises mean((w·x + b − y)²) + penalty · variance · |w|². Penalties are in units of the mean variance of a
    state's dimension, so that one list serves every model. Returns weights ``(penalties, targets, hidden)`` and intercepts
    ``(penalties, targets)``, float64.
    """
    n = moments.rows
    mean, level = moments.state_sum / n, moments.target_sum / n
    covariance = moments.state_products / n - np.outer(mean, mean)
    cross = moments.cross_products / n - np.outer(mean, level)
    # One decomposition serves every penalty. Rounding may make eigenvalues slightly negative.
    values, vectors = np.linalg.eigh(covariance)
    values = values.clip(min=0)
    scale = values.mean() or 1.0
    rotated = vectors.T @ cross  # (hidden, targets)
    weights = np.stack([(vectors @ (rotated / (values + p * scale)[:, None])).T for p in penalties])
    return weights, level - weights @ mean
