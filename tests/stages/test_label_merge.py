"""Seconds by row, and the sums that means and deviations are made from."""

import numpy as np
import pytest

from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.stages.label_merge import added_columns, gain_sums
from routelmt_ray.stages.sides import apportion


def test_seconds_follow_tokens_and_add_up() -> None:
    shares = apportion(6.0, np.asarray([1, 0, 2, 3]), np.asarray([True, True, True, True]))
    assert shares.dtype == np.float32
    assert shares.tolist() == [1.0, 0.0, 2.0, 3.0]


def test_without_tokens_every_row_that_reached_the_engine_has_the_same_share() -> None:
    reached = np.asarray([True, False, True])
    assert apportion(3.0, np.zeros(3, np.int32), reached).tolist() == [1.5, 0.0, 1.5]
    assert apportion(3.0, np.zeros(2, np.int32), np.zeros(2, bool)).tolist() == [0.0, 0.0]


def test_sums_by_pair_leave_out_what_was_not_measured() -> None:
    small = np.asarray([0.5, 0.25, np.nan, 0.5, 0.5], np.float32)
    large = np.asarray([0.75, 0.0, 1.0, np.nan, 0.5], np.float32)
    sums = gain_sums(["a", "b", "a", "a", "a"], small, large)
    assert sums["b"] == pytest.approx(
        {"n": 1, "small": 0.25, "large": 0.0, "gain": -0.25, "gain_squares": 0.0625, "negative": 1, "zero": 0}
    )
    assert sums["a"] == pytest.approx(
        {"n": 2, "small": 1.0, "large": 1.25, "gain": 0.25, "gain_squares": 0.0625, "negative": 0, "zero": 1}
    )


def test_columns_of_each_metric_stand_together() -> None:
    names = added_columns(["chrf", "comet_qe"], CheckPlan()).names
    assert names[7:-2] == [
        "quality_small_chrf", "quality_large_chrf", "gain_chrf",
        "quality_small_comet_qe", "quality_large_comet_qe", "gain_comet_qe",
    ]  # fmt: skip
