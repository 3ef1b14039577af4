"""Thresholds of the predicted gain: exact on the scored rows, and their interval against draws of the same kind."""

import json

import numpy as np
import pytest

from routelmt_ray.budget.threshold import Threshold, find_threshold


@pytest.mark.parametrize("fraction", [0.001, 0.3, 1.0])
def test_a_threshold_routes_the_share_that_was_asked_for(fraction: float) -> None:
    gains = np.random.default_rng(1).normal(0, 1, 5000).astype(np.float32)
    gains[::7] = np.nan
    scored = gains[~np.isnan(gains)]
    found = find_threshold([gains[:1234], gains[1234:]], len(scored), fraction)
    k = int(fraction * len(scored))
    assert found.threshold == np.sort(scored)[::-1][k - 1]
    assert found.share == k / len(scored) == (scored >= found.threshold).mean()
    assert (found.fraction, found.rows) == (fraction, len(scored))
    low, high = found.interval
    assert low is None or low <= found.threshold
    assert high is None or high >= found.threshold


def test_rows_of_one_gain_are_routed_together() -> None:
    gains = np.repeat(np.arange(4, dtype=np.float32), 25)
    found = find_threshold(gains, 100, 0.3)
    assert found.threshold == 2.0 and found.share == 0.5
    assert find_threshold(gains, 100, 0.25).share == 0.25


def test_the_interval_holds_the_true_threshold_as_often_as_it_says() -> None:
    rng, held, narrow = np.random.default_rng(2), 0, []
    for _ in range(400):
        found = find_threshold(rng.random(500).astype(np.float32), 500, 0.3, confidence=0.9)
        low, high = found.interval
        assert low is not None and high is not None
        held += low <= 0.7 <= high
        narrow.append(high - low)
    assert 0.87 <= held / 400 <= 0.97
    assert np.mean(narrow) < 0.1


def test_few_rows_give_an_interval_without_bounds() -> None:
    found = find_threshold(np.array([0.1, 0.4, 0.2], np.float32), 3, 0.5)
    assert found.interval == (None, None)
    with pytest.raises(ValueError, match="fraction is 0.3, less than one of 3 scored rows"):
        find_threshold(np.array([0.1, 0.4, 0.2], np.float32), 3, 0.3)


def test_the_file_gives_the_threshold_back_bit_by_bit() -> None:
    found = find_threshold(np.random.default_rng(3).normal(0, 1, 999).astype(np.float32), 999, 0.2)
    fields = json.loads(json.dumps(found.to_dict() | {"router": "any"}))
    assert Threshold.from_dict(fields) == found
    with pytest.raises(ValueError, match="threshold is nan"):
        Threshold.from_dict(fields | {"threshold": float("nan")})
