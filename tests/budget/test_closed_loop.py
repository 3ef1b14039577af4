"""The closed loop against simulated runs whose true costs the profile has wrong."""

from dataclasses import replace

import numpy as np
import pytest

from routelmt_ray.budget.closed_loop import Capacity, Position, Rate, spare_capacity, tranche_capacity, widest_capacity


def prefix(value: np.ndarray, weight_us: np.ndarray, capacity_us: int) -> np.ndarray:
    """Rows of the longest prefix by falling value that fits, as a mask."""
    order = np.argsort(-value, kind="stable")
    fits = np.cumsum(weight_us[order]) <= capacity_us
    chosen = np.zeros(len(value), bool)
    chosen[order[fits]] = True
    return chosen


def simulate(
    rng: np.random.Generator,
    ratio: float,
    share: float,
    true_small: float,
    true_large: float,
    tranches: int = 5,
    drift: float = 0.03,
    side_by_side: bool = True,
) -> tuple[float, float, bool]:
    """One run; returns budget, seconds spent, and whether rows were left that a larger budget would have routed."""
    n = 4000
    tokens = rng.lognormal(3, 0.6, n)
    small, large = 0.01 * tokens, 0.01 * ratio * tokens
    value = rng.normal(0.1, 0.1, n) / (large - 0.5 * small)
    cost_small = true_small * small * rng.lognormal(0, 0.3, n)
    cost_large = true_large * large * rng.lognormal(0, 0.3, n)
    spent = 15.0  # loads
    budget = spent + cost_small.sum() + share * np.maximum(cost_large - cost_small, 0).sum()
    done, routed = np.zeros(n, bool), np.zeros(n, bool)

    def drifting() -> float:
        return 1 + drift * rng.uniform(-1, 1)

    def position() -> Position:
        rates = [
            Rate(predicted[of].sum(), true[of].sum(), int(of.sum()))
            for predicted, true, of in ((small, cost_small, done), (large, cost_large, routed))
        ]
        return Position(budget, spent, 0.0, small[~done & ~routed].sum(), 0.0, small=rates[0], large=rates[1])

    def fits(capacity: Capacity) -> np.ndarray:
        extra = capacity.scale_large * large - capacity.scale_small * small
        weight_us = np.maximum(1, np.rint(1e6 * extra)).astype(np.int64)
        return prefix(np.where(routed | done, -np.inf, value), weight_us, capacity.weight) & ~routed & ~done

    for entry in range(tranches + 1 if tranches > 1 else 1):
        capacity = tranche_capacity(position(), max(0, entry - 1), tranches)
        chosen = fits(capacity) if entry or tranches == 1 else np.zeros(n, bool)
        final = capacity.final and (entry > 0 or tranches == 1)
        sure = ~fits(widest_capacity(position())) & ~chosen & ~routed & ~done
        if entry == 0 and sure.mean() < 0.1:
            sure = value <= np.quantile(value, 0.1)
        routed |= chosen
        spent += drifting() * cost_large[chosen].sum()
        if final:
            sure = ~routed & ~done
        elif not side_by_side and entry not in (0, tranches - 1):
            continue  # pools that take turns: the small model goes first, before the last tranche, and last
        done |= sure
        spent += drifting() * cost_small[sure].sum()
        if final:
            break
    return budget, spent, not routed.all()


def test_a_budget_is_met_with_a_wrong_profile() -> None:
    # Drawn with NumPy seeds: what hypothesis draws depends on which modules this process has imported.
    for seed in range(300):
        draw = np.random.default_rng(seed)
        ratio, share, true_small, true_large = (
            draw.uniform(*ends) for ends in ((1.5, 20), (0.1, 0.8), (0.5, 2), (0.5, 2))
        )
        true = (
            true_small,
            true_large * max(1.0, 1.5 * true_small / (ratio * true_large)),
        )  # the large model costs more
        tranches, side_by_side = int(draw.integers(3, 6)), bool(draw.integers(0, 2))
        budget, spent, rows_left = simulate(draw, ratio, share, *true, tranches, side_by_side=side_by_side)
        assert spent <= budget, (seed, spent / budget)
        assert spent >= (0.88 if tranches == 5 else 0.8) * budget or not rows_left, (seed, spent / budget)


@pytest.mark.parametrize(
    ("ratio", "share", "true"),
    [
        (1.5, 0.1, (1.0, 1.0)),
        (1.5, 0.1, (2.0, 2.0)),
        (1.5, 0.8, (0.5, 0.5)),
        (20, 0.1, (2.0, 0.5)),
        (20, 0.8, (0.5, 2.0)),
    ],
)
def test_a_budget_is_met_at_the_ends_of_what_may_be_wrong(
    ratio: float, share: float, true: tuple[float, float]
) -> None:
    for seed, side_by_side in ((seed, bool(seed % 2)) for seed in range(12)):
        budget, spent, rows_left = simulate(np.random.default_rng(seed), ratio, share, *true, side_by_side=side_by_side)
        assert spent <= budget
        assert spent >= 0.88 * budget or not rows_left


def test_a_rate_may_drift_one_way_while_it_is_measured_and_the_other_way_afterwards() -> None:
    ratio, large = 8.803280666249666, 0.5460418134916833
    draw = np.random.default_rng(2600622035)  # of some thousand draws the one that 5 % did not suffice for
    budget, spent, _ = simulate(draw, ratio, 0.45, 0.6405014326366648, large, 3, side_by_side=False)
    assert 0.97 * budget <= spent <= budget


@pytest.mark.parametrize(("true_small", "true_large"), [(1, 2), (1, 0.5), (2, 1), (0.5, 1), (2, 2), (0.5, 0.5)])
def test_five_tranches_meet_a_budget_that_one_misses(true_small: float, true_large: float) -> None:
    for seed in range(20):
        budget, spent, _ = simulate(np.random.default_rng(seed), 6, 0.3, true_small, true_large)
        assert 0.97 * budget <= spent <= budget
        budget, spent, _ = simulate(np.random.default_rng(seed), 6, 0.3, true_small, true_large, tranches=1)
        assert not 0.97 * budget <= spent <= budget


def test_what_is_owed_is_never_planned_with() -> None:
    position = Position(
        budget_s=100, spent_s=40, fixed_s=10, small_todo_s=20, large_todo_s=10, small=Rate(10, 20, 1000)
    )
    assert position.committed_s == 40 + 10 + 2 * 20 + 10
    assert position.shortage_s == 0
    assert tranche_capacity(position, 0, 5).weight == 0
    assert Position(200, 40, 10, 20, 10, small=Rate(10, 20), large=Rate(1, 1)).shortage_s == -100


def test_what_may_be_lost_to_deaths_is_never_planned_with() -> None:
    known = Rate(10, 10, 10_000)
    plain = Position(1000, 100, 0, 0, 0, small=known, large=known)
    kept = replace(plain, reserve_s=200)
    assert tranche_capacity(plain, 0, 5).weight == pytest.approx(0.25 * (995 - 100) * 1e6)
    assert tranche_capacity(kept, 0, 5).weight == pytest.approx(0.25 * (995 - 300) * 1e6)
    alone = replace(plain, in_flight=1.0)  # all of a tranche is in flight: it may have to be done again
    assert tranche_capacity(alone, 0, 5) == tranche_capacity(plain, 0, 5)
    assert tranche_capacity(alone, 3, 5).weight == pytest.approx(0.4 * (995 - 100) * 1e6)
    assert tranche_capacity(alone, 4, 5).weight == pytest.approx((995 - 100) / 1.06 / 1.5 * 1e6, rel=1e-6)


def test_each_tranche_takes_its_share_and_the_last_all_but_its_error() -> None:
    known = Rate(10, 10, 10_000)
    position = Position(1000, 0, 0, 0, 0, small=known, large=known)
    taken = [tranche_capacity(position, tranche, 5).weight / 995e6 for tranche in range(5)]
    assert taken == pytest.approx([0.25, 0.6, 0.75, 0.85, 1 / 1.06])
    assert [tranche_capacity(position, tranche, 3).final for tranche in range(3)] == [False, False, True]


def test_where_a_tranche_follows_in_any_case_none_before_it_is_the_last() -> None:
    known = Rate(10, 10, 10_000)
    position = Position(1000, 970, 0, 0, 0, small=known, large=known)
    assert tranche_capacity(position, 2, 5).final and not tranche_capacity(position, 2, 5, more=True).final
    assert tranche_capacity(position, 4, 5, more=True).final


def test_a_rate_is_known_once_work_took_time() -> None:
    assert not Rate(0.0, 5.0).known and not Rate(5.0, 0.0).known and Rate(5.0, 5.0).known
    assert Rate(0.0, 5.0).error == Rate().error == 1.0
    assert Rate(5.0, 5.0, 10_000).error == 0.06 and Rate(5.0, 5.0, 100).error == 0.15
    assert Rate(5.0, 5.0, 10_000, spread=9.0).error == 0.3
    unlike = Rate(5.0, 5.0, 10_000, alike=False)
    assert unlike.error == 0.06 and unlike.error_below == 1.0, "small pieces err on the dear side alone"


def test_rows_stay_open_that_fit_if_all_that_is_measured_errs_on_the_dear_side() -> None:
    small, large = Rate(10, 20, 10_000), Rate(10, 30, 10_000)
    position = Position(1000, 100, 50, 100, 10, small=small, large=large)
    widest = widest_capacity(position)
    assert (widest.scale_small, widest.scale_large) == pytest.approx((2 / 1.06, 3 / 1.06))
    assert widest.weight == pytest.approx(1.25e6 * (1000 - 150 - 100 * 2 / 1.06 - 10 * 3 / 1.06))
    assert widest_capacity(replace(position, spent_s=2000)).weight == 0
    unlike = widest_capacity(replace(position, small=replace(small, alike=False)))
    assert unlike.scale_small == 1.0 and unlike.weight > widest.weight
    trusted = widest_capacity(Position(1000, 100, 50, 100, 0), trusted=True)
    assert trusted.weight == pytest.approx(1.06e6 * (850 - 100 / 1.06))


def test_a_tranche_that_would_leave_less_than_a_quarter_of_a_batch_a_shard_is_the_last() -> None:
    known = Rate(10, 10, 10_000)
    for batch_s, last in ((0, False), (100, False), (200, True)):  # what is left over is 0.4 of 99.5
        assert (
            tranche_capacity(Position(200, 100, 0, 0, 0, small=known, large=known, batch_s=batch_s), 1, 5).final is last
        )
    assert not tranche_capacity(Position(200, 100, 0, 0, 0, batch_s=200), 1, 5).final, "not before both are measured"


def test_a_single_tranche_trusts_the_profile() -> None:
    position = Position(budget_s=1000, spent_s=100, fixed_s=0, small_todo_s=400, large_todo_s=0)
    capacity = tranche_capacity(position, 0, 1)
    assert (capacity.scale_small, capacity.scale_large) == (1, 1)
    assert capacity.weight == pytest.approx(495e6, rel=1e-6)
    first = tranche_capacity(position, 0, 5)
    assert (first.scale_small, first.scale_large) == (2, 2)
    assert first.weight < 0.25 * capacity.weight


def test_a_rate_of_nothing_and_a_position_without_batches() -> None:
    assert Rate() == Rate(predicted_s=0, measured_s=0, rows=1, spread=0, piece_s=0, alike=True)
    assert Position(1, 0, 0, 0, 0) == Position(1, 0, 0, 0, 0, reserve_s=0, in_flight=0, batch_s=0)


def test_batches_that_are_not_full_may_take_all_that_is_left_but_the_error_of_the_rate() -> None:
    known = Rate(10, 10, 10_000)
    plain = Position(1000, 100, 0, 0, 0, small=known, large=known)
    assert tranche_capacity(plain, 0, 5).limit == pytest.approx((995 - 100) / 1.06 * 1e6)
    assert tranche_capacity(replace(plain, spent_s=2000), 0, 5).limit == 0
    for tranche, position in ((4, plain), (0, Position(1000, 100, 0, 0, 0)), (4, Position(1000, 100, 0, 0, 0))):
        capacity = tranche_capacity(position, tranche, 5)
        assert capacity.limit == (capacity.weight if tranche == 4 else pytest.approx(895e6))


def test_what_is_left_at_the_end_is_spent_but_the_error_of_the_rate() -> None:
    position = Position(1000, 0, 0, 0, 0, large=Rate(10, 20, 10_000))
    known = spare_capacity(30.0, position)
    assert known.weight == known.limit == pytest.approx(25 / 1.06 * 1e6)
    assert (known.scale_small, known.scale_large, known.final) == (0.0, 2.0, True), (
        "such a row costs the whole large model"
    )
    unknown = spare_capacity(30.0, replace(position, large=Rate()))
    assert (unknown.weight, unknown.scale_large) == (25_000_000, 2.0)
    assert spare_capacity(4.0, replace(position, large=Rate())).weight == 0
    assert spare_capacity(30.0, replace(position, large=Rate(), parts=1000)).weight == 25_000
