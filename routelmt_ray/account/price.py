"""One price for tonight and for the rest of the period: what tonight's job may take of an allowance.

In hindsight, the best allocation of a period is one price: the rows above it are routed, no matter on which night they come. To give the
units of such a row to a row below the price would lose gain. The future is not known, so every night computes the price again
from three things: what is left, tonight's rows, and the rows that are expected after the nights so far. Tonight is
granted what its rows above that price cost. Prices that are computed again from what is left are near the best for rows
that come in random order:

- Talluri and van Ryzin, An Analysis of Bid-Price Controls for Network Revenue Management, Management Science 44(11), 1998;
- Jasin and Kumar, A Re-Solving Heuristic with Bounded Revenue Loss for Network Revenue Management with Customer Choice,
  Mathematics of Operations Research 37(2), 2012;
- Agrawal, Wang and Ye, A Dynamic Near-Optimal Algorithm for Online Linear Programming, Operations Research 62(4), 2014.

What is different here: a night's rows are known all at once, so that only later nights are estimated; and the exact selection
within tonight's grant is that of every other budget.

A night that is much longer than the others may come without a sign before it. A unit that is kept is then worth more. So the
price is the mean of two: that without such a night and that with one, weighted by its chance.

Pure arithmetic: importing it imports neither Ray nor torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from routelmt_ray.account.offer import Offer

_SAME = 1e-6
"""Prices that differ by a smaller share are equal: sums of equal float32 values, added in another order."""


@dataclass(frozen=True)
class Grant:
    """The part of an allowance that a job may use."""

    units: float
    """Units in all: `base` of the job and what its routed rows cost. 0 where not even `base` is left."""
    extra: float
    """The part of `units` that is for routed rows."""
    price: float | None
    """Least gain per unit of the rows that are worth their cost, tonight and later; None where all rows are, or none
    is."""
    later: float
    """Units that are left for the rest of the period."""
    expected: float
    """Units that the rest of the period is expected to need at this price, base included."""


@dataclass(frozen=True)
class Expected:
    """The expected offer of the rest of a period."""

    rows: float
    """Rows still to come."""
    offers: Sequence[tuple[float, Offer]] = ()
    """Offers of earlier nights that the expected rows are similar to, with weights that add up to 1."""
    spare_rows: float = 0.0
    """Further rows that may come; only their base is kept."""
    long_rows: float = 0.0
    """Rows of a night that is much longer than the others, if one comes."""
    long_chance: float = 0.0
    """Chance that such a night comes."""

    @property
    def base_of_row(self) -> float:
        """Units that a row needs if it is not routed."""
        return sum(weight * offer.base / max(1, offer.rows) for weight, offer in self.offers)

    @property
    def base(self) -> float:
        """Units that all these rows need if none is routed."""
        return (self.rows + self.spare_rows) * self.base_of_row

    @property
    def dearest(self) -> float:
        """Most gain that a unit can win in the rows to come, their base included: no unit is worth more to them."""
        prices = np.concatenate([offer.prices for _, offer in self.offers])
        units = np.concatenate([weight / max(1, offer.rows) * offer.units for weight, offer in self.offers])
        order = np.argsort(-prices, kind="stable")
        gain, cost = np.cumsum((prices * units)[order]), np.cumsum(units[order])
        return float((gain / (self.base_of_row + cost)).max(initial=-np.inf))


def grant(left: float, tonight: Offer, rest: Expected) -> Grant:
    """Computes tonight's grant: the cost of tonight's rows above the one price that uses up what is left.

    The last job of a period, after which no row is expected, may take all that is left and that it can use.

    Args:
        left: units of the allowance that are neither spent nor reserved.
        tonight: what tonight's rows offer.
        rest: what is expected after tonight.
    """
    usual = _at_one_price(left, tonight, rest)
    if not rest.long_chance or left < tonight.base:
        return usual
    with_long = _at_one_price(left, tonight, replace(rest, rows=rest.rows + rest.long_rows))
    if with_long.price is None:  # there is enough for all rows even then
        return usual
    low = usual.price
    if low is None:
        low = float(min(offer.prices[-1] for offer in (tonight, *(o for _, o in rest.offers)) if len(offer.prices)))
    price = low + rest.long_chance * max(0.0, min(with_long.price, rest.dearest) - low)
    if price - low <= _SAME * abs(low):
        return usual
    extra = min(usual.extra, float(tonight.units[tonight.prices > price].sum()))
    above = sum(
        rest.rows * weight / max(1, o.rows) * float(o.units[o.prices > price].sum()) for weight, o in rest.offers
    )
    return Grant(tonight.base + extra, extra, price, left - tonight.base - extra, rest.base + above)


def _at_one_price(left: float, tonight: Offer, rest: Expected) -> Grant:
    """Computes tonight's grant where no longer night is expected."""
    if left < tonight.base:
        return Grant(0.0, 0.0, None, max(0.0, left), rest.base)
    scales = [rest.rows * weight / max(1, offer.rows) for weight, offer in rest.offers]
    offers = [(1.0, tonight), *zip(scales, (offer for _, offer in rest.offers))]
    prices = np.concatenate([offer.prices for _, offer in offers])
    units = np.concatenate([scale * offer.units for scale, offer in offers])
    ours = np.arange(len(prices)) < len(tonight.prices)
    room = max(0.0, left - tonight.base - rest.base)
    order = np.argsort(-prices, kind="stable")
    summed = np.cumsum(units[order])
    if not len(order) or summed[-1] <= room:
        return Grant(tonight.base + tonight.total, tonight.total, None, left - tonight.base - tonight.total, rest.base)
    price = float(prices[order[np.searchsorted(summed, room, side="right")]])
    above = prices > price + _SAME * abs(price)
    at = ~above & (prices >= price - _SAME * abs(price))
    share = float(np.clip((room - units[above].sum()) / units[at].sum(), 0, 1))  # of the rows at the price itself
    taken = above + share * at
    extra = min(room, float((units * taken)[ours].sum()))
    expected = rest.base + float((units * taken)[~ours].sum())
    return Grant(tonight.base + extra, extra, price, left - tonight.base - extra, expected)
