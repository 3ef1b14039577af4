"""Predicts the rest of a period from the nights so far: rows by day of the week, and their gain.

Pure arithmetic: importing it imports neither Ray nor torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from routelmt_ray.account.offer import Offer
from routelmt_ray.account.price import Expected

LOOKED_BACK = 56
"""Days before today that say what later days bring."""
_HALF_LIFE = 5.0
"""Days after which the gain of a night has half the weight in the forecast, because text changes."""
_UNUSUAL = 3.0
"""A day with more than this many times the rows of a usual day counts only as this many usual days, because it may not
come again."""
_PRIOR_DAYS = 1.0
"""Number of average days that are mixed into the estimate for a day of the week."""
_LONG = 10.0
"""Length of a night that is much longer than the others, in usual days."""
_LONG_DAYS, _LONG_DAYS_WITH_BASE = 40.0, 20.0
"""One day in this number brings such a night, until one has come in the period. With `expected_rows` none is assumed. The second is
for jobs that need something even if they route no row: there such a night takes more, and to keep a part for it costs less."""
_NEVER_DAYS = 2
"""A day of the week is free if it was free at least this many times, and always."""
_EXPECTED_ROWS_ERROR = 0.07
"""Share by which `expected_rows` may be wrong."""
_DAY_ERROR = 1.0
"""Share by which the rows of one day may differ from those of a usual one, long nights included."""
_SPARE = 0.25
"""Share of a usual day, for one day, by which more rows get their base kept: a night whose base is not left is refused."""


@dataclass(frozen=True)
class Night:
    """A job that took part in an account."""

    day: date
    """Day on which it drew, UTC."""
    offer: Offer
    """The offer of its rows."""
    alike: bool = True
    """False where its gain or cost was measured in another way: then only its rows count."""
    profile: float = 0.0
    """Units that it took to measure what rows cost."""


def expect(nights: Sequence[Night], tonight: Night, first: date, last: date, expected_rows: float | None) -> Expected:
    """Estimates what comes after tonight until the end of the period.

    Args:
        nights: earlier jobs, in any order, those of earlier periods included; tonight's is not among them.
        tonight: the job that asks.
        first: first day of the period.
        last: last day of the period.
        expected_rows: rows of the whole period, if known; None: estimated from the nights so far.
    """
    known = [*nights, tonight]
    by_day: Counter[date] = Counter()
    for night in known:
        by_day[night.day] += night.offer.rows
    today = tonight.day
    since = max(min(by_day), today - timedelta(LOOKED_BACK))
    daily = [(day, by_day[day]) for day in (since + timedelta(i) for i in range((today - since).days + 1))]
    days_left = [today + timedelta(i) for i in range(1, (last - today).days + 1)]
    usual = np.array(_usual(daily, days_left))
    rows = float(usual.sum())
    came = any(day >= first and number > _most(daily) for day, number in daily)
    every = _LONG_DAYS_WITH_BASE if tonight.offer.base else _LONG_DAYS
    chance = 0.0 if came or expected_rows is not None else 1.0 - math.exp(-len(days_left) / every)
    long_rows = _LONG * rows / max(1, len(days_left))
    if expected_rows is not None and days_left:
        seen = sum(night.offer.rows for night in known if first <= night.day <= last)
        # Both know something: the mean of both, weighted by the inverse of their variances.
        told, by_rhythm = (_EXPECTED_ROWS_ERROR * expected_rows) ** 2, float(((_DAY_ERROR * usual) ** 2).sum())
        rows = (by_rhythm * max(0.0, expected_rows - seen) + told * rows) / (told + by_rhythm)
    rows += _still_today(known, today)
    spare_rows = _SPARE * float(np.sqrt((usual**2).sum()))
    return Expected(rows, _mixture(known, today), spare_rows, long_rows, chance)


def _most(daily: Sequence[tuple[date, int]]) -> float:
    """The most rows that a day may have which is not much longer than the others; 0 where no day has rows."""
    worked = [rows for _, rows in daily if rows]
    return _UNUSUAL * float(np.median(worked)) if worked else 0.0


def _usual(daily: Sequence[tuple[date, int]], days: Sequence[date]) -> list[float]:
    """The usual rows of some days, by their day of the week."""
    bound = _most(daily)
    if not bound:
        return [0.0] * len(days)
    of: dict[int, list[float]] = {}
    for day, rows in daily:
        of.setdefault(day.weekday(), []).append(min(rows, bound))
    mean = float(np.mean([rows for each in of.values() for rows in each]))

    def usual(day: date) -> float:
        seen = of.get(day.weekday(), [])
        if len(seen) >= _NEVER_DAYS and not any(seen):
            return 0.0
        return (sum(seen) + _PRIOR_DAYS * mean) / (len(seen) + _PRIOR_DAYS)

    return [usual(day) for day in days]


def _still_today(known: Sequence[Night], today: date) -> float:
    """The rows of further jobs today, where a usual day has more jobs than have come."""
    jobs = Counter(night.day for night in known)
    before = [number for day, number in jobs.items() if day != today]
    missing = (sorted(before)[(len(before) - 1) // 2] if before else 1) - jobs[today]
    return max(0, missing) * float(np.median([night.offer.rows for night in known]))


def _mixture(known: Sequence[Night], today: date) -> list[tuple[float, Offer]]:
    """The offers of the nights so far; newer nights and, up to a bound, nights with more rows weigh more."""
    told = [night for night in known if night.alike and night.offer.rows and (today - night.day).days <= LOOKED_BACK]
    if not told:
        return []
    bound = _UNUSUAL * float(np.median([night.offer.rows for night in told]))
    weights = np.array([min(n.offer.rows, bound) * 0.5 ** ((today - n.day).days / _HALF_LIFE) for n in told])
    return [(float(weight), night.offer) for weight, night in zip(weights / weights.sum(), told)]
