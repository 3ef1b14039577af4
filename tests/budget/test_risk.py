"""Promises about losses: exact bounds, the order of the tests, and how often a promise is broken over many audits."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from routelmt_ray.budget.risk import Certified, Floors, Promise, certify, promise, rows_needed, upper_bound
from routelmt_ray.config.risk import ROUTE, SMALL
from tests.budget.synthetic_gains import synthetic_gains

TERMS = {"loss": 0.05, "confidence": 0.95, "metric": "chrf", "source": "runs/a"}


def test_the_number_of_harmless_rows_is_that_of_the_formula() -> None:
    assert rows_needed(0.02, 0.95) == 149 == math.ceil(math.log(0.05) / math.log(0.98))
    assert upper_bound(0, 149, 0.95) <= 0.02 < upper_bound(0, 148, 0.95)
    assert rows_needed(0.02, 0.95, 0.02) is None
    more = rows_needed(0.02, 0.95, 0.01)
    assert more is not None and upper_bound(math.ceil(0.01 * more), more, 0.95) <= 0.02
    fewer = round(more / 1.1)
    assert upper_bound(math.ceil(0.01 * fewer), fewer, 0.95) > 0.02


@given(st.integers(0, 300), st.integers(0, 300), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_bound_is_that_of_clopper_and_pearson(losses: int, others: int, confidence: float) -> None:
    rows = losses + others
    bound = upper_bound(losses, rows, confidence)
    if not others:
        assert bound == 1.0
        return
    assert bound == pytest.approx(beta.ppf(confidence, losses + 1, others))
    assert binom.cdf(losses, rows, bound) == pytest.approx(1 - confidence), (
        "the rate at which so few losses are as rare"
    )


@given(st.integers(0, 2**32), st.integers(0, 3000), st.sampled_from([0.05, 0.1, 0.2, 0.4]))
def test_what_is_certified_is_what_a_recount_finds(seed: int, rows: int, rate: float) -> None:
    predicted, gains = synthetic_gains(np.random.default_rng(seed), rows)
    lost = gains < -0.05
    found = certify(predicted, lost, rate, 0.95)
    assert found.bound >= upper_bound(found.losses, found.rows, 0.95)
    assert (found.bound <= rate) == (found.threshold is not None)
    if found.threshold is not None:
        above = predicted >= np.float32(found.threshold)
        assert found.rows + found.held_rows == above.sum()
        assert found.losses + found.held_losses == lost[above].sum()
        assert found.threshold in predicted, "so rows of equal gain are on one side"
    assert found.held_rows <= rows // 2
    stricter = certify(predicted, lost, rate / 2, 0.95)
    if stricter.threshold is not None and found.threshold is not None:
        assert stricter.bound <= rate / 2


def test_gains_of_the_half_that_is_held_out_have_no_say() -> None:
    rows = 500
    predicted, gains = synthetic_gains(np.random.default_rng(1), rows)
    held = np.array(
        [certify(np.zeros(rows), np.arange(rows) == row, 0.99, 0.5).held_losses == 1 for row in range(rows)]
    )
    assert held.sum() == rows // 2
    before = certify(predicted, gains < -0.05, 0.4, 0.95)
    after = certify(predicted, (gains < -0.05) | held, 0.4, 0.95)
    assert before.threshold is not None and before.threshold == after.threshold
    assert (after.rows, after.losses, after.held_losses) == (before.rows, before.losses, after.held_rows)


def test_tests_end_at_the_first_failure() -> None:
    predicted = np.repeat(np.array([3, 2, 1], np.float32), [200, 60, 200])
    lost = predicted == 2
    found = certify(predicted, lost, 0.2, 0.95)
    assert found.threshold == 3, "all rows together would pass, as harmless ones follow below the bad ones"
    assert upper_bound(int(lost.sum()) // 2, len(lost) // 2, 0.95) < 0.2
    many = certify(np.repeat(predicted, 10), np.repeat(lost, 10), 0.2, 0.95)
    assert many.threshold == 1, "a large audit has a start below them"


def test_the_best_rows_need_not_pass_where_many_do() -> None:
    predicted = np.repeat(np.array([2, 1], np.float32), [60, 3000])
    found = certify(predicted, predicted == 2, 0.1, 0.95)
    assert found.threshold == 1 and found.losses + found.held_losses == 60


@pytest.mark.parametrize("rows", [0, 1, 2, 296])
def test_too_few_rows_certify_nothing_and_say_so(rows: int) -> None:
    found = certify(np.linspace(0, 1, rows), np.zeros(rows, bool), 0.02, 0.95)
    assert found.threshold is None and found.bound > 0.02 and found.rows <= 148
    assert certify(np.zeros(298), np.zeros(298, bool), 0.02, 0.95) == Certified(
        0.0, 149, 0, upper_bound(0, 149, 0.95), 149, 0
    )


def test_odd_arrays_are_refused() -> None:
    for predicted, lost in (([1.0, 2.0], [True]), ([np.nan], [False]), ([[1.0]], [[True]])):
        with pytest.raises(ValueError, match="predicted and lost have the shapes"):
            certify(predicted, lost, 0.1, 0.95)


@pytest.mark.parametrize(("rate", "by_budget"), [(0.12, False), (0.16, False), (0.16, True)])
def test_a_promise_is_broken_in_at_most_one_audit_of_twenty(rate: float, by_budget: bool) -> None:
    rng = np.random.default_rng(7)
    predicted, gains = synthetic_gains(rng, 100_000)
    lost = gains < -0.05
    assert 0.25 < (gains < 0).mean() < 0.35 and (gains == 0).mean() > 0.25
    assert 0.25 < np.corrcoef(predicted, gains)[0, 1] < 0.4
    order = np.unique(predicted)[::-1]
    shares = {float(gain): float(lost[predicted >= gain].mean()) for gain in order}
    broken = promised = 0
    of_the_budget = float(np.quantile(predicted, 0.8))
    for _ in range(500):
        drawn = rng.choice(len(gains), 4000, replace=False)
        found = certify(predicted[drawn], lost[drawn], rate, 0.95)
        if found.threshold is None:
            continue
        promised += 1
        cut = max(found.threshold, of_the_budget) if by_budget else found.threshold
        broken += shares[cut] > rate
    assert promised > 100, "or this shows nothing"
    assert broken <= binom.ppf(0.999, 500, 0.05)


def test_rows_at_the_edge_of_the_rate_break_it_about_as_often_as_they_may() -> None:
    """One threshold whose true share is just above the rate: the test must fail in 95 of 100 audits, but not in all."""
    rng, broken = np.random.default_rng(8), 0
    for _ in range(1000):
        lost = rng.random(1200) < 0.1001
        broken += certify(np.zeros(1200), lost, 0.1, 0.95).threshold is not None
    assert binom.ppf(0.001, 1000, 0.03) <= broken <= binom.ppf(0.999, 1000, 0.05)


def test_each_pair_has_its_own_promise() -> None:
    rng = np.random.default_rng(3)
    rows = [(gain, 0.1, "en→de") for gain in rng.normal(size=400)]
    rows += [(gain, -0.2, "en→fr") for gain in rng.normal(size=400)]
    rows += [(0.5, 0.1, "en→nl"), (None, 0.1, "en→de"), (0.1, None, "en→fr")]
    found = promise(rows, rate=0.05, by="pair", **TERMS)  # type: ignore[arg-type]
    assert [name for name, _ in found.groups] == ["en→de", "en→fr", "en→nl"]
    assert found.audited == 801
    assert [name for name, _ in found.unproven] == ["en→fr", "en→nl"]
    floor = found.groups[0][1].threshold
    assert found.floors(SMALL) == Floors((("en→de", floor or 0.0), ("en→fr", math.inf), ("en→nl", math.inf)), math.inf)
    assert found.floors(SMALL).of(["en→fr", "en→de", "fr→de"]).tolist() == [math.inf, floor, math.inf, math.inf]
    assert found.floors(ROUTE).of(["en→fr", "en→de", "fr→de"]).tolist() == [-math.inf, floor, -math.inf, -math.inf]
    together = promise(rows, rate=0.05, by="all", **TERMS)  # type: ignore[arg-type]
    assert [name for name, _ in together.groups] == ["all"]
    assert together.floors(SMALL) == Floors((), math.inf) and together.floors(ROUTE) == Floors((), -math.inf)
    assert promise([], rate=0.05, by="all", **TERMS).unproven[0][0] == "all"  # type: ignore[arg-type]
    for each in (found, together):
        assert Promise.from_dict(json.loads(json.dumps(each.to_dict()))) == each


def test_a_loss_is_below_what_is_allowed_not_at_it() -> None:
    at = promise([(0.0, -0.05, "p")] * 200, rate=0.05, by="all", **TERMS)  # type: ignore[arg-type]
    assert at.groups[0][1].losses == 0
    below = promise([(0.0, -0.0501, "p")] * 200, rate=0.05, by="all", **TERMS)  # type: ignore[arg-type]
    assert below.groups[0][1].losses == 100
