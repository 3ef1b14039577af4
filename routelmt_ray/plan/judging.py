"""The judge's work in a plan: the translations that it rates, and the device-seconds, or money, that it still takes."""

from collections.abc import Mapping

from routelmt_ray.budget.price import Prices, planned_prices
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.metrics.judges import judge_pool
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.plan.plan import OPENING, Series
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.stages.judge import JudgeWork


def judging_candidates(series: Series) -> JudgeWork:
    """Builds the judge's work on the small translations of the newest candidates."""
    number = series.last["entry"]
    sides = {SMALL: (*series.stages(SMALL, number), f"{SMALL}/{number:03d}")}
    return JudgeWork(f"{number:03d}", sides, earlier=series.judge_stages()[:-1])


def judging_both(series: Series) -> JudgeWork:
    """Builds the judge's work on both translations of routed rows."""
    sides = {size: series.stages(size) for size in (SMALL, LARGE)}
    return JudgeWork(f"{series.last['entry']:03d}-both", sides, all_sides=True)


def judge_to_come(planner: Planner, tally: PlanTally) -> tuple[float, float]:
    """Estimates what a judge still takes in the unit of the plan, and the part of it for loading it in its actors.

    Args:
        tally: sums over what is settled; both translations of a routed row are judged where the better one is kept.
    """
    config, corpus = planner.config, planner.corpus
    judges_audit = config.audit_metric == "judge"
    opened = bool(planner.series.of(OPENING))  # before it, candidates may have to be judged
    if config.guard.keep_better is None and not judges_audit and (opened or not planner.rule.judges_first):
        return 0.0, 0.0
    prices = planned_prices(config)
    loads = [r.load_s for r in meter_readings.readings(corpus.context.run, prices) if r.kind == "judge"]
    cost = planner.rule.cost
    assert cost is not None
    load_s = max(loads, default=_assumed({size: cost.translator(size).load_s for size in (SMALL, LARGE)}, prices))
    load_s *= max(1, min(len(corpus.plan), judge_pool(config.guard, config.models).actors))
    row_s = planner.judge_row_s or 2 * _assumed({size: cost.mean_row_s[size] for size in (SMALL, LARGE)}, prices)
    rows_s = planner.judge_row_s * tally.routed + row_s * (config.audit.rows if judges_audit else 0)
    return load_s + rows_s, load_s


def _assumed(of_models: Mapping[str, float], prices: Prices | None) -> float:
    """Estimates the cost of a judge that is not measured yet: the seconds of both models together, where a served model
    counts like the other one."""
    if prices is None:
        return sum(of_models.values())
    seconds = [cost / prices.of(size).second for size, cost in of_models.items() if prices.of(size).second]
    return prices.of("judge").second * 2 * sum(seconds) / len(seconds)
