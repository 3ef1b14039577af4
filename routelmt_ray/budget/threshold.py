"""A threshold of the predicted gain: routes row by row, for rows that cannot wait for the rest of their corpus."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.cost import is_money, parts_of
from routelmt_ray.budget.cut import Cut
from routelmt_ray.budget.fraction import rows_for_fraction
from routelmt_ray.budget.histogram import Histogram
from routelmt_ray.budget.keys import as_float32
from routelmt_ray.budget.search import Search


@dataclass(frozen=True)
class Threshold:
    """The lowest gain of a routed row, as it was found on a scored corpus."""

    threshold: float
    """Rows whose predicted gain is at or above it are routed; an exact float32."""
    interval: tuple[float | None, float | None]
    """Bounds of the threshold for endless text of the same kind, with `confidence`; None: no bound."""
    confidence: float
    """Probability that the interval holds it, if the rows are drawn independently."""
    fraction: float | None
    """Share of the rows that was asked for; None where hours or money were."""
    share: float
    """Share of the scored rows that the threshold routes: larger than asked where many rows have this gain."""
    rows: int
    hours: float | None = None
    """Device-hours that were asked for, for as much text as was scored."""
    money: float | None = None
    """Money that was asked for, likewise."""

    def to_dict(self) -> dict[str, Any]:
        """Converts the threshold to JSON-safe fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Threshold":
        """Builds the threshold that `to_dict` wrote; other fields are left out. Raises ValueError if the threshold is
        not a finite number."""
        values = {n: fields[n] for n in cls.__dataclass_fields__ if n in fields or n not in ("hours", "money")}
        if not math.isfinite(values["threshold"]):
            raise ValueError(f"threshold is {values['threshold']}; it must be a finite number")
        return cls(**values | {"interval": tuple(values["interval"])})


Parts = Callable[[], Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]]]
"""Gives, each time it is called, values and weights of parts of the rows, in order."""


def find_threshold(
    gains: Callable[[], Iterable[npt.NDArray[np.float32]]], n_eligible: int, fraction: float, confidence: float = 0.95
) -> Threshold:
    """Finds the gain that a given share of the rows reaches.

    The interval is that of a quantile by order statistics, without assumptions on the distribution: the number of rows
    above the true quantile is binomial (e.g. Conover, Practical Nonparametric Statistics, 1999, section 3.2).

    Args:
        gains: gives, each time it is called, the predicted gains in parts; NaN marks a row without one.
        n_eligible: number of gains that are not NaN, at least 1.
        fraction: share of the rows to route, above 0 and at most 1.

    Raises:
        ValueError: the share is less than one row, or there is no row.
    """
    from scipy.stats import binom  # here, because every job would wait a second for it

    k = rows_for_fraction(fraction, n_eligible)
    if k == 0:
        raise ValueError(f"fraction is {fraction}, less than one of {n_eligible} scored rows; ask for more")

    def reached_by(rows: int) -> float | None:
        return _cut(Search(k=rows), lambda: ((part, None) for part in gains())).threshold

    value = reached_by(k)
    assert value is not None
    tail = (1 - confidence) / 2
    few, many = int(binom.ppf(tail, n_eligible, fraction)), int(binom.ppf(1 - tail, n_eligible, fraction)) + 1
    high = reached_by(few) if few > 0 else None
    low = reached_by(many) if many <= n_eligible else None
    routed = sum(int((as_float32(part) >= np.float32(value)).sum()) for part in gains())
    return Threshold(value, (low, high), confidence, fraction, routed / n_eligible, n_eligible)


Costed = Callable[[], Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.float64]]]]
"""Gives, each time it is called, parts of the rows: predicted gain (NaN: none), cost of the small and of the large model."""


def find_threshold_for_cost(
    rows: Costed, budget: float, fixed: float, unit: str, confidence: float = 0.95
) -> Threshold:
    """Finds the lowest gain such that all rows with this gain or more can be routed within a budget in device-hours or
    money.

    Rows of equal gain are routed together, so that up to their cost may be left. The interval is that of Woodruff (Journal of
    the American Statistical Association 47, 1952): the thresholds of budgets that are smaller and larger by the error of
    the total, normal with the variance between rows. Errors of the costs are not in it.

    Args:
        budget: the budget, device-hours or money.
        fixed: costs that do not depend on the threshold, beside the small model on each row.
        unit: unit of all costs: device-seconds, or a currency.

    Raises:
        ValueError: the budget is too small for the small model on every row and the first routed row.
    """
    key, per, shown = ("money", 1.0, unit) if is_money(unit) else ("hours", 3600.0, "hours")
    all_small = sum(float(small.sum()) for _, small, _ in rows())
    n = sum(len(gains) for gains, _, _ in rows())
    scored = sum(int((~np.isnan(gains)).sum()) for gains, _, _ in rows())
    room, parts = per * budget - fixed - all_small, parts_of(unit)
    value = _lowest(rows, room, parts)
    if value is None:
        raise ValueError(
            f"{key} is {budget:g}, and the small model takes {(fixed + all_small) / per:.4g} {shown} for all rows; the "
            f"{max(0.0, room) / per:.4g} {shown} left are less than the large model takes for one row; ask for more"
        )
    routed, squares, spent = 0, 0.0, 0.0
    for gains, small, large in rows():
        above = gains >= np.float32(value)
        costs = np.where(above, np.maximum(large, small), small)
        routed, squares, spent = (
            routed + int(above.sum()),
            squares + float((costs**2).sum()),
            spent + float(costs.sum()),
        )
    error = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(max(0.0, squares - spent**2 / n))
    high = _lowest(rows, room - error, parts)
    low = _lowest(rows, room + error, parts) if routed < scored else None
    return Threshold(value, (low, high), confidence, None, routed / scored, scored, **{key: budget})


def _lowest(rows: Costed, room: float, parts: int) -> float | None:
    """The lowest gain such that all rows with this gain or more fit into an amount; None where not even the first row
    does."""
    cut = _cut(
        Search(capacity=max(0, math.floor(parts * room))),
        lambda: (
            (gains, np.maximum(np.rint(parts * (large - small)), 1).astype(np.int64)) for gains, small, large in rows()
        ),
    )
    if cut.threshold is None or cut.tie is None:
        return cut.threshold
    above = [gains[gains > np.float32(cut.threshold)] for gains, _, _ in rows()]
    return min((float(part.min()) for part in above if len(part)), default=None)


def _cut(state: Search | Cut, parts: Parts) -> Cut:
    """Makes the passes of a search."""
    while isinstance(state, Search):
        total, place = Histogram(), 0
        for values, weights in parts():
            total += state.histogram(values, place, weights)
            place += len(values)
        state = state.advance(total)
    return state
