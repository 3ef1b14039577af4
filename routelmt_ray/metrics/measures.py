"""How well a score decides which rows the large model should take.

Every function takes `score` (the router's number for a row, greater = route first) and `gain` (the true gain,
quality of the large model's output minus that of the small one's, on the 0-1 scale), both of shape (rows,).
Rows with NaN in either are dropped, counted and logged; what is left is n rows. K = floor(p * n) in decimal
arithmetic, S the top K by score, T the top K by gain.

Ties are taken in expectation over their order, in the score and, independently of it, in the gain. A row of a
tie of m rows that shares r places is in S (or T) with probability r / m; the expected curve through a tie is
a straight line. So every number is exact and repeatable, and a constant score is the random router: its
HitRate@p is K / n, its normalised area 0.

The curve measures count the budget in calls, or in `cost` where it is given: what the large model would cost
more than the small one for each row, in any unit. Rows are then routed by score / predicted cost, which asks
for a score calibrated to gain, the oracle routes by gain / cost, and the axis is the share of the whole cost.

HitRate, MeanDelta and severe loss follow RouteLMT (arXiv 2604.22520); PGR, APGR and CPT follow RouteLLM
(arXiv 2406.18665).
"""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget import rows_for_fraction
from routelmt_ray.metrics.rows import Array, Rows, drop_nan
from routelmt_ray.metrics.ties import average_ranks, expected_sums, in_top

logger = logging.getLogger(__name__)


class Curve(NamedTuple):
    """Expected quality won by routing the first 0, 1, ..., n rows."""

    share: Array
    """Share of the budget that all-large would need, in calls or cost, shape (n + 1,), from 0 to 1."""
    quality: Array
    """Mean quality over that of all-small, in units of gain, shape (n + 1,), from 0 to the mean gain."""


def hit_rate(score: npt.ArrayLike, gain: npt.ArrayLike, p: float) -> float:
    """HitRate@p = |S ∩ T| / K: the share of the routed that the gain oracle would have routed, in [0, 1].

    Where rows tie at the oracle's K-th gain even the gain itself as a score stays below 1: two draws from a
    tie differ.

    Args:
        score: Shape (rows,).
        gain: Shape (rows,).
        p: Share of the rows to route, in (0, 1].

    Raises:
        ValueError: p is out of bounds, K is 0, or the arrays are not as `drop_nan` wants them.
    """
    rows = _clean(score, gain)
    k = _at_least_one(p, len(rows.gain))
    return float(np.sum(in_top(rows.score, k) * in_top(rows.gain, k)) / k)


def mean_delta(score: npt.ArrayLike, gain: npt.ArrayLike, p: float) -> float:
    """MeanDelta@p = (100 / K) Σ_{i∈S} gain_i: mean gain of the routed, in hundredths of the quality scale.

    Args:
        score: Shape (rows,).
        gain: Shape (rows,).
        p: Share of the rows to route, in (0, 1].

    Raises:
        ValueError: p is out of bounds, K is 0, or the arrays are not as `drop_nan` wants them.
    """
    rows = _clean(score, gain)
    k = _at_least_one(p, len(rows.gain))
    return float(100 * np.sum(in_top(rows.score, k) * rows.gain) / k)


def severe_loss(score: npt.ArrayLike, gain: npt.ArrayLike, p: float, tau: float) -> float:
    """Share of the routed rows that the large model made worse by more than tau, gain < -tau, in [0, 1].

    Args:
        score: Shape (rows,).
        gain: Shape (rows,).
        p: Share of the rows to route, in (0, 1].
        tau: Loss that is still tolerated, >= 0, in units of gain; to be shown beside the number.

    Raises:
        ValueError: p or tau is out of bounds, K is 0, or the arrays are not as `drop_nan` wants them.
    """
    if not (np.isfinite(tau) and tau >= 0):
        raise ValueError(f"tau is {tau}; it must be finite and >= 0")
    rows = _clean(score, gain)
    k = _at_least_one(p, len(rows.gain))
    return float(np.sum(in_top(rows.score, k) * (rows.gain < -tau)) / k)


def pgr(score: npt.ArrayLike, gain: npt.ArrayLike, p: float) -> float:
    """Performance gap recovered: (q_router - q_small) / (q_large - q_small) = Σ_{i∈S} gain_i / Σ gain_i.

    0 is all-small, 1 all-large; above 1 the router leaves out rows on which the large model loses.

    Args:
        score: Shape (rows,).
        gain: Shape (rows,).
        p: Share of the rows to route, in (0, 1]. K = 0 gives 0.

    Returns:
        The share of the gap, or NaN where the large model is on the whole no better (mean gain <= 0).

    Raises:
        ValueError: p is out of bounds, or the arrays are not as `drop_nan` wants them.
    """
    rows = _clean(score, gain)
    top = in_top(rows.score, _budget(p, len(rows.gain)))
    gap = _gap(rows)
    return math.fsum(top * rows.gain) / gap if gap > 0 else np.nan


def spearman(score: npt.ArrayLike, gain: npt.ArrayLike) -> float:
    """Rank correlation of score and gain: Pearson's of their ranks, tied rows sharing the average rank.

    Args:
        score: Shape (rows,).
        gain: Shape (rows,).

    Returns:
        In [-1, 1], or NaN where either is constant.

    Raises:
        ValueError: The arrays are not as `drop_nan` wants them.
    """
    rows = _clean(score, gain)
    x, y = (average_ranks(values) - (len(values) + 1) / 2 for values in (rows.score, rows.gain))
    spread = np.sqrt(np.sum(x * x) * np.sum(y * y))
    return float(np.clip(np.sum(x * y) / spread, -1, 1)) if spread > 0 else np.nan


def quality_curve(
    score: npt.ArrayLike,
    gain: npt.ArrayLike,
    cost: npt.ArrayLike | None = None,
    *,
    predicted_cost: npt.ArrayLike | None = None,
) -> Curve:
    """Quality against budget share at whole calls, c = 0, 1, ..., n, ties in expectation.

    In calls, share_c = c / n. In cost, share_c is the (expected) cost of the first c rows by score /
    predicted_cost over the cost of all. quality_c = (1 / n) * their (expected) gain: mean quality over that
    of all-small.

    Args:
        score: Shape (rows,); calibrated to gain where `cost` is given.
        gain: Shape (rows,).
        cost: True extra cost of routing a row, shape (rows,), > 0, any unit. None counts calls.
        predicted_cost: What the router divides its score by, shape (rows,), > 0. None takes `cost`; ones
            leave the order to the score alone.

    Raises:
        ValueError: The arrays are not as `drop_nan` wants them.
    """
    return _curve(_clean(score, gain, cost, predicted_cost))


def apgr(
    score: npt.ArrayLike,
    gain: npt.ArrayLike,
    cost: npt.ArrayLike | None = None,
    *,
    predicted_cost: npt.ArrayLike | None = None,
) -> float:
    """Average PGR: ∫ PGR(c) dc over the budget share c in [0, 1], by trapezoids at whole calls.

    Args:
        score, gain, cost, predicted_cost: As in `quality_curve`.

    Returns:
        .5 for random, or NaN where the mean gain is <= 0.

    Raises:
        ValueError: The arrays are not as `drop_nan` wants them.
    """
    rows = _clean(score, gain, cost, predicted_cost)
    gap = _gap(rows)
    return _area(_curve(rows)) * len(rows.gain) / gap if gap > 0 else np.nan


def cpt(
    score: npt.ArrayLike,
    gain: npt.ArrayLike,
    x: float,
    cost: npt.ArrayLike | None = None,
    *,
    predicted_cost: npt.ArrayLike | None = None,
) -> float:
    """Call-performance threshold: the least budget share with PGR >= x, at whole calls, not interpolated.

    A curve need not be monotone: the first crossing counts. With ties it is that of the expected curve.

    Args:
        score, gain, cost, predicted_cost: As in `quality_curve`.
        x: Share of the gap to recover, finite. At most 0 is recovered without a call. A relative 1e-12 of it
            is forgiven, so that rounding of the sums does not cost a call.

    Returns:
        Share of the calls (of the cost, where given), in [0, 1]; NaN if x is never reached or the mean gain
        is <= 0.

    Raises:
        ValueError: x is not finite, or the arrays are not as `drop_nan` wants them.
    """
    if not np.isfinite(x):
        raise ValueError(f"x is {x}; it must be finite")
    rows = _clean(score, gain, cost, predicted_cost)
    curve, gap = _curve(rows), _gap(rows)
    if gap <= 0:
        return np.nan
    reached = curve.quality * (len(rows.gain) / gap) >= x - 1e-12 * abs(x)
    return float(curve.share[reached.argmax()]) if reached.any() else np.nan


def normalized_area(
    score: npt.ArrayLike,
    gain: npt.ArrayLike,
    cost: npt.ArrayLike | None = None,
    *,
    predicted_cost: npt.ArrayLike | None = None,
) -> float:
    """(A(router) - A(random)) / (A(oracle) - A(random)), A being the area under `quality_curve`.

    The oracle routes by gain, or by gain / cost, which no order beats on that axis; random is a random order
    of the rows, whose expected area is that under the straight line on either axis. So the oracle has 1,
    random 0, and a router worse than random less than 0.

    Args:
        score, gain, cost, predicted_cost: As in `quality_curve`.

    Returns:
        At most 1; NaN where the oracle is no better than random.

    Raises:
        ValueError: The arrays are not as `drop_nan` wants them.
    """
    rows = _clean(score, gain, cost, predicted_cost)
    random = _area(_curve(rows._replace(score=np.zeros_like(rows.gain))))
    oracle = _area(_curve(rows._replace(score=rows.gain, predicted_cost=rows.cost)))
    # Rounding of equal ratios leaves dust between the two areas, which must not be divided by.
    if oracle - random <= 1e-12 * np.mean(np.abs(rows.gain)):
        return np.nan
    return (_area(_curve(rows)) - random) / (oracle - random)


def _clean(
    score: npt.ArrayLike,
    gain: npt.ArrayLike,
    cost: npt.ArrayLike | None = None,
    predicted_cost: npt.ArrayLike | None = None,
) -> Rows:
    rows = drop_nan(score, gain, cost, predicted_cost)
    if rows.dropped:
        logger.warning("%d of %d rows dropped for a NaN", rows.dropped, rows.dropped + len(rows.gain))
    return rows


def _budget(p: float, n: int) -> int:
    """K = floor(p * n) for p in (0, 1]."""
    if not 0 < p <= 1:
        raise ValueError(f"p is {p}; it must be in (0, 1]")
    return rows_for_fraction(p, n)


def _at_least_one(p: float, n: int) -> int:
    k = _budget(p, n)
    if k == 0:
        raise ValueError(f"p is {p}, which of {n} rows routes none; it must be at least 1 / {n}")
    return k


def _gap(rows: Rows) -> float:
    """Sum of the gains, rounded once: its sign, on which all hangs, must not depend on the order of the rows."""
    return math.fsum(rows.gain)


def _curve(rows: Rows) -> Curve:
    n = len(rows.gain)
    if rows.cost is None:
        (won,) = expected_sums(rows.score, rows.gain)
        return Curve(np.arange(n + 1) / n, won / n)
    divisor = rows.cost if rows.predicted_cost is None else rows.predicted_cost
    won, spent = expected_sums(rows.score / divisor, rows.gain, rows.cost)
    return Curve(spent / spent[-1], won / n)


def _area(curve: Curve) -> float:
    """Area by trapezoids."""
    return float(np.sum((curve.quality[1:] + curve.quality[:-1]) * np.diff(curve.share)) / 2)
