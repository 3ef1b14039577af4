"""Rows that a judge rates for a plan: which they are, and what that takes of a budget in hours."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from routelmt_ray.budget.closed_loop import Capacity
from routelmt_ray.budget.price import in_money, prices_of
from routelmt_ray.config.budget import BudgetConfig
from routelmt_ray.config.common import PoolConfig
from routelmt_ray.config.label import CometConfig
from routelmt_ray.config.price import JudgePriceConfig, ModelPriceConfig, PriceConfig
from routelmt_ray.config.translate import GuardConfig
from routelmt_ray.plan.allocate import PlanTally, ScoredCorpus
from routelmt_ray.plan.candidates import name_candidates
from routelmt_ray.plan.judging import judge_to_come, judging_both, judging_candidates
from routelmt_ray.runtime import metering
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.stages import judge
from tests.plan.planners import HOURS, Scored, places, ranked, start
from tests.stages.scored import COST


def commit_judgements(corpus: ScoredCorpus, stage: str, rows: dict[int, float], device_s: float = 0.5) -> None:
    for shard in (corpus.plan[i] for i in range(len(corpus.plan))):
        mine = {p: q for p, q in rows.items() if shard.first_place <= p < shard.first_place + shard.rows}
        table = pa.table({"place": list(mine), "small": list(mine.values()), "large": [None] * len(mine)})
        meta = {"judgements": len(mine), "device_s": device_s}
        corpus.context.run.commit(stage, shard.index, table.cast(judge.COLUMNS), meta)


def test_candidates_are_named_until_enough_of_them_may_be_routed(scored: Scored) -> None:
    corpus, columns = scored
    guard = GuardConfig(quality_hypo=0.8, judge="logprob")
    planner, order = start(scored, BudgetConfig(rows=80), guard), ranked(columns)

    def room() -> None:
        return None

    assert name_candidates(planner, room)
    assert places(corpus, planner.series.leg("small")) == sorted(order[: int(1.25 * 80) + 16])
    assert name_candidates(planner, room) and len(planner.series.entries) == 1, "they are not judged yet"
    work = judging_candidates(planner.series)
    assert (work.name, work.earlier, work.sides) == ("000", (), {"small": ("small/000",)})
    commit_judgements(corpus, "judge/000", {place: 0.9 if at < 50 else 0.1 for at, place in enumerate(order[:116])})
    assert name_candidates(planner, room), "66 are left of 80"
    assert judging_candidates(planner.series).earlier == ("judge/000",)
    named = [place for at, place in enumerate(order) if at >= 50][:116]
    assert places(corpus, planner.series.leg("small")) == sorted(named)
    commit_judgements(corpus, "judge/001", dict.fromkeys(named, 0.1))
    assert not name_candidates(planner, room)
    planner.settle()
    assert places(corpus, planner.series.leg("large")) == sorted(order[50:130])
    assert not name_candidates(planner, room), "all is settled"


def test_hours_pay_for_the_judgements_of_candidates_too(scored: Scored) -> None:
    """Each candidate takes its small translation and a judgement, beside its large translation."""
    corpus, _ = scored
    planner = start(scored, HOURS, GuardConfig(quality_hypo=0.8, judge="logprob"))
    cost = replace(COST, mean_row_s={"probe": 0.0, "small": 1.0, "large": 6.0})
    planner.series = replace(planner.series, rule=replace(planner.series.rule, cost=cost))
    spent_s, parts, judgement_s, judged = 0.0, 1_000_000, 2.0, list[int]()
    every = planner.cut(replace(planner.rule, candidates=None), k=10**9).cut
    budget_s, row_s = every.weight / parts / 2, every.weight / parts / every.k
    small_s = row_s / 5

    def room() -> int:
        return int(max(0.0, budget_s - spent_s) * parts)

    rounds = 0
    while name_candidates(planner, room):
        rows = places(corpus, planner.series.leg("small"))
        new = [row for row in rows if row not in judged]
        assert new and rounds < 6, "each round judges more rows, and there are few rounds"
        judged += new
        spent_s += len(new) * judgement_s * small_s
        good = {row: 0.9 if row % 3 == 0 else 0.1 for row in rows}
        commit_judgements(corpus, f"judge/{rounds:03d}", good, len(rows) / len(corpus.plan) * judgement_s)
        rounds += 1
    within = planner.cut(planner.rule, k=10**9).cut
    assert rounds >= 2 and within.k == sum(row % 3 != 0 for row in judged)
    assert within.weight <= room() + 2 * row_s * parts or rounds == 1, "what is left pays for those that may be routed"
    assert within.weight >= 0.6 * room(), "and little is left for want of candidates"


def test_judging_is_measured_on_a_few_rows_before_hours_are_planned(scored: Scored) -> None:
    corpus, columns = scored
    guard = GuardConfig(keep_better=0.02, judge="logprob")
    assert not name_candidates(start(scored, BudgetConfig(rows=80), guard), lambda: None)
    planner = start(scored, HOURS, guard)
    assert name_candidates(planner, lambda: 10**7) and planner.judge_row_s == 0
    rows = places(corpus, planner.series.leg("small"))
    assert len(rows) == min(256, (columns["predicted_gain"] > 0).sum())
    commit_judgements(corpus, "judge/000", dict.fromkeys(rows, 0.5), device_s=0.01 * len(rows))
    assert not name_candidates(planner, lambda: 10**7)
    planner.learn_judge()
    assert planner.judge_row_s == pytest.approx(2 * 5 * 0.01)
    assert planner.rule.judge_row_s == planner.judge_row_s and planner.rule.candidates is None
    planner.open(Capacity(12_000_000, 1.0, 1.0))
    assert planner.series.current_rule().judge_row_s == planner.judge_row_s
    assert judging_both(planner.series).name == "001-both"


def meter_judge(corpus: ScoredCorpus, load_s: float) -> None:
    meter = metering.Meter(corpus.context.run, "judge", 0.0)
    meter.close()
    (path,) = (corpus.context.run.root / meter_readings.FOLDER).glob("judge-*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"load_s": load_s}))


def test_a_judge_of_the_audit_is_paid_from_the_budget_before_it_was_measured_and_after(scored: Scored) -> None:
    corpus, _ = scored
    means = {"small": 0.25, "large": 1.0}
    guard = GuardConfig(judge="comet_qe", comet_qe=CometConfig(path="x", pool=PoolConfig(actors=3)))
    references = replace(corpus.context.input, columns=replace(corpus.context.input.columns, reference=None))
    planner = start(scored, HOURS, guard, audit_rows=30)
    assert planner.config.audit_metric == "chrf" and judge_to_come(planner, PlanTally()) == (0.0, 0.0)
    planner.config = replace(planner.config, input=references)
    assert planner.config.audit_metric == "judge"
    rule = replace(planner.series.rule, cost=replace(COST, mean_row_s=means))
    planner.series = replace(planner.series, rule=rule)
    assert judge_to_come(planner, PlanTally()) == (3 * 6.0 + 30 * 2 * 1.25, 3 * 6.0), "as dear as both models"
    meter_judge(corpus, 8.0)
    assert judge_to_come(planner, PlanTally()) == (3 * 8.0 + 30 * 2 * 1.25, 3 * 8.0)
    many = replace(guard, comet_qe=replace(guard.comet_qe, pool=PoolConfig(actors=99)))
    planner.config = replace(planner.config, guard=many)
    assert judge_to_come(planner, PlanTally())[1] == len(corpus.plan) * 8.0


def test_in_money_a_judge_costs_its_seconds_at_its_own_price(scored: Scored) -> None:
    corpus, _ = scored
    model, judged = ModelPriceConfig(gpu_hour=36.0), JudgePriceConfig(gpu_hour=72.0)  # .01 and .02 a second
    served = ModelPriceConfig(input_tokens=1.0, output_tokens=1.0)
    guard = GuardConfig(keep_better=0.02, judge="comet_qe", comet_qe=CometConfig(path="x", pool=PoolConfig(actors=3)))
    planner = start(scored, HOURS, guard)
    costs = replace(COST, mean_row_s={"probe": 0.1, "small": 0.25, "large": 1.0})
    loads, models = {size: getattr(COST, size).load_s for size in ("small", "large")}, planner.config.models
    at_server = replace(models, large=replace(models.large, engine="openai", path="a/b"))
    for large, of, seconds in ((served, at_server, 2 * loads["small"]), (model, models, sum(loads.values()))):
        price = PriceConfig("EUR", model, large, judged)
        planner.config = replace(planner.config, price=price, models=of, budget=BudgetConfig(money=5.0))
        prices = prices_of(price)
        assert prices is not None
        planner.series = replace(planner.series, rule=replace(planner.series.rule, cost=in_money(costs, prices)))
        assert judge_to_come(planner, PlanTally())[1] == pytest.approx(3 * 0.02 * seconds), (
            "as many seconds as both models"
        )
    assert name_candidates(planner, lambda: 10**9)
    rows = places(corpus, planner.series.leg("small"))
    commit_judgements(corpus, "judge/000", dict.fromkeys(rows, 0.5), device_s=0.01 * len(rows))
    planner.learn_judge()
    assert planner.judge_row_s == pytest.approx(0.02 * 2 * 5 * 0.01)
    meter_judge(corpus, 8.0)
    assert judge_to_come(planner, PlanTally(routed=40)) == pytest.approx(
        (3 * 0.16 + 40 * planner.judge_row_s, 3 * 0.16)
    )


def test_a_judge_of_routed_rows_is_paid_at_what_it_took_and_not_at_what_the_large_model_takes(scored: Scored) -> None:
    corpus, _ = scored
    planner = start(scored, HOURS, GuardConfig(keep_better=0.02, judge="logprob"))
    plain = planner.outlook()
    planner.judge_row_s = 0.5
    meter_judge(corpus, 8.0)
    assert judge_to_come(planner, PlanTally(routed=40)) == (8.0 + 40 * 0.5, 8.0)
    assert planner.outlook() == plain, "what the models take is scaled, and this is not"
