"""Measures how well a score selects the rows for the large model.

Every function has two arguments of shape (rows,). `score` is the output of the router for a row; greater rows
are routed first. `gain` is the true gain on the 0-1 scale: quality of the large translation minus that of the
small one. Rows with NaN in either are dropped, counted and logged; n rows remain. K = floor(p * n) in decimal
arithmetic, S is the top K by score, T the top K by gain.

Tied rows count by the average over all their orders, in the score and, independently, in the gain. If m tied
rows share r places, each is in S (or T) with probability r / m, and the expected curve through the tie is a
straight line. So every number is exact and repeatable. A constant score is the random router: its HitRate@p is
K / n, its normalised area 0.

Every function raises ValueError where the lengths differ, an array is not one-dimensional, a value is infinite, no
row is left, p is not in (0, 1], or K is 0. :mod:`routelmt_ray.evaluation.bootstrap` computes these and more measures,
with intervals. HitRate and MeanDelta follow RouteLMT (arXiv 2604.22520).
"""

import logging

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget import rows_for_fraction
from routelmt_ray.metrics.ties import Array, average_ranks, expected_sums, in_top

logger = logging.getLogger(__name__)


def hit_rate(score: npt.ArrayLike, gain: npt.ArrayLike, p: float) -> float:
    """Computes the share of routed rows that the gain oracle would route: HitRate@p = |S ∩ T| / K, in [0, 1].

    If rows tie at the K-th gain of the oracle, the rate is below 1 even for the gain itself as the score, as two
    draws from a tie differ.
    """
    scores, gains = _whole(score, gain)
    k = rows_to_route(p, len(gains))
    return float(np.sum(in_top(scores, k) * in_top(gains, k)) / k)


def mean_delta(score: npt.ArrayLike, gain: npt.ArrayLike, p: float) -> float:
    """Computes the mean gain of the routed rows, in hundredths of the scale: MeanDelta@p = (100 / K) Σ_{i∈S} gain_i."""
    scores, gains = _whole(score, gain)
    k = rows_to_route(p, len(gains))
    return float(100 * np.sum(in_top(scores, k) * gains) / k)


def spearman(score: npt.ArrayLike, gain: npt.ArrayLike) -> float:
    """Computes the correlation of Pearson on ranks, with average ranks for tied rows; NaN where either is constant."""
    x, y = (average_ranks(values) - (len(values) + 1) / 2 for values in _whole(score, gain))
    spread = np.sqrt(np.sum(x * x) * np.sum(y * y))
    return float(np.clip(np.sum(x * y) / spread, -1, 1)) if spread > 0 else np.nan


def normalized_area(score: npt.ArrayLike, gain: npt.ArrayLike) -> float:
    """Computes (A(router) - A(random)) / (A(oracle) - A(random)), where A is the area under quality against budget.

    The budget is the share of rows that are routed, the quality the mean gain that they win. The oracle routes by
    gain, and no order is better. Random is a random order of the rows. So the oracle has 1, random 0, and a router
    that is worse than random less than 0.

    Returns:
        A number of at most 1; NaN where the oracle is not better than random.
    """
    scores, gains = _whole(score, gain)
    router, random, oracle = (_area(order, gains) for order in (scores, 0 * gains, gains))
    # Rounding of equal gains leaves a tiny difference between the two areas, which must not be a divisor.
    if oracle - random <= 1e-12 * np.mean(np.abs(gains)):
        return np.nan
    return (router - random) / (oracle - random)


def rows_to_route(p: float, n: int) -> int:
    """Computes K = floor(p * n); raises ValueError where p is not in (0, 1], or K is 0."""
    if not 0 < p <= 1:
        raise ValueError(f"p is {p}; it must be in (0, 1]")
    k = rows_for_fraction(p, n)
    if k == 0:
        raise ValueError(f"p is {p}, which routes none of {n} rows; it must be at least 1 / {n}")
    return k


def _area(order: Array, gain: Array) -> float:
    """Computes the area by trapezoids at whole rows, with the average over ties; only its ratio to another one counts."""
    (won,) = expected_sums(order, gain)
    return float((won[1:] + won[:-1]).sum())


def _whole(score: npt.ArrayLike, gain: npt.ArrayLike) -> tuple[Array, Array]:
    arrays = {"score": np.asarray(score, np.float64), "gain": np.asarray(gain, np.float64)}
    for name, array in arrays.items():
        if array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}; it must be one-dimensional, (rows,)")
        if len(array) != len(arrays["score"]):
            raise ValueError(f"{name} has {len(array)} rows; it must have as many as score, {len(arrays['score'])}")
        if np.isinf(array).any():
            row = int(np.isinf(array).argmax())
            raise ValueError(f"{name} is {array[row]} at row {row}; it must be finite, or NaN to be dropped")
    kept = ~(np.isnan(arrays["score"]) | np.isnan(arrays["gain"]))
    if not kept.any():
        raise ValueError(f"score and gain have {len(kept)} rows, none of them without NaN; at least 1 is needed")
    if not kept.all():
        logger.warning("%d of %d rows dropped for a NaN", np.count_nonzero(~kept), len(kept))
    return arrays["score"][kept], arrays["gain"][kept]
