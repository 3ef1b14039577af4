"""Audit: the true gains of rows drawn at random, compared with the gains that the router predicted.

Means have Student t intervals: mean ± t(0.975, n − 1) · s / √n, where s is the standard deviation over n − 1. They hold
for the corpus that the rows were drawn from. Spearman's coefficient has a percentile interval over seeded resamples of
the rows. All intervals are 95 %. A decile has few rows, so its interval is wide.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt_ray.evaluation.bootstrap import BLOCK, interval, rank_correlations
from routelmt_ray.metrics.measures import spearman
from routelmt_ray.metrics.ties import Array, average_ranks

_BINS = 10
_RESAMPLES = 1000
"""Resamples of the rows for Spearman's interval; they take 0.04 s for 500 rows, 0.5 s for 10,000."""


def audit(
    predicted: npt.ArrayLike,
    realised: npt.ArrayLike,
    routed: npt.ArrayLike,
    *,
    metric: str,
    tau: float = 0.05,
    seed: int = 0,
) -> dict[str, Any]:
    """Computes the ``audit`` part of report.json: realised gains by group and decile, and the rank correlation.

    All arrays have the shape ``(rows,)``: the router's scores, the measured gains on the 0–1 scale, and whether the plan
    routed a row. Rows with NaN are left out. A loss beyond `tau`, in units of gain, is severe. Undefined values are None.
    Raises ValueError where the arrays differ in length, or tau is negative.
    """
    score, gain = np.asarray(predicted, np.float64), np.asarray(realised, np.float64)
    chosen = np.asarray(routed, bool)
    if not score.shape == gain.shape == chosen.shape or score.ndim != 1:
        raise ValueError(
            f"predicted, realised and routed have the shapes {score.shape}, {gain.shape} and {chosen.shape}; they must be "
            "one (rows,)"
        )
    if not (math.isfinite(tau) and tau >= 0):
        raise ValueError(f"tau is {tau}; it must be finite and >= 0")
    kept = ~np.isnan(score) & ~np.isnan(gain)
    rows = len(kept)
    score, gain, chosen = score[kept], gain[kept], chosen[kept]
    severe = gain < -tau
    return {
        "metric": metric,
        "rows": rows,
        "measured": len(gain),
        "deciles": _deciles(score, gain),
        "spearman": _rank_correlation(score, gain, seed),
        "mean_gain": mean_interval(gain),
        "routed": _group(gain[chosen]),
        "not_routed": _group(gain[~chosen]),
        "severe_loss": {"tau": tau, "routed": _share(severe[chosen]), "all": _share(severe)},
    }


def mean_interval(values: Array) -> dict[str, float | None]:
    """Computes a mean and its interval as ``value``, ``ci_low`` and ``ci_high``.

    The interval is None below two values, and the mean is None without any value.
    """
    if not len(values):
        return {"value": None, "ci_low": None, "ci_high": None}
    mean = float(values.mean())
    if len(values) < 2:
        return {"value": mean, "ci_low": None, "ci_high": None}
    from scipy.special import stdtrit  # here, because every job would wait a fifth of a second for it

    half = float(stdtrit(len(values) - 1, 0.975)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return {"value": mean, "ci_low": mean - half, "ci_high": mean + half}


def _deciles(score: Array, gain: Array) -> list[dict[str, Any]]:
    """Cuts rows into ten equal bins by predicted gain; equal predictions share a bin, so there may be fewer."""
    bins = np.floor(_BINS * (average_ranks(score) - 0.5) / max(len(score), 1)) if len(score) else score
    deciles = []
    for number in np.unique(bins):
        inside = bins == number
        mean = mean_interval(gain[inside])
        deciles.append(
            {
                "low": float(score[inside].min()),
                "high": float(score[inside].max()),
                "rows": int(inside.sum()),
                "predicted": float(score[inside].mean()),
                "realised": mean["value"],
                "ci_low": mean["ci_low"],
                "ci_high": mean["ci_high"],
            }
        )
    return deciles


def _rank_correlation(score: Array, gain: Array, seed: int) -> dict[str, float | None]:
    n = len(gain)
    if n < 2:
        return {"value": None, "ci_low": None, "ci_high": None}
    rng, block = np.random.default_rng(seed), max(1, BLOCK // n)
    found: list[Array] = []
    for start in range(0, _RESAMPLES, block):
        draws = range(start, min(start + block, _RESAMPLES))
        weights = np.array([np.bincount(rng.integers(0, n, n), minlength=n) for _ in draws], np.float64)
        found.append(rank_correlations(score, gain, weights))
    low, high = interval(np.clip(np.concatenate(found), -1, 1))
    return {"value": _number(spearman(score, gain)), "ci_low": _number(low), "ci_high": _number(high)}


def _group(gain: Array) -> dict[str, Any] | None:
    return {"rows": len(gain), **mean_interval(gain)} if len(gain) else None


def _share(flags: npt.NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
