"""A threshold of the predicted gain: routes row by row, for rows that cannot wait for the rest of their corpus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from routelmt_ray.budget.fraction import rows_for_fraction
from routelmt_ray.budget.keys import as_float32
from routelmt_ray.budget.selection import Arrays, select_top_k


@dataclass(frozen=True)
class Threshold:
    """The gain from which on a row is routed, as it was found on a scored corpus."""

    threshold: float
    """Rows whose predicted gain is at or above it are routed; an exact float32."""
    interval: tuple[float | None, float | None]
    """Bounds of the threshold for endless text of the same kind, with `confidence`; None: no bound."""
    confidence: float
    """Probability that the interval holds it, if the rows are drawn independently."""
    fraction: float
    """Share of the rows that was asked for."""
    share: float
    """Share of the scored rows that the threshold routes: larger than asked where many rows have this gain."""
    rows: int
    """Scored rows."""

    def to_dict(self) -> dict[str, Any]:
        """Converts the threshold to JSON-safe fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Threshold:
        """Builds the threshold that `to_dict` wrote; other fields are left out.

        Raises:
            KeyError: a field is missing.
            TypeError: a field has the wrong type.
            ValueError: the threshold is not a finite number.
        """
        values = {name: fields[name] for name in cls.__dataclass_fields__}
        if not math.isfinite(values["threshold"]):
            raise ValueError(f"threshold is {values['threshold']}; it must be a finite number")
        return cls(**values | {"interval": tuple(values["interval"])})


def find_threshold(gains: Arrays, n_eligible: int, fraction: float, confidence: float = 0.95) -> Threshold:
    """Finds the gain that a given share of the rows reaches.

    The interval is that of a quantile by order statistics, without assumptions on the distribution: the number of rows
    above the true quantile is binomial (e.g. Conover, Practical Nonparametric Statistics, 1999, section 3.2).

    Args:
        gains: predicted gains, as for :func:`select_top_k`.
        n_eligible: number of gains that are not NaN, at least 1.
        fraction: share of the rows to route, above 0 and at most 1.
        confidence: of the interval, between 0 and 1.

    Raises:
        ValueError: the share is less than one row, or there is no row.
    """
    k = rows_for_fraction(fraction, n_eligible)
    if k == 0:
        raise ValueError(f"fraction is {fraction}, less than one of {n_eligible} scored rows; ask for more")
    value = select_top_k(gains, k).threshold
    assert value is not None
    tail = (1 - confidence) / 2
    few, many = int(binom.ppf(tail, n_eligible, fraction)), int(binom.ppf(1 - tail, n_eligible, fraction)) + 1
    high = select_top_k(gains, few).threshold if few > 0 else None
    low = select_top_k(gains, many).threshold if many <= n_eligible else None
    routed = sum(int((as_float32(array) >= np.float32(value)).sum()) for array in _each(gains))
    return Threshold(value, (low, high), confidence, fraction, routed / n_eligible, n_eligible)


def _each(gains: Arrays) -> Any:
    return [gains] if isinstance(gains, np.ndarray) else gains() if callable(gains) else gains
