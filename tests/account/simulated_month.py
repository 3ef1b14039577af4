"""A month of nightly jobs with scored rows: what an account wins, beside one exact allocation in hindsight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt

from routelmt_ray.account.offer import Offer
from routelmt_ray.account.price import grant
from routelmt_ray.account.rhythm import Night, expect

FIRST = date(2026, 9, 1)
WEEK = np.array([1.3, 1.1, 1.0, 1.0, 0.9, 0.4, 0.3])
"""Rows of a day beside those of a mean day, Monday first."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """The rows of one night."""

    day: date
    gains: Floats
    units: Floats
    base: float

    @cached_property
    def order(self) -> npt.NDArray[np.intp]:
        return np.argsort(-self.gains / self.units, kind="stable")

    @cached_property
    def offer(self) -> Offer:
        order = self.order
        return Offer.of_bins(len(order), self.base, self.gains[order], self.units[order])

    def won(self, extra: float) -> tuple[float, float]:
        """Gain and units of the exact selection."""
        order = self.order
        cost = np.cumsum(self.units[order])
        n = int(np.searchsorted(cost, extra, side="right"))
        return float(self.gains[order][:n].sum()), float(cost[n - 1]) if n else 0.0


def month(
    seed: int, *, mean_rows: int = 1500, drift: float = 0.4, long: int | None = None, missing: int | None = None,
    ties: bool = False, hours: bool = False, days: int = 30, first: date = FIRST,
) -> list[Rows]:  # fmt: skip
    """Draws the nights of a month.

    Predicted gains are normal with a heavier right tail and 30 % below zero, their mean moves over the month, and each night
    has text of its own.

    Args:
        seed: of the draw.
        mean_rows: rows of a mean night.
        drift: change of the mean gain from the first to the last night, beside their standard deviation; its sign is drawn.
        long: the night, from 0, that is ten times as long.
        missing: the night that has no job.
        ties: round gains, so that a fifth of the rows have the most frequent one.
        hours: rows cost seconds, by a log-normal distribution; else 1 each.
        days: nights.
        first: first day.
    """
    rng = np.random.default_rng(seed)
    towards = drift * rng.choice([-1, 1])
    nights = []
    for i in range(days):
        day = first + timedelta(i)
        n = max(1, int(mean_rows * WEEK[day.weekday()] * rng.lognormal(0, 0.2) * (10 if i == long else 1)))
        centre = 0.5 + towards * (i / max(1, days - 1) - 0.5) + rng.normal(0, 0.1)
        gains = 0.1 * (centre + rng.normal(0, 1, n) + (rng.random(n) < 0.1) * rng.exponential(1.5, n))
        if ties:
            gains = np.round(gains * 20) / 20
        units = rng.lognormal(0, 0.8, n) if hours else np.ones(n)
        if i != missing:
            nights.append(Rows(day, gains, units, 0.5 * n + 50 if hours else 0.0))
    return nights


Policy = Callable[[float, Rows, Sequence[Night]], float]


@dataclass(frozen=True)
class Month:
    """How a month went."""

    won: float
    spent: float
    refused: int
    """Nights whose job was refused, because what was left did not cover even its base."""


def play(nights: Sequence[Rows], allowance: float, policy: Policy, before: Sequence[Rows] = ()) -> Month:
    """Plays a month; its nights are known to the policy once they are over, those before from the start."""
    known = [Night(night.day, night.offer) for night in before]
    won, spent, refused = 0.0, 0.0, 0
    for night in nights:
        if night.base > allowance - spent:
            refused += 1
        else:
            gain, extra = night.won(policy(allowance - spent, night, known))
            won, spent = won + gain, spent + night.base + extra
        assert spent <= allowance * (1 + 1e-12)
        known.append(Night(night.day, night.offer))
    return Month(won, spent, refused)


def by_account(first: date, last: date, expected_rows: float | None = None) -> Policy:
    """The account's own rule."""

    def policy(left: float, night: Rows, known: Sequence[Night]) -> float:
        tonight = Night(night.day, night.offer)
        return grant(left, tonight.offer, expect(known, tonight, first, last, expected_rows)).extra

    return policy


def by_equal_shares(nights: Sequence[Rows], allowance: float) -> Policy:
    """Every night an equal share, its base included; a night whose base is larger gets its base alone."""
    share = allowance / len(nights)
    return lambda left, night, known: min(max(share, night.base), left) - night.base


def in_hindsight(nights: Sequence[Rows], allowance: float) -> float:
    """Gain of one exact allocation over all nights."""
    whole = Rows(
        nights[0].day, np.concatenate([n.gains for n in nights]), np.concatenate([n.units for n in nights]), 0.0
    )
    return whole.won(allowance - sum(night.base for night in nights))[0]


def played(
    nights: Sequence[Rows], part: float, expected: float | None = None, before: Sequence[Rows] = ()
) -> dict[str, float]:
    """Plays a month by the account and by equal shares; gains are shares of that of one allocation in hindsight.

    Args:
        nights: the month.
        part: share of all units beside the bases that the allowance covers.
        expected: `expected_rows` beside the true number of rows; None: not given.
        before: nights of earlier months.
    """
    allowance = sum(n.base for n in nights) + part * sum(float(n.units.sum()) for n in nights)
    rows = None if expected is None else expected * sum(len(n.gains) for n in nights)
    best = in_hindsight(nights, allowance)
    ours = play(nights, allowance, by_account(FIRST, FIRST + timedelta(29), rows), before)
    equal = play(nights, allowance, by_equal_shares(nights, allowance))
    return {
        "account": ours.won / best,
        "equal": equal.won / best,
        "spent": ours.spent / allowance,
        "refused": ours.refused,
    }
