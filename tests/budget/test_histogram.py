"""Weights are added up as integers, and a total beyond them is refused rather than wrapped."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.budget import Histogram
from routelmt_ray.budget import histogram as histogram_module
from routelmt_ray.budget.histogram import BINS, GrowingHistogram, check_weights


def tally(digits, weights):
    counts = GrowingHistogram(weighted=weights is not None)
    counts.add(np.array(digits, dtype=np.uint16), None if weights is None else np.array(weights, dtype=np.int64))
    counts.check()
    return counts.histogram()


def of_one_bin(digit, weight):
    return tally([digit], [weight])


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from([0, 1, 65_535]), st.integers(0, 2**57)), max_size=30),
    few=st.sampled_from([0, 1 << 12]),
)
def test_tally_equals_integer_sums(rows, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram_module, "_FEW", few)
        histogram = tally([digit for digit, _ in rows], [weight for _, weight in rows])
    for digit in (0, 1, 2, 65_535):
        assert histogram.rows[digit] == sum(d == digit for d, _ in rows)
        assert histogram.by_weight[digit] == sum(w for d, w in rows if d == digit)


def test_many_rows_of_the_heaviest_light_weight_are_exact():
    digits, weights = np.zeros(1 << 18), np.full(1 << 18, 2**35 - 1)
    assert tally(digits, weights).by_weight[0] == (2**35 - 1) << 18
    weights[0] += 1
    assert tally(digits, weights).by_weight[0] == ((2**35 - 1) << 18) + 1


def test_odd_weights_whose_sum_no_float_holds_are_exact():
    rows = 5_000  # more than are added one by one
    weights = np.full(rows, (int(1.9 * 2**53) // rows) | 1)
    assert weights.sum() > 2**53
    assert tally(np.zeros(rows), weights).by_weight[0] == int(weights[0]) * rows


def test_chunks_grow_in_place_up_to_the_limit():
    counts, digits = GrowingHistogram(weighted=True), np.full(4, 9, dtype=np.uint16)
    for _ in range(2):
        counts.add(digits, np.full(4, 2**59))
        counts.check()
    assert counts.histogram().by_weight[9] == 2**62
    counts.add(digits, np.full(4, 2**60))
    with pytest.raises(ValueError, match=r"add up to 9223372036854775808, above 2\*\*62"):
        counts.check()


def test_rows_without_weights_weigh_1():
    mixed = tally([3, 3], None) + of_one_bin(3, 40)
    assert (mixed.rows[3], mixed.weights[3]) == (3, 42)
    assert sum([], Histogram()).rows.tolist() == [0] * BINS


@pytest.mark.parametrize("digits", [(5, 5), (5, 6)])
def test_a_total_of_2_to_the_62_is_the_limit(digits):
    half = [of_one_bin(digit, 2**61) for digit in digits]
    assert sum(half, Histogram()).by_weight.sum() == 2**62
    with pytest.raises(ValueError, match=r"add up to 4611686018427387905, above 2\*\*62"):
        sum([*half, of_one_bin(7, 1)], Histogram())
    # Neither half of a wrapped total is mistaken for a small one.
    with pytest.raises(ValueError, match=r"add up to 9223372036854775808, above 2\*\*62"):
        of_one_bin(digits[0], 2**62) + of_one_bin(digits[1], 2**62)
    with pytest.raises(ValueError, match=r"add up to 18446744073709551616, above 2\*\*62"):
        tally([9] * 4, [2**62] * 4)


def test_weights_of_rows_that_are_not_eligible_do_not_matter():
    values = np.array([np.nan, 0.5, np.nan], dtype=np.float32)
    weights = np.array([-5, 3, 2**63 - 1])
    assert check_weights(weights, values, 0).tolist() == [0, 3, 0]
    with pytest.raises(ValueError, match="weight at place 11 is -5"):
        check_weights(weights[[1, 0, 2]], values, 10)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"rows is int64 of shape \(3,\); it must be int64, \(65536,\)"):
        Histogram(np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match=r"weights is float64 of shape \(65536,\)"):
        Histogram(np.zeros(BINS, dtype=np.int64), np.zeros(BINS))
