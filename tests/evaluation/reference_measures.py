"""Measures by their definitions, to test the library with, which computes them from weights of rows or without a cost.

The curve measures count the budget in calls, or in `cost` where it is given. The cost of a row is the extra cost of the
large model over the small one, in any unit. Rows are then routed by score / predicted cost, so the score must be
calibrated to gain. The oracle routes by gain / cost, and the axis is the share of the total cost. All else is as in
:mod:`routelmt_ray.metrics.measures`. PGR, APGR and CPT follow RouteLLM (arXiv 2406.18665).
"""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget import rows_for_fraction
from routelmt_ray.metrics import measures
from routelmt_ray.metrics.measures import hit_rate, mean_delta, rows_to_route, spearman
from routelmt_ray.metrics.ties import Array, expected_sums, in_top
from tests.evaluation.clean_rows import Rows, drop_nan

__all__ = ["hit_rate", "mean_delta", "spearman"]  # of the library

logger = logging.getLogger(__name__)


class Curve(NamedTuple):
    """Expected gain in quality when the first 0, 1, ..., n rows are routed."""

    share: Array
    """Share of the budget of all-large, in calls or cost, shape (n + 1,), from 0 to 1."""
    quality: Array
    """Mean quality minus that of all-small, in units of gain, shape (n + 1,), from 0 to the mean gain."""


def severe_loss(score: npt.ArrayLike, gain: npt.ArrayLike, p: float, tau: float) -> float:
    """Computes the share of routed rows that the large model made worse by more than tau: gain < -tau, in [0, 1].

    Args:
        score: Shape (rows,).
        gain: Shape (rows,).
        p: Share of the rows to route, in (0, 1].
        tau: Tolerated loss, >= 0, in units of gain. Show it beside the number.

    Raises:
        ValueError: p or tau is out of bounds, K is 0, or the arrays are not as `drop_nan` wants them.
    """
    if not (np.isfinite(tau) and tau >= 0):
        raise ValueError(f"tau is {tau}; it must be finite and >= 0")
    rows = _clean(score, gain)
    k = rows_to_route(p, len(rows.gain))
    return float(np.sum(in_top(rows.score, k) * (rows.gain < -tau)) / k)


def pgr(score: npt.ArrayLike, gain: npt.ArrayLike, p: float) -> float:
    """Computes the performance gap recovered: (q_router - q_small) / (q_large - q_small) = Σ_{i∈S} gain_i / Σ gain_i.

    0 is all-small, 1 is all-large. Above 1, the router leaves out rows on which the large model is worse.

    Args:
        score: Shape (rows,).
        gain: Shape (rows,).
        p: Share of the rows to route, in (0, 1]. K = 0 gives 0.

    Returns:
        The share of the gap, or NaN where the large model is not better on average (mean gain <= 0).

    Raises:
        ValueError: p is out of bounds, or the arrays are not as `drop_nan` wants them.
    """
    rows = _clean(score, gain)
    top = in_top(rows.score, _budget(p, len(rows.gain)))
    gap = _gap(rows)
    return math.fsum(top * rows.gain) / gap if gap > 0 else np.nan


def quality_curve(
    score: npt.ArrayLike,
    gain: npt.ArrayLike,
    cost: npt.ArrayLike | None = None,
    *,
    predicted_cost: npt.ArrayLike | None = None,
) -> Curve:
    """Computes quality against budget share at whole calls, c = 0, 1, ..., n, with the average over ties.

    In calls, share_c = c / n. In cost, share_c is the (expected) cost of the first c rows by score /
    predicted_cost over the cost of all. quality_c = (1 / n) * their (expected) gain: mean quality minus
    that of all-small.

    Args:
        score: Shape (rows,); calibrated to gain where `cost` is given.
        gain: Shape (rows,).
        cost: True extra cost of routing a row, shape (rows,), > 0, any unit. None counts calls.
        predicted_cost: The router divides its score by it, shape (rows,), > 0. None uses `cost`. With all ones,
            only the score gives the order.

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
    """Computes the average PGR: ∫ PGR(c) dc over the budget share c in [0, 1], by trapezoids at whole calls.

    Args:
        score, gain, cost, predicted_cost: As in `quality_curve`.

    Returns:
        The average, .5 for random; NaN where the mean gain is <= 0.

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
    """Computes the call-performance threshold: the least budget share with PGR >= x, at whole calls, not interpolated.

    A curve may rise and fall: the first crossing counts. With ties it is that of the expected curve.

    Args:
        score, gain, cost, predicted_cost: As in `quality_curve`.
        x: Share of the gap to recover, finite. A share of 0 or less needs no call. A relative error of 1e-12 is
            tolerated, so that rounding of the sums does not cost a call.

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
    """Computes (A(router) - A(random)) / (A(oracle) - A(random)), where A is the area under `quality_curve`.

    The oracle routes by gain, or by gain / cost, and no order is better on that axis. Random is a random order of
    the rows; its expected area is that under the straight line on either axis. So the oracle has 1, random 0, and
    a router that is worse than random less than 0.

    Args:
        score, gain, cost, predicted_cost: As in `quality_curve`.

    Returns:
        A number of at most 1; NaN where the oracle is not better than random.

    Raises:
        ValueError: The arrays are not as `drop_nan` wants them.
    """
    if cost is None and predicted_cost is None:
        return measures.normalized_area(score, gain)
    rows = _clean(score, gain, cost, predicted_cost)
    random = _area(_curve(rows._replace(score=np.zeros_like(rows.gain))))
    oracle = _area(_curve(rows._replace(score=rows.gain, predicted_cost=rows.cost)))
    # Rounding of equal ratios leaves a tiny difference between the two areas, which must not be a divisor.
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


def _gap(rows: Rows) -> float:
    """Sum of the gains, rounded once: its sign decides the result and must not depend on the order of the rows."""
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
