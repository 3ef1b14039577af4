"""The books of a budget in hours: what is spent, owed, kept back, and still to be paid for loads and pieces of work."""

from dataclasses import dataclass, field, replace

import pytest

from routelmt_ray.budget.closed_loop import Position
from routelmt_ray.budget.price import in_money, planned_prices
from routelmt_ray.budget.rule import Rule
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.plan import ledger as ledgers
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.plan.ledger import Ledger, ToCome
from routelmt_ray.runtime.readings import BUSY, IDLE, LOADING, MeterReading
from tests.budget.test_cost import model
from tests.end_to_end.runs import ECHO

SHARDS = 8
OWED = PlanTally(owed=((40.0, 0.0, 20.0, 0.0),))
NOTHING = ToCome({SMALL: SHARDS, LARGE: SHARDS}, {})


@dataclass
class Meters:
    """Readings that a test makes up."""

    found: list[MeterReading] = field(default_factory=list)

    def readings(self) -> list[MeterReading]:
        return self.found

    def spent_s(self) -> float:
        return sum(reading.device_s for reading in self.found)

    def read_again(self) -> None:
        """Has nothing to forget."""

    def add(self, kind: str, load_s: float, busy_s: float = 0.0, idle_s: float = 0.0, state: str = IDLE) -> None:
        self.found.append(
            MeterReading(kind, "cpu_s", "h", 1, 0.0, "", "", load_s + busy_s + idle_s, load_s, busy_s, 2.0, 0, state)
        )


@pytest.fixture
def meters() -> Meters:
    """Both models loaded once, in no time."""
    meters = Meters()
    for kind in (SMALL, LARGE):
        meters.add(kind, 0.0)
    return meters


@pytest.fixture
def ledger(meters: Meters) -> Ledger:
    """Nothing done, nothing kept back."""
    words = [*ECHO, "run_dir=x", "input.path=x", "budget.gpu_hours=1", "router.kind=length", "budget.reserve=0"]
    config = configlib.load(TranslateConfig, [], [*words, "budget.objective=gain", "budget.min_gain=null"])
    return Ledger(config, Rule(cost=model()), meters, SHARDS)


def position(ledger: Ledger, small: int = SHARDS, large: int = SHARDS, tally: PlanTally = OWED) -> Position:
    return ledger.position(tally, ToCome({SMALL: small, LARGE: large}, {}))


def work(ledger: Ledger, size: str, piece_s: float, scale: float, failed: int = 0) -> None:
    for shard in range(SHARDS):
        predicted_s = 0.1 * 2.0**shard
        measured = {"rows": 10 * 2**shard, "predicted_s": predicted_s, "device_s": piece_s + scale * predicted_s}
        ledger.add(f"{size}/000", shard, measured | {"failed": failed * (shard == 0)})


def with_pools(ledger: Ledger, actors: int, **budget: float) -> Ledger:
    models = ledger.config.models
    sizes = {
        size: replace(one, pool=replace(one.pool, actors=actors))
        for size, one in ((SMALL, models.small), (LARGE, models.large))
    }
    config = replace(ledger.config, models=replace(models, small=sizes[SMALL], large=sizes[LARGE]))
    return replace(ledger, config=replace(config, budget=replace(config.budget, **budget)))


def test_half_a_batch_a_shard_is_held_back_before_pieces_say_what_they_cost(ledger: Ledger) -> None:
    half_batches_s = SHARDS * ledger.config.models.small.batch_rows / 2 * 0.2
    assert position(ledger).fixed_s == pytest.approx(half_batches_s)


def test_pieces_that_cost_more_are_held_back_instead_and_not_besides(ledger: Ledger) -> None:
    work(ledger, SMALL, 0.0, 2.0)
    half_batches_s = SHARDS * ledger.config.models.small.batch_rows / 2 * 0.2 * 2.0
    assert position(ledger).fixed_s == pytest.approx(half_batches_s)
    dear_s = half_batches_s  # of one piece
    again = Ledger(ledger.config, ledger.rule, ledger.meters, SHARDS)
    work(again, SMALL, dear_s, 2.0)
    assert position(again).fixed_s == pytest.approx(SHARDS * dear_s)
    assert position(again, small=0).fixed_s == pytest.approx(half_batches_s)


def test_a_second_commit_of_a_shard_counts_once(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.add("small/000", 3, {"rows": 10, "predicted_s": 4.0, "device_s": 6.0})
    assert ledger.committed("small/000") == 1 and ledger.has("small/000", 3) and not ledger.has("small/001", 3)
    assert ledger.owed(OWED) == (36.0, 20.0)
    assert ledger.rate(SMALL).scale == pytest.approx(1.5)
    assert ledger.known(SMALL) == (4.0, ledger.rate(SMALL).error)


def test_a_ledger_in_money_prices_what_is_done_and_keeps_the_shards_in_flight_at_a_server(
    ledger: Ledger, meters: Meters
) -> None:
    words = [
        *ECHO,
        "models.large.engine=openai",
        "models.large.path=a/b",
        "run_dir=x",
        "input.path=x",
        "router.kind=length",
    ]
    words += ["budget.money=9", "budget.objective=gain", "budget.min_gain=null", "input.shard_rows=100"]
    words += ["price.small.gpu_hour=3600", "price.large.input_tokens=1e6", "price.large.output_tokens=2e6"]
    config = configlib.load(TranslateConfig, [], [*words, "models.large.endpoint.concurrency=20"])
    prices = planned_prices(config)
    assert prices is not None
    ledger = Ledger(config, Rule(cost=in_money(model(), prices)), meters, SHARDS)
    ledger.add("small/000", 0, {"rows": 9, "predicted_s": 4.0, "device_s": 6.0})
    charged = {"charged_prompt_tokens": 10, "charged_completion_tokens": 5}
    ledger.add("large/001", 0, {"rows": 9, "predicted_s": 10.0, "device_s": 77.0, **charged})
    assert (ledger.unit, ledger.budget_s) == ("USD", 9.0)
    assert ledger.rate(SMALL).scale == pytest.approx(1.5), "a second costs one dollar"
    assert ledger.rate(LARGE).scale == pytest.approx(2.0), "tokens alone are paid at a server"
    found = ledger.position(OWED, NOTHING)
    assert found.parts == 10**9
    assert found.in_flight == pytest.approx(4 / SHARDS), "one engine, and 4 shards of 100 rows for 20 requests at once"
    assert ledger.batch_s(LARGE) == pytest.approx(SHARDS * ledger.rule.cost.mean_row_s[LARGE])  # type: ignore[union-attr]


def test_what_is_spent_is_what_the_meters_say(ledger: Ledger, meters: Meters) -> None:
    meters.add(LARGE, 10.0, 30.0, 2.0)
    assert position(ledger).spent_s == 42.0
    assert position(ledger).budget_s == 3600.0


def test_loads_to_come_cost_what_the_slowest_did_in_every_actor_of_the_pool(ledger: Ledger, meters: Meters) -> None:
    ledger = with_pools(ledger, 3)
    before = position(ledger).fixed_s
    meters.add(SMALL, 5.0)
    meters.add(SMALL, 7.0)
    meters.add(LARGE, 11.0)
    meters.add(LARGE, 99.0, state=LOADING)  # not done
    assert ledger.load_s(SMALL) == 21.0 and ledger.load_s(LARGE) == 33.0
    come = ledger.position(OWED, replace(NOTHING, loads={SMALL: 2.0, LARGE: 1.0}, judge_s=4.0))
    assert come.fixed_s - before == pytest.approx(2 * 21 + 33 + 4)


def test_before_a_model_has_loaded_its_load_is_taken_from_the_profile(ledger: Ledger, meters: Meters) -> None:
    meters.found.clear()
    cost = ledger.rule.cost
    assert cost is not None
    assert ledger.load_s(LARGE) == cost.large.load_s and ledger.load_s(SMALL) == cost.small.load_s


def test_a_pool_has_no_more_engines_than_there_are_shards(ledger: Ledger, meters: Meters) -> None:
    meters.add(SMALL, 1.0)
    assert with_pools(ledger, 100).load_s(SMALL) == SHARDS


def test_loads_under_way_are_paid_until_every_actor_has_loaded(ledger: Ledger, meters: Meters) -> None:
    ledger, seen = with_pools(ledger, 2), []
    meters.add(SMALL, 6.0)  # of an execution before
    with ledger.loading([SMALL]):
        for _ in range(3):
            seen.append(position(ledger).fixed_s)
            meters.add(SMALL, 6.0)
    after = position(ledger).fixed_s
    assert [round(fixed_s - after, 6) for fixed_s in seen] == [12, 6, 0]


def test_a_pool_that_waits_is_paid_for_its_waiting_but_not_for_what_it_waited_at_the_start(
    ledger: Ledger, meters: Meters
) -> None:
    work(ledger, LARGE, 0.0, 1.0)
    meters.add(LARGE, 10.0, busy_s=40.0, idle_s=60.0, state=BUSY)
    assert ledger.rate(LARGE).scale == pytest.approx(2.5)
    ledger.forget_waiting()
    meters.add(LARGE, 10.0, busy_s=40.0, idle_s=10.0)
    assert ledger.rate(LARGE).scale == pytest.approx(1.25)
    assert ledger.rate(SMALL).scale == 1.0


def test_what_runs_at_one_moment_is_kept_back(ledger: Ledger, meters: Meters) -> None:
    meters.found.clear()
    meters.add(SMALL, 5.0)
    meters.add(LARGE, 20.0)
    kept = [position(with_pools(ledger, 2, reserve=reserve)) for reserve in (0.0, 1.0, 2.0)]
    fallback_s = 5.0
    in_flight_s = 40.0 * 2 / SHARDS
    assert kept[0].reserve_s == fallback_s, "the load that a first failing row would ask for"
    assert kept[1].reserve_s == pytest.approx(2 * (5 + 20) + 2 * 2 * 2.0 + in_flight_s)
    assert kept[2].reserve_s == pytest.approx(2 * kept[1].reserve_s)
    judge = with_pools(ledger, 2, reserve=2.0).position(OWED, replace(NOTHING, judge_s=100.0, judge_load_s=30.0))
    assert judge.reserve_s == pytest.approx(kept[2].reserve_s + 2 * 30), "a judge may die as well"
    assert judge.fixed_s == pytest.approx(kept[2].fixed_s + 100)
    assert [one.in_flight for one in kept] == [0.0, 2 / SHARDS, 4 / SHARDS]


def test_rows_that_failed_are_paid_for_as_soon_as_they_are_known(ledger: Ledger, meters: Meters) -> None:
    meters.add(SMALL, 5.0)
    work(ledger, LARGE, 0.0, 1.0)
    before = position(ledger).fixed_s
    work_again = Ledger(ledger.config, ledger.rule, meters, SHARDS)
    work(work_again, LARGE, 0.0, 1.0, failed=2)
    batch_s = ledger.config.models.small.batch_rows * 0.2
    assert position(work_again).fixed_s - before == pytest.approx(5.0 + batch_s)
    elsewhere = work_again.position(OWED, replace(NOTHING, fallback=False))
    assert elsewhere.fixed_s == pytest.approx(before), "the remainder takes them along"


def test_rates_are_those_of_pieces_of_like_size(ledger: Ledger) -> None:
    for shard in range(7):  # captions: a row of small pieces took three times what it does in large ones
        ledger.add("small/000", shard, {"rows": 20, "predicted_s": 1.0, "device_s": 3.0})
    small = ledger.rate(SMALL, 20.0)
    assert small.scale == pytest.approx(3.0) and not small.alike and small.error_below >= 1.0
    for shard in range(3):
        ledger.add("small/001", shard, {"rows": 400, "predicted_s": 20.0, "device_s": 22.0})
    both = ledger.rate(SMALL, 20.0)  # pieces of two sizes tell what one costs besides its rows
    assert both.alike and both.piece_s + 20.0 * both.scale == pytest.approx(22.0)
    few = Ledger(ledger.config, ledger.rule, ledger.meters, SHARDS)
    for shard, predicted_s in enumerate((1.0, 1.0, 20.0, 20.0, 20.0)):
        few.add("small/000", shard, {"rows": 100, "predicted_s": predicted_s, "device_s": predicted_s + 2.0})
    assert few.rate(SMALL, 20.0).scale == pytest.approx(1.1) and few.rate(SMALL, 20.0).rows == 300
    assert few.rate(SMALL, 1.0).scale == pytest.approx(72 / 62)


def test_pieces_that_differ_among_themselves_make_the_rate_less_certain(ledger: Ledger) -> None:
    for shard, device_s in enumerate((8.0, 12.0, 8.0, 12.0)):
        ledger.add("large/000", shard, {"rows": 10_000, "predicted_s": 10.0, "device_s": device_s})
    rate = ledger.rate(LARGE)
    assert rate.scale == pytest.approx(1.0) and rate.spread == pytest.approx(0.2) and rate.error == pytest.approx(0.2)


@pytest.mark.parametrize(("rows", "expected"), [(2, 2.0), (32, 2.0), (64, 8.0), (500, 8.0)])
def test_pieces_with_fewer_rows_than_a_batch_say_nothing_about_a_full_one(
    ledger: Ledger, rows: int, expected: float
) -> None:
    assert ledger.batch_scale(1.0) == 1.0, "nothing is done"
    for shard in range(SHARDS):
        ledger.add(f"{LARGE}/000", shard, {"rows": rows, "predicted_s": 0.1, "device_s": 0.8})
    assert ledger.config.models.large.rows_at_once == 64
    assert ledger.batch_scale(8.0) == expected
    assert position(ledger).batch_s == pytest.approx(ledger.batch_s(LARGE) * expected)


def test_a_single_full_piece_tells_the_rate_of_full_batches(ledger: Ledger) -> None:
    rows = ledger.config.models.large.rows_at_once
    ledger.add("large/000", 0, {"rows": rows, "predicted_s": 10.0, "device_s": 40.0, "failed": 0})
    assert ledger.batch_scale(4.0) == 4.0
    ledger.add("large/000", 1, {"rows": 1, "predicted_s": 1.0, "device_s": 4.0, "failed": 0})
    assert ledger.batch_scale(4.0) < 4.0, "pieces are not full on average"


def test_one_failing_shard_of_one_owes_a_whole_batch(ledger: Ledger) -> None:
    alone = replace(ledger, shards=1)
    alone.add("large/000", 0, {"rows": 64, "predicted_s": 1.0, "device_s": 1.0, "failed": 1})
    found = alone.position(OWED, ToCome({SMALL: 1, LARGE: 1}, {}, fallback=1.0))
    without = alone.position(OWED, ToCome({SMALL: 1, LARGE: 1}, {}, fallback=0.0))
    assert found.fixed_s - without.fixed_s == pytest.approx(alone.load_s(SMALL) + alone.batch_s(SMALL))


def test_a_budget_that_is_used_up_leaves_no_piece_to_come(ledger: Ledger, meters: Meters) -> None:
    for shard, predicted_s in enumerate((1e-4, 1e-4, 1e-4, 1e-4)):
        ledger.add("large/000", shard, {"rows": 1, "predicted_s": predicted_s, "device_s": predicted_s, "failed": 0})
    meters.add(LARGE, 0.0, busy_s=2 * ledger.budget_s)
    assert position(ledger).large.alike, "no later piece is larger than those that are done"


def test_work_in_flight_that_may_be_lost_is_kept_at_its_measured_cost(ledger: Ledger) -> None:
    careful, to_come = with_pools(ledger, 1, reserve=1.0), ToCome({SMALL: SHARDS, LARGE: SHARDS}, {}, fallback=False)
    before = careful.position(OWED, to_come).reserve_s
    work(careful, SMALL, 0.0, 3.0)
    added = careful.position(OWED, to_come).reserve_s - before
    done_s = sum(0.1 * 2.0**shard for shard in range(SHARDS))
    assert added == pytest.approx((3.0 * (40.0 - done_s) - 40.0) / SHARDS)


def test_a_shard_without_rows_is_no_piece_of_work(ledger: Ledger) -> None:
    rows = ledger.config.models.large.rows_at_once
    for shard in range(4):
        ledger.add("large/000", shard, {"rows": rows, "predicted_s": 10.0, "device_s": 40.0})
        ledger.add("large/001", shard, {"rows": 0, "predicted_s": 0.0, "device_s": 0.0})
    assert ledger.batch_scale(4.0) == 4.0, "the pieces are full on average"
    assert ledger.rate(LARGE).spread == 0.0 and ledger.committed("large/001") == 4


def test_what_the_rest_of_the_budget_buys_is_computed_at_the_rate_of_all_pieces(ledger: Ledger, meters: Meters) -> None:
    for shard, (predicted_s, device_s) in enumerate([(0.1, 0.4)] * 2 + [(1.0, 1.0)] * 3):
        ledger.add("large/000", shard, {"rows": 10, "predicted_s": predicted_s, "device_s": device_s})
    whole_rate = (2 * 0.4 + 3.0) / 3.2
    left_s = 18.0  # buys a piece of 1.9 profiled seconds in each shard; at the rate of the large pieces alone, of 2.25
    assert left_s / SHARDS / whole_rate < 2.0 < left_s / SHARDS
    meters.add("judge", 0.0, busy_s=ledger.budget_s - left_s)
    large = position(ledger).large
    assert large.alike and large.scale == pytest.approx(1.0), "pieces of 1.0 are like one of 1.9"


def test_how_well_a_rate_is_known_is_told_from_small_pieces_too(ledger: Ledger) -> None:
    for shard, (rows, seconds) in enumerate([(1000, 0.1)] * 2 + [(100, 1.0)] * 3):
        ledger.add("small/000", shard, {"rows": rows, "predicted_s": seconds, "device_s": seconds})
    assert ledger.known(SMALL) == (pytest.approx(3.2), 0.06)


def test_a_rate_is_not_fitted_again_at_every_commit(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fits, fit = list[int](), ledgers.fit_pieces
    monkeypatch.setattr(ledgers, "fit_pieces", lambda *columns: fits.append(len(columns[0])) or fit(*columns))
    for shard in range(3000):
        ledger.add("small/000", shard, {"rows": 10, "predicted_s": 1.0, "device_s": 1.0})
        assert ledger.known(SMALL)[0] == shard + 1
    assert fits[:40] == list(range(1, 41)), "few pieces are looked at again each time"
    assert len(fits) < 300 and fits[-1] > 0.97 * 3000, "and many after 2 % more"


def test_at_the_end_all_is_spare_but_a_last_beat_and_rows_that_failed(ledger: Ledger, meters: Meters) -> None:
    careful = with_pools(ledger, 2, reserve=1.0)
    meters.add(SMALL, 5.0, busy_s=20.0)
    meters.add(LARGE, 7.0, busy_s=30.0)
    assert careful.spare_s(NOTHING) == pytest.approx(3600 - 62 - 2 * 2.0)
    assert careful.spare_s(replace(NOTHING, judge_s=9.0, judge_load_s=1.0)) == pytest.approx(3600 - 62 - 2 * 2.0 - 10)
    work(careful, LARGE, 0.0, 1.0, failed=2)
    batch_s = ledger.config.models.small.batch_rows * 0.2
    assert careful.spare_s(NOTHING) == pytest.approx(3600 - 62 - 2 * 2.0 - 5.0 - batch_s)
    assert careful.spare_s(replace(NOTHING, fallback=False)) == pytest.approx(3600 - 62 - 2 * 2.0)
