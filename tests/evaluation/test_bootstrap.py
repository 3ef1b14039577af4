"""Measures from weights against the measures themselves, on repeated rows, and the intervals made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.evaluation.bootstrap import (
    GRID,
    LEAST_DOCUMENTS,
    Axis,
    Order,
    Settings,
    document_weights,
    drawn_for,
    interval,
    measure_weighted,
    probability_above,
)
from tests.evaluation import reference_measures as measures

SETTINGS = Settings((0.1, 0.3, 1.0), 0.05, (0.5, 0.8))


def order(priority, cost, offset=0.0):
    return Order(np.asarray(priority, float), np.asarray(cost, float), np.full(len(priority), float(offset)))


def measured(score, gain, cost, weights, offset=0.0):
    ones = np.ones(len(gain))
    axes = {
        "calls": Axis({"s": order(score, ones)}, order(gain, ones)),
        "cost": Axis({"s": order(score / cost, cost, offset)}, order(gain / cost, cost)),
    }
    return measure_weighted({"s": score}, gain, axes, weights, SETTINGS)["s"]


def by_the_measures(score, gain, cost):
    found = {
        "spearman": measures.spearman(score, gain),
        "apgr": measures.apgr(score, gain),
        "cpt@0.5": measures.cpt(score, gain, 0.5),
        "cpt@0.8": measures.cpt(score, gain, 0.8),
        "area_calls": measures.normalized_area(score, gain),
        "area_cost": measures.normalized_area(score, gain, cost),
    }
    for p in (p for p in SETTINGS.fractions if int(p * len(gain)) > 0):
        found |= {
            f"hit_rate@{p:g}": measures.hit_rate(score, gain, p),
            f"mean_delta@{p:g}": measures.mean_delta(score, gain, p),
            f"pgr@{p:g}": measures.pgr(score, gain, p),
            f"severe_loss@{p:g}": measures.severe_loss(score, gain, p, SETTINGS.tau),
        }
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**32 - 1), st.booleans())
def test_weights_are_repeated_rows(n, seed, ties):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 4, n).astype(float) if ties else rng.normal(size=n)
    gain = rng.integers(-2, 5, n) / 8 if ties else rng.normal(0.1, 0.3, n)
    cost = rng.integers(1, 4, n).astype(float)
    weights = rng.integers(0, 3, (4, n))
    weights[0] = 1
    weights = weights[weights.sum(axis=1) > 0]
    got = measured(score, gain, cost, weights.astype(float)).measures
    for i, weight in enumerate(weights):
        rows = np.repeat(np.arange(n), weight)
        for key, expected in by_the_measures(score[rows], gain[rows], cost[rows]).items():
            assert got[key][i] == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True), key


def test_the_grid_is_the_quality_curve():
    rng = np.random.default_rng(0)
    score, gain = rng.normal(size=50), rng.normal(0.1, 0.2, 50)
    got = measured(score, gain, np.ones(50), np.ones((1, 50))).curves["calls"][0]
    share, quality = measures.quality_curve(score, gain)
    assert got == pytest.approx(np.interp(np.linspace(0, 1, GRID), share, quality))


def test_a_scorer_pays_for_its_scoring_first():
    # Two rows that cost 1 each and win .4 and .2; the axis is 2 long, random has half of .3.
    score, gain, cost = np.array([2.0, 1.0]), np.array([0.4, 0.2]), np.ones(2)
    free = measured(score, gain, cost, np.ones((1, 2))).measures["area_cost"][0]
    assert free == pytest.approx(1)
    # Paying .25 a row: flat until .5, .2 won at 1.5, then half of the last row until the axis ends at 2.
    paying = measured(score, gain, cost, np.ones((1, 2)), offset=0.25)
    area = (1.0 * 0.1 + 0.5 * (0.2 + 0.25) / 2) / 2
    oracle, random = (0.1 + 0.25) / 2, 0.15
    assert paying.measures["area_cost"][0] == pytest.approx((area - random) / (oracle - random))
    assert paying.curves["cost"][0][GRID // 4] == 0
    assert paying.curves["cost"][0][-1] == pytest.approx(0.25)


def test_documents_are_drawn_whole():
    weights = document_weights(np.array([0, 0, 1, 2, 2, 2]), 500, 3)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert weights.mean() == pytest.approx(1, abs=0.1)
    assert (document_weights(np.arange(5), 9, 1) == document_weights(np.arange(5), 9, 1)).all()


def test_intervals_cover():
    # The mean gain of 400 rows has a standard error of .3 / 20; the interval of MeanDelta@1 must be about 2 · 1.96 of that.
    rng = np.random.default_rng(1)
    gain = rng.normal(0.1, 0.3, 400)
    samples = measured(gain, gain, np.ones(400), document_weights(np.arange(400), 2000, 0)).measures["mean_delta@1"]
    low, high = interval(samples)
    assert high - low == pytest.approx(100 * 2 * 1.96 * gain.std() / 20, rel=0.1)
    assert low < 100 * gain.mean() < high


def test_an_interval_holds_the_middle_of_what_is_defined():
    nan = np.nan
    assert interval(np.arange(201.0)) == pytest.approx((5, 195))
    assert interval(np.array([nan, nan, 1.0, 3.0])) == pytest.approx((1.05, 2.95))  # half of it is enough
    assert all(np.isnan(interval(np.array([]))))


def test_without_resamples_every_measure_is_empty():
    gain = np.array([0.1, 0.2, 0.3])
    samples = measured(gain, gain, np.ones(3), np.ones((0, 3)))
    assert {len(values) for values in samples.measures.values()} == {0}
    assert {curves.shape for curves in samples.curves.values()} == {(0, GRID)}
    assert np.isnan(probability_above(samples.measures["spearman"]))


def test_rows_of_few_documents_have_no_resamples():
    documents = np.repeat(np.arange(LEAST_DOCUMENTS), 3)
    weights = document_weights(documents, 20, 0)
    assert drawn_for(np.arange(len(documents)), documents, weights).shape == weights.shape
    assert drawn_for(np.arange(3, len(documents)), documents, weights).shape == (0, len(documents) - 3)


def test_what_is_mostly_undefined_has_no_interval():
    assert all(np.isnan(v) for v in interval(np.array([np.nan, np.nan, 1.0])))
    assert np.isnan(probability_above(np.array([np.nan, np.nan, 1.0])))
    assert probability_above(np.array([-1.0, 0.0, 1.0, 2.0])) == 0.625
