"""Months of nightly jobs: never over, and nearly the gain of one exact allocation in hindsight."""

from datetime import timedelta
from statistics import mean

import pytest

from tests.account.simulated_month import FIRST, month, played


@pytest.mark.parametrize("hours", [False, True])
def test_with_a_month_behind_it_an_account_wins_nearly_what_hindsight_would(hours: bool) -> None:
    results = []
    for seed in range(4):
        before = month(seed + 5000, mean_rows=500, first=FIRST - timedelta(30), hours=hours)
        nights = month(seed, mean_rows=500, missing=seed, ties=seed % 2 == 1, hours=hours)
        results.append(played(nights, 0.3, before=before))
    assert mean(r["account"] for r in results) > 0.97
    assert all(r["account"] > r["equal"] and r["spent"] > 0.99 and not r["refused"] for r in results)


def test_a_night_ten_times_as_long_is_planned_for_where_the_rows_of_the_month_are_known() -> None:
    results = [
        played(month(seed, mean_rows=500, long=7 * seed + 3, missing=5 * seed + 1), 0.3, expected=1.0)
        for seed in range(4)
    ]
    assert mean(r["account"] for r in results) > 0.97
    assert mean(r["equal"] for r in results) < 0.9
    assert all(r["spent"] > 0.99 for r in results)
