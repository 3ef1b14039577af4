"""Gains like real ones: many are exactly zero, three in ten are negative, and predictions say little about them."""

import numpy as np


def synthetic_gains(rng: np.random.Generator, rows: int, correlation: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    """Draws predicted gains, which have many ties, and measured gains, both of shape ``(rows,)``."""
    hidden = rng.normal(size=rows)
    real = correlation * hidden + np.sqrt(1 - correlation**2) * rng.normal(size=rows)
    gains = np.where(np.abs(real + 0.15) < 0.35, 0.0, 0.1 * (real + 0.15))
    return np.round(0.03 + 0.03 * hidden, 2).astype(np.float32), gains
