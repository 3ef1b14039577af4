"""The offer of the scored rows of a job: gain by price, in a few hundred numbers.

The price of a row is its predicted gain per unit that it costs: per row for an allowance in rows, per device-second that
the large model takes more than the small one for an allowance in hours, and likewise in money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_STEPS = 256
"""Steps of an offer. A step holds at most this part of its units, unless more rows have the same price."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Offer:
    """The rows that a job may route, in steps of falling price."""

    rows: int
    """Rows that have a score, routed or not."""
    base: float
    """Units that the job needs if it routes no row: 0 for an allowance in rows."""
    prices: Numbers
    """Mean price of each step, falling, shape ``(steps,)``."""
    units: Numbers
    """Units that the rows of each step cost, above 0, shape ``(steps,)``."""

    @classmethod
    def of_bins(cls, rows: int, base: float, gains: npt.ArrayLike, units: npt.ArrayLike) -> Offer:
        """Builds an offer from sums over bins of rows, the best bin first.

        Args:
            rows: rows that have a score.
            base: units that the job needs if it routes no row.
            gains: sum of the predicted gain of each bin, shape ``(bins,)``.
            units: units that the rows of each bin cost, shape ``(bins,)``; bins with 0 are left out.
        """
        gain, cost = (np.asarray(column, dtype=np.float64) for column in (gains, units))
        gain, cost = gain[cost > 0], cost[cost > 0]
        if not len(cost):
            return cls(rows, base, np.zeros(0), np.zeros(0))
        middle = np.cumsum(cost) - cost / 2
        starts = np.flatnonzero(np.diff(np.floor(middle * (_STEPS / cost.sum())), prepend=-1.0))
        step_gain, step_cost = np.add.reduceat(gain, starts), np.add.reduceat(cost, starts)
        return cls(rows, base, step_gain / step_cost, step_cost)

    @property
    def total(self) -> float:
        """Units that all rows cost which may be routed."""
        return float(self.units.sum())

    def to_dict(self) -> dict[str, Any]:
        """Converts the offer to JSON-safe fields."""
        return {
            "rows": self.rows, "base": self.base, "prices": self.prices.tolist(), "units": self.units.tolist()
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Offer:
        """Builds the offer that `to_dict` wrote."""
        return cls(
            int(fields["rows"]), float(fields["base"]), np.asarray(fields["prices"], dtype=np.float64),
            np.asarray(fields["units"], dtype=np.float64),
        )  # fmt: skip
