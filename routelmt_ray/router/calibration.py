"""Calibration of a head's output to the unit of its label, and its quality on held-out rows."""

import logging
from typing import Any

import numpy as np

from routelmt_ray.metrics.measures import hit_rate, mean_delta, normalized_area, spearman

log = logging.getLogger(__name__)

BUDGET = 0.3
"""Share of the rows routed in the figures of ``router.json``."""


def calibrate(raw: np.ndarray, label: np.ndarray, head: str) -> dict[str, float]:
    """Fits ``label ≈ scale · raw + intercept`` by least squares, to the rows where the output `raw` is no NaN.

    A scale that is not positive would reverse the order of the rows. In that case the scale is 1, only the level is
    fitted, and a warning is logged.
    """
    whole = np.isfinite(raw)
    x, y = raw[whole].astype(np.float64), label[whole].astype(np.float64)
    spread = x.var() if len(x) else 0.0
    scale = float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread > 0 else 0.0
    if scale <= 0:
        log.warning(
            "the %s head does not rise with its label on the calibration part: its scale is left as it is", head
        )
        scale = 1.0
    level = float(y.mean() - scale * x.mean()) if len(x) else 0.0
    return {"scale": scale, "intercept": level}


def held_out_figures(predicted: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """Computes the rounded figures of ``router.json`` from predicted and true gains of rows that nothing was fitted on.

    Rows with a NaN prediction are left out; a figure that is not defined is None.
    """
    whole = np.isfinite(predicted)
    score, gain = predicted[whole], label[whole]
    error = score.astype(np.float64) - gain
    return {
        "rows": len(gain),
        "spearman": _rounded(spearman(score, gain)),
        f"hit_rate_{BUDGET}": _rounded(hit_rate(score, gain, BUDGET)),
        f"mean_delta_{BUDGET}": _rounded(mean_delta(score, gain, BUDGET)),
        "normalized_area": _rounded(normalized_area(score, gain)),
        "rmse": _rounded(float(np.sqrt(np.mean(error * error)))),
        "gain": {
            "mean": _rounded(float(gain.mean())),
            "sd": _rounded(float(gain.std())),
            "negative": _rounded(float(np.mean(gain < 0))),
        },
    }


def quality_figures(predicted: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """Computes rank correlation and error of a head other than gain; arguments as in :func:`held_out_figures`."""
    whole = np.isfinite(predicted)
    error = predicted[whole].astype(np.float64) - label[whole]
    return {
        "spearman": _rounded(spearman(predicted[whole], label[whole])),
        "rmse": _rounded(float(np.sqrt(np.mean(error * error)))),
    }


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
