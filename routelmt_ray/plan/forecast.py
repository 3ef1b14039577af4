"""Predicts what a budget would buy: the frontier of a scored corpus, and the cost by stage, before any translation.

Costs are in the unit of the cost model: device-seconds, or money.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from routelmt_ray.account.offer import Offer
from routelmt_ray.budget import Search
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.budget.keys import to_keys
from routelmt_ray.budget.price import Prices, planned_prices, second_of
from routelmt_ray.budget.rule import UNSCALED, Decision, Rule
from routelmt_ray.config.common import ModelsConfig, PoolConfig
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.plan.closed_loop import ClosedLoop
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages.routes import ShardRows, decide, open_values
from routelmt_ray.storage.rundir import RunDir

_POINTS = 100
_BINS = 1 << 16
_UNPLANNED = 0.005
"""Share of a budget in hours that is never planned with; see budget/closed_loop.py."""
_MARGIN = 1.07
"""Seconds that a budget needs for each second that a row is profiled to take more on the large model: its rate is never
known better than this."""


def forecast(planner: Planner, room_left: int | None) -> dict[str, Any]:
    """Predicts cost, gain and frontier of a budget, as the ``forecast`` of report.json.

    `room_left` is what a budget in hours or money leaves to the large model, in the parts that rows are weighed in.
    """
    rule, corpus, cost = planner.rule, planner.corpus, planner.rule.cost
    assert cost is not None
    prices = planned_prices(planner.config)
    models = planner.config.models
    loads_s = _loads(cost, models)
    fixed_s = fixed_cost(corpus.context.run, cost, models, prices)
    # What a budget buys beyond floors and beyond rows that are paid already.
    floors = rule.then(Decision(None, None, final=False))
    seed, known = corpus.context.seed, corpus.tally(floors)
    search = (
        Search(capacity=room_left, seed=seed)
        if planner.k is None
        else Search(k=max(0, planner.k - known.routed), seed=seed)
    )
    decided = floors.then(Decision(corpus.find_cut(floors, search, UNSCALED)))
    everything = floors.then(Decision(corpus.find_cut(floors, Search(k=1 << 62, seed=seed), UNSCALED)))
    asked, most = corpus.tally(decided), corpus.tally(everything)
    n_eligible, has_unit = planner.n_eligible, planner.config.router.is_gain
    small_s, large_s = asked.seconds(rule.both)
    large_s += planner.judge_row_s * asked.routed
    all_small_s = known.open_small_s + known.audit_small_s + sum(map(sum, known.owed))
    all_small_s += planner.judge_row_s * known.routed

    def won(gain: float) -> float | None:
        return gain / (planner.eligible_rows or n_eligible) if n_eligible and has_unit else None

    stages = [
        _stage(SMALL, small_s, cost.small.relative_error, models.small.pool, loads_s[SMALL], prices),
        _stage(LARGE, large_s, cost.large.relative_error, models.large.pool, loads_s[LARGE], prices),
    ]
    walls = [stage["wall_s"] for stage in stages]
    together = cluster.pools_fit_together([models.small.pool, models.large.pool])
    curve = [(0, 0.0, 0.0), *_curve(_count_curve(corpus, floors))]
    return {
        "unit": cost.unit,
        "relative_error": sum(stage["high"] - stage["seconds"] for stage in stages)
        / max(fixed_s + small_s + large_s, 1e-9),
        "all_small_s": fixed_s + all_small_s,
        "all_large_s": fixed_s + sum(most.seconds(rule.both)) + planner.judge_row_s * most.routed,
        "fixed_s": fixed_s,
        "asked": {
            "rows": asked.routed,
            "share": asked.routed / n_eligible if n_eligible else 0.0,
            "gain_won": won(asked.gain),
            "small_s": small_s,
            "large_s": large_s,
            "total_s": fixed_s + small_s + large_s,
            "wall_s": None if None in walls else max(walls) if together else sum(walls),
        },
        "saved_s": _saved(corpus, decided) if rule.once else None,
        "stages": stages,
        "pairs": _pairs(corpus.over(count_pairs, decided), has_unit),
        "frontier": [
            {
                "rows": known.routed + rows,
                "share": (known.routed + rows) / n_eligible if n_eligible else 0.0,
                "gain_won": won(known.gain + gain),
                "total_s": fixed_s + all_small_s + extra_s,
            }
            for rows, gain, extra_s in curve
        ],
    }


def fixed_cost(run: RunDir, cost: CostModel, models: ModelsConfig, prices: Prices | None) -> float:
    """Sums up what a run has spent so far and the loads to come, in the unit of a cost model: money with prices."""
    return meter_readings.total_s(run, prices=prices) + sum(_loads(cost, models).values())


def _loads(cost: CostModel, models: ModelsConfig) -> dict[str, float]:
    pools = {SMALL: models.small.pool, LARGE: models.large.pool}
    return {size: cost.translator(size).load_s * pool.actors for size, pool in pools.items()}


def _stage(
    name: str, seconds: float, error: float | None, pool: PoolConfig, load_s: float, prices: Prices | None
) -> dict[str, Any]:
    spread = error or 0.0
    held = pool.actors * (pool.gpus or 1.0) * second_of(name, prices)
    return {
        "name": name,
        "seconds": seconds,
        "low": seconds * max(0.0, 1 - spread),
        "high": seconds * (1 + spread),
        "wall_s": (seconds + load_s) / held if held else None,  # how fast a server is, is not known
    }


def _count_curve(corpus: ScoredCorpus, rule: Rule) -> np.ndarray:
    """Sums rows, predicted gain and extra seconds of open rows by the high 16 bits of their value, best first: (3, 65536)."""

    def count(rows: ShardRows) -> np.ndarray:
        values, weights = open_values(rows, rule, UNSCALED)
        chosen = ~np.isnan(values)
        bins = (_BINS - 1) - (to_keys(values[chosen], rows.first_place) >> np.uint32(16)).astype(np.intp)
        extra_s = np.zeros(len(bins))
        if weights is not None and rule.cost is not None:
            extra_s = weights[chosen] / rule.cost.parts
        return np.stack([np.bincount(bins, by, _BINS) for by in (None, rows.total_gains[chosen], extra_s)])

    return corpus.total(rule, count, np.zeros((3, _BINS)))


def _saved(corpus: ScoredCorpus, rule: Rule) -> float:
    """Sums up the device-seconds that the repeats of a corpus would take, each by the model of its first row."""

    def count(rows: ShardRows) -> float:
        seconds = np.where(decide(rows, rule).routed, rows.large_s, rows.small_s)
        return float((seconds * (rows.stands_for - 1).clip(0))[rows.ok].sum())

    return corpus.total(rule, count, 0.0)


def _curve(sums: np.ndarray) -> list[tuple[int, float, float]]:
    """Points of rising budget, evenly spread over the extra seconds: total rows, gain and extra seconds up to each."""
    rows, gain, extra_s = np.cumsum(sums, axis=1)
    if not rows[-1]:
        return []
    axis = extra_s if extra_s[-1] > 0 else rows
    at = np.unique(np.searchsorted(axis, axis[-1] * np.linspace(0, 1, _POINTS + 1)[1:]).clip(max=_BINS - 1))
    return [(int(rows[i]), float(gain[i]), float(extra_s[i])) for i in at]


def count_pairs(context: RunContext, shards: Sequence[Shard], rule: Rule) -> dict[str, np.ndarray]:
    """Counts eligible rows and routed rows by language pair, and sums the predicted gain of the routed ones.

    Returns:
        For each pair these three numbers, and the eligible rows with their repeats, float64, shape ``(4,)``.
    """
    found: dict[str, np.ndarray] = {}
    for shard in shards:
        rows = ShardRows(context, rule, shard)
        routed = decide(rows, rule).routed
        codes, names = rows.pairs()
        for code, name in enumerate(names):
            of = (codes == code) & ~np.isnan(rows.gains)
            sums = [of.sum(), (of & routed).sum(), rows.total_gains[of & routed].sum(), rows.stands_for[of].sum()]
            found[name] = found.get(name, np.zeros(4)) + sums
    return found


def _pairs(parts: Iterable[dict[str, np.ndarray]], has_unit: bool) -> list[dict[str, Any]]:
    total: dict[str, np.ndarray] = {}
    for part in parts:
        for pair, sums in part.items():
            total[pair] = total.get(pair, np.zeros(4)) + sums
    return [
        {
            "pair": pair,
            "rows": int(rows),
            "routed": int(routed),
            "gain_won": float(gain / with_repeats) if has_unit and rows else None,
        }
        for pair, (rows, routed, gain, with_repeats) in sorted(total.items(), key=lambda item: (-item[1][0], item[0]))
    ]


def tonight(planner: Planner) -> tuple[Offer, float]:
    """Sums up what the scored rows of a job offer before it has decided anything; one in hours needs a cost model.

    Returns the offer, and the device-seconds that the job wants beside, for engines that die: 0 for a budget in rows.
    """
    floors = planner.rule.then(Decision(None, None, final=False))
    rows, gain, extra_s = _count_curve(planner.corpus, floors)
    if planner.k is not None:
        return Offer.of_bins(planner.n_eligible, float(planner.outlook().routed), gain, rows), 0.0
    position = ClosedLoop(planner, _no_work, _no_work).position()
    cost = planner.rule.cost
    assert cost is not None
    need_s = position.committed_s + position.small_todo_s * (cost.small.relative_error or 0.0)
    base_s, reserve_s = (seconds / (1 - _UNPLANNED) for seconds in (need_s, position.reserve_s))
    return Offer.of_bins(planner.n_eligible, base_s, gain, _MARGIN * extra_s), reserve_s


def _no_work(*_: Any, **__: Any) -> Any:
    raise AssertionError("only its position is asked for")
