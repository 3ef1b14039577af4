"""The grant of a job: its properties, and the forecast of the rest of the period."""

import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.account.offer import Offer
from routelmt_ray.account.price import Expected, grant
from routelmt_ray.account.rhythm import Night, expect

MONDAY = date(2026, 9, 7)

numbers = st.floats(0.01, 100, allow_nan=False)


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    steps = draw(st.lists(st.tuples(st.floats(-1, 1, allow_nan=False), numbers), max_size=12))
    steps.sort(reverse=True)
    prices, units = (np.array([step[i] for step in steps]) for i in (0, 1))
    return Offer(draw(st.integers(1, 1000)), draw(st.sampled_from([0.0, 1.0, 50.0])), prices, units)


@st.composite
def rests(draw: st.DrawFn) -> Expected:
    found = draw(st.lists(offers(), min_size=1, max_size=3))
    rows, long_rows = draw(st.sampled_from([0.0, 10.0, 5000.0])), draw(st.sampled_from([0.0, 100.0, 5000.0]))
    chance = draw(st.sampled_from([0.0, 0.1, 0.9])) if rows else 0.0
    return Expected(rows, [(1 / len(found), offer) for offer in found], 0.0, long_rows, chance)


@given(st.floats(0, 2000, allow_nan=False), offers(), rests())
@settings(max_examples=100, deadline=None)
def test_a_grant_is_never_more_than_is_left_nor_than_can_be_used(left: float, tonight: Offer, rest: Expected) -> None:
    found = grant(left, tonight, rest)
    assert 0 <= found.units <= left + 1e-9
    assert found.later == pytest.approx(left - found.units)
    if left < tonight.base:
        assert found.units == 0
    else:
        assert found.units == pytest.approx(tonight.base + found.extra)
        assert 0 <= found.extra <= tonight.total + 1e-9
    if not rest.rows and left >= tonight.base:
        assert found.units == pytest.approx(min(left, tonight.base + tonight.total)), "the last job uses what is left"


@given(st.floats(0, 2000, allow_nan=False), numbers, offers(), rests())
@settings(max_examples=100, deadline=None)
def test_more_left_never_gives_less_and_more_to_come_never_gives_more(
    left: float, more: float, tonight: Offer, rest: Expected
) -> None:
    found = grant(left, tonight, rest)
    assert grant(left + more, tonight, rest).extra >= found.extra - 1e-6
    assert grant(left, tonight, replace(rest, rows=rest.rows + more)).extra <= found.extra + 1e-6
    assert grant(left, tonight, replace(rest, long_rows=rest.long_rows + more)).extra <= found.extra + 1e-6


def offer_of(gains: np.ndarray, base: float = 0.0) -> Offer:
    gains = np.sort(gains)[::-1]
    return Offer.of_bins(len(gains), base, gains, np.ones(len(gains)))


@pytest.mark.parametrize("decimals", [1, 6])
@pytest.mark.parametrize("left", [100, 5000, 20_000])
def test_with_a_known_future_the_grant_is_tonights_part_of_one_exact_selection(decimals: int, left: int) -> None:
    rng = np.random.default_rng(0)
    tonight, later = rng.normal(0.2, 1, 10_000).round(decimals), rng.normal(0, 1, 20_000).round(decimals)
    found = grant(left, offer_of(tonight), Expected(20_000, [(1.0, offer_of(later))]))
    cut = np.sort(np.concatenate([tonight, later]))[-left]
    above, at = (tonight > cut).sum(), (tonight == cut).sum()
    ties = at + (later == cut).sum()
    share = (left - above - (later > cut).sum()) / ties
    assert found.extra == pytest.approx(above + share * at, abs=2 * 20_000 / 256)  # a step of the sketch
    if decimals == 1 and left > 100:  # so near the top, few rows of different gain share a step
        assert found.extra == pytest.approx(above + share * at, abs=40), "ties are shared"
        assert found.price == pytest.approx(cut)


def test_where_a_long_night_may_come_the_price_is_the_mean_of_both_prices() -> None:
    gains = np.linspace(1, 0, 256, endpoint=False)
    tonight, rest = offer_of(gains), Expected(2560, [(1.0, offer_of(gains))], long_rows=2816)
    usual, with_long = grant(1408, tonight, rest), grant(1408, tonight, replace(rest, rows=rest.rows + 2816))
    assert (usual.extra, with_long.extra) == (pytest.approx(128), pytest.approx(64))
    found = grant(1408, tonight, replace(rest, long_chance=0.25))
    assert usual.price is not None and with_long.price is not None
    assert found.price == pytest.approx(0.75 * usual.price + 0.25 * with_long.price)
    assert (found.extra, found.later) == (pytest.approx(112, abs=1), pytest.approx(1408 - 112, abs=1))
    assert found.expected == pytest.approx(1120, abs=10)
    assert grant(1e6, tonight, replace(rest, long_chance=0.9)).extra == 256, (
        "where there is enough for all, nothing is kept"
    )


def test_a_price_is_never_above_what_a_unit_can_win_with_the_base_paid() -> None:
    """A row costs 1 if it is routed, and 1 in any case. So no unit wins more than gain by all that these rows cost."""
    gains = np.linspace(1, 0, 100, endpoint=False)
    rest = Expected(300, [(1.0, offer_of(gains, base=100.0))], long_rows=10_000, long_chance=1.0)
    cost = np.arange(1, 101)
    best = (np.cumsum(gains) / (100 + cost)).max()
    assert rest.dearest == pytest.approx(best) and rest.base == 300
    found = grant(720, offer_of(gains, base=100.0), rest)
    assert found.price == pytest.approx(best) and found.extra == (gains > best).sum() > 0


def test_a_sketch_keeps_sums_and_order_and_is_small() -> None:
    gains = np.sort(np.random.default_rng(0).normal(0, 1, 50_000))[::-1]
    units = np.where(np.arange(50_000) % 3, 1.0, 0.0)
    offer = Offer.of_bins(50_000, 7.0, gains, units)
    assert offer.total == units.sum() and len(offer.prices) <= 257
    assert (offer.prices * offer.units).sum() == pytest.approx(gains[units > 0].sum())
    again = Offer.from_dict(offer.to_dict())
    assert (again.rows, again.base, again.prices.tolist()) == (50_000, 7.0, offer.prices.tolist())
    assert Offer.of_bins(0, 0.0, [], []).total == 0


def test_the_rule_imports_neither_ray_nor_torch() -> None:
    code = (
        "import sys, routelmt_ray.account.rhythm; sys.exit(any(m in sys.modules for m in ('ray', 'torch', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# What is still to come


def nights(rows: list[int], first: date = MONDAY) -> list[Night]:
    return [Night(first + timedelta(i), offer_of(np.ones(n))) for i, n in enumerate(rows) if n]


def test_rows_to_come_follow_the_days_of_the_week() -> None:
    known = nights([100, 100, 100, 100, 100, 0, 0] * 3)
    friday, last = known.pop(), MONDAY + timedelta(27)
    assert expect(known, friday, MONDAY, last, None).rows == pytest.approx(500, rel=0.1)  # five days, no weekend
    assert expect(known, friday, MONDAY, friday.day + timedelta(2), None).rows == 0, (
        "after Friday there is only a weekend"
    )
    assert expect(known, friday, MONDAY, friday.day, None).rows == 0


def test_a_long_night_is_not_expected_again_and_a_first_night_is_like_the_others() -> None:
    known = nights([100] * 5 + [1000])
    assert 480 < expect(known[:-1], known[-1], MONDAY, MONDAY + timedelta(9), None).rows < 700
    assert expect([], known[0], MONDAY, MONDAY + timedelta(9), None).rows == 900


def test_a_long_night_may_come_on_any_day_that_is_left_unless_the_rows_are_known() -> None:
    known = nights([100] * 10)

    def rest(days: int, told: int | None = None) -> Expected:
        return expect(known[:-1], known[-1], MONDAY, MONDAY + timedelta(9 + days), told)

    assert (rest(0).long_chance, rest(0).long_rows) == (0, 0)
    assert 0 < rest(3).long_chance < 0.1 < 0.3 < rest(29).long_chance < 0.6
    assert rest(3).long_rows == rest(29).long_rows == 1000
    assert rest(29, told=4000).long_chance == 0
    with_base = Night(known[-1].day, replace(known[-1].offer, base=50.0))
    assert expect(known[:-1], with_base, MONDAY, MONDAY + timedelta(38), None).long_chance > 1.4 * rest(29).long_chance
    with_long, today = [*known, *nights([1000], MONDAY + timedelta(10))], nights([100], MONDAY + timedelta(11))[0]
    for first, more_come in ((0, False), (10, False), (11, True)):
        found = expect(with_long, today, MONDAY + timedelta(first), MONDAY + timedelta(29), None)
        assert (found.long_chance > 0) == more_come, "one in a period"


def test_expected_rows_count_less_as_the_period_ends() -> None:
    def rest(days_gone: int, told: float) -> float:
        known = nights([100] * days_gone)
        return expect(known[:-1], known[-1], MONDAY, MONDAY + timedelta(29), told).rows

    assert rest(1, 3900) == pytest.approx(3800, rel=0.15)
    assert rest(15, 3900) == pytest.approx(2400, rel=0.35)
    assert 100 <= rest(29, 3900) < 400, "one usual day is left"
    assert rest(20, 1000) > 0, "there are nights left, though more rows have come than were expected"


def test_a_day_with_several_jobs_keeps_something_for_the_others() -> None:
    known = [night for night in nights([100] * 6) for _ in range(2)]
    today = Night(MONDAY + timedelta(6), offer_of(np.ones(100)))
    assert expect(known, today, MONDAY, today.day, None).rows == 100
    assert expect([*known, today], today, MONDAY, today.day, None).rows == 0


def test_newer_nights_say_more_about_gain() -> None:
    old, new = Night(MONDAY, offer_of(np.zeros(100))), Night(MONDAY + timedelta(20), offer_of(np.ones(100)))
    (told, _), (newer, _) = expect([old], new, MONDAY, MONDAY + timedelta(29), None).offers
    assert told < 0.1 < newer
