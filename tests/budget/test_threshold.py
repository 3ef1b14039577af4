"""Thresholds of the predicted gain: exact on the scored rows, and their interval against draws of the same kind."""

import json

import numpy as np
import pytest

from routelmt_ray.budget.threshold import Threshold, find_threshold, find_threshold_for_cost

RUNS = 200
"""Samples that intervals are counted on; a share of 0.9 of them is known to 0.02."""


@pytest.mark.parametrize("fraction", [0.001, 0.3, 1.0])
def test_a_threshold_routes_the_share_that_was_asked_for(fraction: float) -> None:
    gains = np.random.default_rng(1).normal(0, 1, 5000).astype(np.float32)
    gains[::7] = np.nan
    scored = gains[~np.isnan(gains)]
    found = find_threshold(lambda: [gains[:1234], gains[1234:]], len(scored), fraction)
    k = int(fraction * len(scored))
    assert found.threshold == np.sort(scored)[::-1][k - 1]
    assert found.share == k / len(scored) == (scored >= found.threshold).mean()
    assert (found.fraction, found.rows) == (fraction, len(scored))
    low, high = found.interval
    assert low is None or low <= found.threshold
    assert high is None or high >= found.threshold


def test_rows_of_one_gain_are_routed_together() -> None:
    gains = np.repeat(np.arange(4, dtype=np.float32), 25)
    found = find_threshold(lambda: [gains], 100, 0.3)
    assert found.threshold == 2.0 and found.share == 0.5
    assert find_threshold(lambda: [gains], 100, 0.25).share == 0.25


def test_the_interval_holds_the_true_threshold_as_often_as_it_says() -> None:
    rng, held, narrow = np.random.default_rng(2), 0, []
    for _ in range(RUNS):
        gains = rng.random(500).astype(np.float32)
        found = find_threshold(lambda gains=gains: [gains], 500, 0.3, confidence=0.9)  # type: ignore[misc]
        low, high = found.interval
        assert low is not None and high is not None
        held += low <= 0.7 <= high
        narrow.append(high - low)
    assert 0.87 <= held / RUNS <= 0.97
    assert np.mean(narrow) < 0.1


def test_few_rows_give_an_interval_without_bounds() -> None:
    gains = np.array([0.1, 0.4, 0.2], np.float32)
    found = find_threshold(lambda: [gains], 3, 0.5)
    assert found.interval == (None, None)
    with pytest.raises(ValueError, match="fraction is 0.3, less than one of 3 scored rows"):
        find_threshold(lambda: [gains], 3, 0.3)


def test_the_file_gives_the_threshold_back_bit_by_bit() -> None:
    gains = np.random.default_rng(3).normal(0, 1, 999).astype(np.float32)
    found = find_threshold(lambda: [gains], 999, 0.2)
    fields = json.loads(json.dumps(found.to_dict() | {"router": "any"}))
    assert Threshold.from_dict(fields) == found
    with pytest.raises(ValueError, match="threshold is nan"):
        Threshold.from_dict(fields | {"threshold": float("nan")})


def costed(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gains with ties and NaN, and seconds of both models."""
    rng = np.random.default_rng(seed)
    gains = np.round(rng.normal(0, 1, n), 1).astype(np.float32)
    gains[::9] = np.nan
    small = rng.gamma(2, 0.1, n)
    return gains, small, 5 * small + rng.gamma(2, 0.2, n)


@pytest.mark.parametrize(("share", "unit"), [(0.05, "cpu_s"), (0.4, "EUR"), (0.4, "cpu_s"), (0.99, "cpu_s")])
def test_a_threshold_for_hours_or_money_is_the_lowest_that_fits(share: float, unit: str) -> None:
    gains, small, large = costed(4)
    scored = ~np.isnan(gains)
    key, per = ("money", 1) if unit == "EUR" else ("hours", 3600)
    budget = (7 + small.sum() + share * (large - small)[scored].sum()) / per
    parts = [slice(0, 1500), slice(1500, 4000)]
    found = find_threshold_for_cost(
        lambda: [(gains[p], small[p], large[p]) for p in parts], budget, 7.0, unit, confidence=0.95
    )

    def seconds(threshold: float) -> float:
        above = gains >= np.float32(threshold)
        return float(7 + small[~above].sum() + large[above].sum())

    levels = np.unique(gains[scored])
    below = levels[levels < np.float32(found.threshold)]
    assert seconds(found.threshold) <= per * budget + 0.01
    assert not len(below) or seconds(float(below[-1])) > per * budget
    assert found.share == (gains[scored] >= np.float32(found.threshold)).mean()
    assert (found.fraction, getattr(found, key), found.rows) == (None, budget, scored.sum())
    assert Threshold.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_interval_for_hours_holds_the_true_threshold_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(5), 0
    for _ in range(RUNS):
        gains = rng.random(800).astype(np.float32)
        small = np.full(800, 0.1)
        large = 0.1 + rng.gamma(2, 0.5, 800)  # 1 s more in the mean, so a quarter of the rows takes 200 s
        rows = [(gains, small, large)]
        found = find_threshold_for_cost(lambda rows=rows: rows, 280 / 3600, 0.0, "cpu_s", confidence=0.9)  # type: ignore[misc]
        low, high = found.interval
        assert low is not None and high is not None and low <= found.threshold <= high
        held += low <= 0.75 <= high
    assert 0.85 <= held / RUNS <= 0.95


def test_hours_that_route_no_row_are_refused_and_many_route_all() -> None:
    gains, small, large = costed(6)
    with pytest.raises(
        ValueError, match="for all rows; the 0 hours left are less than the large model takes for one row"
    ):
        find_threshold_for_cost(lambda: [(gains, small, large)], 1e-3, 0.0, "cpu_s")
    all_rows = find_threshold_for_cost(lambda: [(gains, small, large)], 1e3, 0.0, "cpu_s")
    assert all_rows.threshold == np.nanmin(gains) and all_rows.share == 1.0 and all_rows.interval[0] is None
