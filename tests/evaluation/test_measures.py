"""Measures against hand-computed cases, and against the average over every order of tied rows."""

import logging
import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise, permutations, product
from statistics import mean

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.evaluation.clean_rows import drop_nan
from tests.evaluation.reference_measures import (
    apgr,
    cpt,
    hit_rate,
    mean_delta,
    normalized_area,
    pgr,
    quality_curve,
    severe_loss,
    spearman,
)

# Ten rows without ties, sums worked out by hand: the top 3 by score are rows 0, 1, 2 with gains .4, -.1, .3.
SCORE = np.array([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], dtype=float)
GAIN = np.array([0.4, -0.1, 0.3, 0.0, 0.2, 0.1, -0.2, 0.5, -0.3, 0.1])


def test_measures_have_the_values_computed_by_hand():
    assert hit_rate(SCORE, GAIN, 0.3) == pytest.approx(2 / 3)  # the three greatest gains: .5 .4 .3
    assert mean_delta(SCORE, GAIN, 0.3) == pytest.approx(100 * 0.6 / 3)
    assert pgr(SCORE, GAIN, 0.3) == pytest.approx(0.6 / 1.0)
    assert severe_loss(SCORE, GAIN, 0.3, 0.05) == pytest.approx(1 / 3)
    assert severe_loss(SCORE, GAIN, 0.3, 0.1) == 0  # -.1 is not below -.1
    assert severe_loss(SCORE, GAIN, 1, 0.15) == pytest.approx(2 / 10)


def test_curve_by_hand():
    share, quality = quality_curve(SCORE, GAIN)
    assert share.tolist() == [c / 10 for c in range(11)]
    won = [0, 0.4, 0.3, 0.6, 0.6, 0.8, 0.9, 0.7, 1.2, 0.9, 1.0]
    assert quality == pytest.approx(np.array(won) / 10)
    assert apgr(SCORE, GAIN) == pytest.approx((sum(won) - 1.0 / 2) / 10)
    # The oracle's gains in order: .5 .4 .3 .2 .1 .1 0 -.1 -.2 -.3.
    best = [0, 0.5, 0.9, 1.2, 1.4, 1.5, 1.6, 1.6, 1.5, 1.3, 1.0]
    assert normalized_area(SCORE, GAIN) == pytest.approx((sum(won) - 0.5 - 5) / (sum(best) - 0.5 - 5))


def test_cpt_by_hand():
    assert cpt(SCORE, GAIN, 0.4) == 0.1
    assert cpt(SCORE, GAIN, 0.5) == 0.3  # falls to .3 between
    assert cpt(SCORE, GAIN, 0.95) == 0.8  # the first crossing, though the curve falls below again
    assert cpt(SCORE, GAIN, 1.2) == 0.8
    assert math.isnan(cpt(SCORE, GAIN, 1.3))
    assert cpt(SCORE, GAIN, 0) == cpt(SCORE, GAIN, -1) == 0


def test_cost_by_hand():
    # By gain predicted per cost: row 1 (.3 / 1), row 0 (.8 / 4), row 2 (.1 / 5).
    score, gain, cost = [0.8, 0.3, 0.1], [0.6, 0.1, 0.2], [4, 1, 5]
    share, quality = quality_curve(score, gain, cost)
    assert share == pytest.approx([0, 0.1, 0.5, 1])
    assert quality * 3 == pytest.approx([0, 0.1, 0.7, 0.9])
    area = 0.1 * 0.1 / 2 + 0.4 * (0.1 + 0.7) / 2 + 0.5 * (0.7 + 0.9) / 2
    assert apgr(score, gain, cost) == pytest.approx(area / 0.9)
    assert cpt(score, gain, 0.7, cost) == pytest.approx(0.5)
    # The oracle takes row 0 (.15 a unit), row 1 (.1), row 2 (.04).
    oracle = 0.4 * 0.6 / 2 + 0.1 * (0.6 + 0.7) / 2 + 0.5 * (0.7 + 0.9) / 2
    assert normalized_area(score, gain, cost) == pytest.approx((area - 0.45) / (oracle - 0.45))
    # A cost predicted the other way round, and an order by the score alone.
    assert quality_curve(score, gain, cost, predicted_cost=[1, 9, 9]).share == pytest.approx([0, 0.4, 0.5, 1])
    assert quality_curve(score, gain, cost, predicted_cost=np.ones(3)).quality * 3 == pytest.approx([0, 0.6, 0.7, 0.9])


def test_spearman_by_hand():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(1 - 6 * 4 / (5 * 24))
    # Deviations from the mean rank: -1 -1 .5 1.5 and -1.5 0 0 1.5.
    assert spearman([0, 0, 1, 2], [5, 6, 6, 9]) == pytest.approx(3.75 / 4.5)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert math.isnan(spearman([1, 2, 3], [0, 0, 0]))
    assert math.isnan(spearman([1], [1]))


def test_mean_delta_and_pgr_agree_with_the_published_table():
    # RouteLMT's headline row at p = .3: MeanDelta 12.13 where random has 5.83, hence PGR .3 * 12.13 / 5.83.
    gain = np.array([0.1213] * 3 + [(0.583 - 3 * 0.1213) / 7] * 7)
    score = np.arange(10, 0, -1.0)
    assert mean_delta(score, gain, 0.3) == pytest.approx(12.13)
    assert mean_delta(np.zeros(10), gain, 0.3) == pytest.approx(5.83)
    assert pgr(score, gain, 0.3) == pytest.approx(0.62, abs=0.005)


# Dyadic values with many ties, so that sums are exact in any order.
QUARTERS = st.integers(-3, 4).map(lambda value: value / 4)
SHARES = st.sampled_from([0.2, 0.25, 0.34, 0.5, 0.7, 0.75, 1.0])


@st.composite
def tables(draw, max_rows=5):
    n = draw(st.integers(1, max_rows))
    score = draw(st.lists(QUARTERS, min_size=n, max_size=n))
    gain = draw(st.lists(QUARTERS, min_size=n, max_size=n))
    return score, gain


def orders(values):
    """Every descending order of the rows, each equally likely."""
    return [order for order in permutations(range(len(values))) if sorted_descending([values[i] for i in order])]


def sorted_descending(values):
    return all(a >= b for a, b in pairwise(values))


def tops(values, k):
    return Counter(frozenset(order[:k]) for order in orders(values))


@settings(max_examples=150, deadline=None)
@given(table=tables(), p=SHARES)
def test_routed_measures_average_over_the_orders_of_ties(table, p):
    score, gain = table
    k = int(Fraction(str(p)) * len(score))
    assume(k >= 1)
    routed, best = tops(score, k), tops(gain, k)
    hits = sum(len(s & t) * a * b for (s, a), (t, b) in product(routed.items(), best.items()))
    assert hit_rate(score, gain, p) == pytest.approx(hits / routed.total() / best.total() / k)
    won = sum(sum(gain[i] for i in s) * times for s, times in routed.items()) / routed.total()
    assert mean_delta(score, gain, p) == pytest.approx(100 * won / k)
    lost = sum(sum(gain[i] < -0.25 for i in s) * times for s, times in routed.items()) / routed.total()
    assert severe_loss(score, gain, p, 0.25) == pytest.approx(lost / k)
    if sum(gain) > 0:
        assert pgr(score, gain, p) == pytest.approx(won / sum(gain))
    else:
        assert math.isnan(pgr(score, gain, p))


def path(order, gain, cost):
    """Spent share and mean quality along one order of the rows, exact."""
    points = [(Fraction(0), Fraction(0))]
    for i in order:
        spent, quality = points[-1]
        points.append((spent + Fraction(cost[i]) / Fraction(sum(cost)), quality + Fraction(gain[i]) / len(gain)))
    return points


def area(points):
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


@settings(max_examples=150, deadline=None)
@given(table=tables(max_rows=4), data=st.data())
def test_curve_measures_average_over_the_orders_of_ties(table, data):
    score, gain = table
    n = len(gain)
    cost = data.draw(st.none() | st.lists(st.integers(1, 3), min_size=n, max_size=n))
    weights = cost or [1] * n
    by_value = orders([Fraction(value) / weight for value, weight in zip(score, weights)])
    paths = [path(order, gain, weights) for order in by_value]
    expected = [(mean(share for share, _ in ties), mean(quality for _, quality in ties)) for ties in zip(*paths)]

    curve = quality_curve(score, gain, cost)
    assert curve.share == pytest.approx([float(share) for share, _ in expected])
    assert curve.quality == pytest.approx([float(quality) for _, quality in expected])

    router = mean(area(points) for points in paths)
    every = [area(path(order, gain, weights)) for order in permutations(range(n))]
    if max(every) > mean(every):
        wanted = (router - mean(every)) / (max(every) - mean(every))
        assert normalized_area(score, gain, cost) == pytest.approx(float(wanted))
    else:
        assert math.isnan(normalized_area(score, gain, cost))

    total = expected[-1][1]
    for x in (0.25, 0.5, 0.8, 1, 1.25):
        crossed = [share for share, quality in expected if total > 0 and quality / total >= Fraction(str(x))]
        least = float(crossed[0]) if crossed else math.nan
        assert cpt(score, gain, x, cost) == pytest.approx(least, nan_ok=True)
    assert apgr(score, gain, cost) == pytest.approx(float(router / total) if total > 0 else math.nan, nan_ok=True)


@settings(deadline=None)
@given(table=tables(max_rows=12))
def test_spearman_is_the_correlation_of_average_ranks(table):
    def ranks(values):
        return [Fraction(sum(v < u for v in values) + sum(v <= u for v in values) + 1, 2) for u in values]

    x, y = (np.array([float(rank) for rank in ranks(values)]) for values in table)
    if x.std() == 0 or y.std() == 0:
        assert math.isnan(spearman(*table))
    else:
        assert spearman(*table) == pytest.approx(np.corrcoef(x, y)[0, 1])


@settings(deadline=None)
@given(table=tables(max_rows=30), p=SHARES)
def test_a_constant_score_is_the_random_router(table, p):
    score, gain = np.full(len(table[1]), 0.7), np.array(table[1])
    n, k = len(gain), int(Fraction(str(p)) * len(gain))
    assume(k >= 1)
    assert hit_rate(score, gain, p) == pytest.approx(k / n, rel=1e-14)
    assert mean_delta(score, gain, p) == pytest.approx(100 * gain.mean())
    if gain.mean() > 0:
        assert pgr(score, gain, p) == pytest.approx(k / n)
        assert apgr(score, gain) == pytest.approx(0.5)
        assert cpt(score, gain, 0.5) == math.ceil(n / 2) / n
    # On the axis of cost no order is random but that of a score of 0, which no cost can divide into an order.
    cost = 1 + np.arange(n)
    assert normalized_area(score, gain) == (0 if np.ptp(gain) else pytest.approx(math.nan, nan_ok=True))
    by_cost = normalized_area(0 * score, gain, cost)
    assert by_cost == (0 if np.ptp(gain / cost) else pytest.approx(math.nan, nan_ok=True))


@settings(deadline=None)
@given(gain=st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30, unique=True), p=SHARES)
def test_the_gain_itself_is_the_oracle(gain, p):
    gain = np.array(gain)
    assume(int(Fraction(str(p)) * len(gain)) >= 1)
    assert hit_rate(gain, gain, p) == 1
    assert spearman(gain, gain) == 1
    assume(gain.std() > 1e-6)
    assert normalized_area(gain, gain) == pytest.approx(1)
    cost = 1.0 + np.arange(len(gain))
    assert normalized_area(gain, gain, cost) == pytest.approx(1)


def test_routing_everything():
    rng = np.random.default_rng(0)
    score, gain = rng.normal(size=100), rng.normal(0.1, 1, size=100)
    assert hit_rate(score, gain, 1) == 1
    assert mean_delta(score, gain, 1.0) == pytest.approx(100 * gain.mean())
    assert pgr(score, gain, 1) == 1
    assert cpt(score, gain, 1) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_rounding_does_not_cost_a_call(seed):
    # Ten rows of a tenth each: every x on the grid is met at its own call, however the sums were rounded.
    score = np.random.default_rng(seed).permutation(10)
    for calls in range(11):
        assert cpt(score, np.full(10, 0.1), calls / 10) == calls / 10


def test_k_in_decimal_arithmetic():
    score = np.arange(100, 0, -1.0)
    gain = (score > 71).astype(float)  # 29 rows; int(0.29 * 100) is 28
    assert mean_delta(score, gain, 0.29) == pytest.approx(100)
    assert mean_delta(score, gain, 0.3) == pytest.approx(100 * 29 / 30)


@pytest.mark.parametrize("gain", [[0.1, -0.1], [-0.2, 0.1], [0.0, 0.0], [0.3, -0.1, -0.2]])
def test_no_gap_to_recover(gain):
    score = np.arange(len(gain))
    gain = np.array(gain)
    assert math.isnan(pgr(score, np.round(gain, 1), 0.5)) == (math.fsum(gain) <= 0)
    for value in (pgr(score, gain - 0.2, 0.5), apgr(score, gain - 0.2), cpt(score, gain - 0.2, 0.5)):
        assert math.isnan(value)


def test_negative_gains_have_a_normalised_area():
    gain = np.array([-0.1, -0.4, -0.2])
    assert normalized_area(gain, gain) == 1
    assert normalized_area(-gain, gain) == pytest.approx(-1)


def test_a_share_that_routes_no_row_is_refused():
    assert pgr(SCORE, GAIN, 0.05) == 0
    for measure in (hit_rate, mean_delta, lambda *given: severe_loss(*given, 0.1)):
        with pytest.raises(ValueError, match=r"p is 0\.05, which routes none of 10 rows; it must be at least 1 / 10"):
            measure(SCORE, GAIN, 0.05)


def test_nan_rows_are_dropped_counted_and_logged(caplog):
    nan = math.nan
    score, gain = np.insert(SCORE, [0, 5], [nan, 99]), np.insert(GAIN, [0, 5], [5, nan])
    rows = drop_nan(score, gain)
    assert (rows.score.tolist(), rows.gain.tolist(), rows.dropped) == (SCORE.tolist(), GAIN.tolist(), 2)
    with caplog.at_level(logging.WARNING):
        assert hit_rate(score, gain, 0.3) == hit_rate(SCORE, GAIN, 0.3)
    assert "2 of 12 rows dropped for a NaN" in caplog.text
    caplog.clear()
    assert normalized_area(score, gain) == normalized_area(SCORE, GAIN)
    assert drop_nan(SCORE, GAIN, cost=np.where(SCORE > 8, nan, 1)).dropped == 2
    caplog.clear()
    spearman(SCORE, GAIN)
    assert not caplog.records


MEASURES = [
    lambda score, gain: hit_rate(score, gain, 0.5),
    lambda score, gain: mean_delta(score, gain, 0.5),
    lambda score, gain: pgr(score, gain, 0.5),
    lambda score, gain: severe_loss(score, gain, 0.5, 0.1),
    lambda score, gain: cpt(score, gain, 0.5),
    apgr,
    normalized_area,
    quality_curve,
    spearman,
]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("score", "gain", "message"),
    [
        ([1, 2, 3], [1, 2], "gain has 2 rows; it must have as many as score, 3"),
        ([[1, 2]], [[1, 2]], r"score has shape \(1, 2\); it must be one-dimensional"),
        (1, [1], r"score has shape \(\)"),
        ([], [], "have 0 rows, none of them without NaN; at least 1 is needed"),
        ([math.nan, 1], [1, math.nan], "have 2 rows, none of them without NaN"),
        ([1, math.inf], [1, 2], "score is inf at row 1; it must be finite, or NaN to be dropped"),
        ([1, 2], [-math.inf, 2], "gain is -inf at row 0"),
    ],
)
def test_bad_arrays(measure, score, gain, message):
    with pytest.raises(ValueError, match=message):
        measure(score, gain)


@pytest.mark.parametrize("p", [0, -0.1, 1.01, 30, math.nan, math.inf])
def test_bad_shares(p):
    for measure in (hit_rate, mean_delta, pgr, lambda *given: severe_loss(*given, 0.1)):
        with pytest.raises(ValueError, match=rf"p is {p}; it must be in \(0, 1\]"):
            measure(SCORE, GAIN, p)


def test_bad_parameters():
    for tau in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"tau is {tau}; it must be finite and >= 0"):
            severe_loss(SCORE, GAIN, 0.5, tau)
    with pytest.raises(ValueError, match="x is nan; it must be finite"):
        cpt(SCORE, GAIN, math.nan)


def test_bad_costs():
    with pytest.raises(ValueError, match=r"cost is 0\.0 at row 2; it must be above 0"):
        apgr(SCORE, GAIN, cost=np.where(SCORE == 8, 0, 1))
    with pytest.raises(ValueError, match="cost has 3 rows; it must have as many as score, 10"):
        quality_curve(SCORE, GAIN, [1, 2, 3])
    with pytest.raises(ValueError, match="predicted_cost is given without cost"):
        normalized_area(SCORE, GAIN, predicted_cost=SCORE)
    with pytest.raises(ValueError, match=r"predicted_cost is -1\.0 at row 0"):
        cpt(SCORE, GAIN, 0.5, SCORE, predicted_cost=-np.ones(10))
