"""Whole runs of the closed loop without Ray: the real loop, planner, series and books over a corpus in memory.

What is drawn by a seed is the truth that a run meets: what rows, batches and loads really cost, where the pools find room,
who dies when. Clocks are simulated, so a run of hours takes milliseconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from routelmt_ray.budget.cost import SERVED as COUNTED
from routelmt_ray.budget.cost import CostModel, output_mean
from routelmt_ray.budget.price import in_money, planned_prices
from routelmt_ray.budget.rule import CHECK
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.price import ModelPriceConfig
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.plan import closed_loop, tranches
from routelmt_ray.plan.plan import Series, configured_rule
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime import pipelines
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.stages import routes as deciding
from routelmt_ray.stages.translate import Always
from tests.budget.simulated_corpus import Corpus, Rows, Run
from tests.budget.simulated_machine import TOKENS, Killed, Machine, Truth
from tests.budget.test_cost import model
from tests.end_to_end.runs import ECHO

WORDS = [*ECHO, "run_dir=x", "input.path=x", "budget.gpu_hours=1", "router.kind=length", "router.scale=1"]
CONFIG = configlib.load(TranslateConfig, [], WORDS)
_SERVED = ["models.large.engine=openai", "models.large.path=a/b", "models.large.endpoint.concurrency=2"]
_SERVED += ["budget.gpu_hours=null", "budget.rows=1"]
SERVED_LARGE = configlib.load(TranslateConfig, [], [*WORDS, *_SERVED])
ROUNDS = CONFIG.ray.rounds
_WITHIN, _CURRENT_RULE, _DIGEST = deciding._within, Series.current_rule, CostModel.digest


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    budget_s: float
    spent_s: float
    refused: bool = False
    loads: tuple[int, int] = (0, 0)
    """Engines of each model that were loaded."""
    routed: int = 0
    reserve_s: float = 0.0
    """Kept back for deaths."""
    by_check: int = 0
    """Routed rows whose small translation failed a check."""
    rows_left: bool = True
    """True where rows were left that a larger budget would have routed."""
    failed: "Failure | None" = None
    """How a start ended before this one."""

    @property
    def used(self) -> float:
        return self.spent_s / self.budget_s


@dataclass(frozen=True)
class Failure:
    """How a start ended in which a piece of work failed."""

    undone: frozenset[int]
    """Shards with rows that have no translation."""
    entries: int
    """Plan entries."""
    loads: tuple[int, int]
    """Engines of each model that were loaded."""


def remembering(function: Callable[..., Any], key: Callable[..., Any] = id) -> Callable[..., Any]:
    """Returns a function that works each result out once: a third of the time of a run is spent on results it has had."""
    known: dict[Any, Any] = {}

    def call(*arguments: Any) -> Any:
        at = key(*arguments)
        if at not in known:
            known[at] = arguments, function(*arguments)  # as long as the arguments live, their ids are not used again
        return known[at][1]

    return call


def priced(truth: Truth) -> TranslateConfig:
    """The configuration of a run with a budget in money."""
    assert truth.prices is not None
    small, large = truth.prices
    config, price = (SERVED_LARGE if truth.served else CONFIG), ModelPriceConfig(gpu_hour=large)
    if truth.served:
        price = ModelPriceConfig(input_tokens=0.0, output_tokens=large / 3600 / TOKENS * 1e6)
    prices = replace(config.price, small=ModelPriceConfig(gpu_hour=small), large=price)
    return replace(config, price=prices, budget=replace(config.budget, gpu_hours=None, rows=None, money=1.0))


def simulate(truth: Truth, patch: pytest.MonkeyPatch) -> Outcome:
    """Runs a job from its plan to its last translation."""
    patch.setattr(deciding, "_within", remembering(_WITHIN, lambda _, band, still: (band, still.tobytes())))
    patch.setattr(Series, "current_rule", remembering(_CURRENT_RULE))
    patch.setattr(CostModel, "digest", remembering(_DIGEST))
    rng = np.random.default_rng(truth.seed)
    n = truth.rows
    tokens = rng.lognormal(3, 0.6, n)
    tokens /= tokens.mean()
    true_s = {size: row_s * tokens * rng.lognormal(-0.03, 0.25, n) for size, row_s in zip((SMALL, LARGE), truth.row_s)}
    small_s, large_s = (row_s * wrong * tokens for row_s, wrong in zip(truth.row_s, truth.wrong))
    plain = CONFIG if truth.prices is None else priced(truth)
    prices = planned_prices(plain)
    small_rate = large_rate = 1.0
    if prices is not None:
        small_rate = prices.small.second
        large_rate = TOKENS * prices.large.completion_token if truth.served else prices.large.second
    gains = np.abs(rng.normal(0.1, 0.1, n)) + 1e-3
    rows = Rows(gains, small_rate * small_s, large_rate * large_s, 1_000_000 if prices is None else 1_000_000_000)
    shard_of = np.arange(n) * truth.shards // n
    # What the job takes without a routed row, and what all-large takes beyond it.
    rates = (small_rate, large_rate)
    loads_s = [s * rate * min(count, truth.shards) for s, rate, count in zip(truth.load_s, rates, truth.actors)]
    batches_s = [
        truth.shards * batch * row_s * rate for batch, row_s, rate in zip(truth.batch_rows, truth.row_s, rates)
    ]
    least_s = (2 - truth.together) * loads_s[0] + loads_s[1] + 1.5 * batches_s[0]
    least_s += small_rate * true_s[SMALL].sum() * (1 + truth.drift)
    least_s += sum(truth.judge_s)
    least_s = (least_s + (loads_s[0] + loads_s[1]) * truth.load_error) / 0.98
    kept_s = truth.reserve * (
        sum(loads_s)
        + truth.judge_s[0]
        + sum(count * rate for count, rate in zip(truth.actors, rates)) * meter_readings.HEARTBEAT_S * (truth.gpus or 1)
    )
    extra_s = float((large_rate * true_s[LARGE] - small_rate * true_s[SMALL]).sum())
    budget_s = least_s + kept_s + truth.share * max(0.0, extra_s)
    models = plain.models
    sizes = {}
    for i, (name, one) in enumerate(((SMALL, models.small), (LARGE, models.large))):
        gpus = 0.0 if i and truth.served else truth.gpus
        pool = replace(one.pool, actors=truth.actors[i], gpus=gpus)
        sizes[name] = replace(one, pool=pool, batch_rows=truth.batch_rows[i])
    config = replace(
        plain,
        models=replace(models, small=sizes[SMALL], large=sizes[LARGE]),
        budget=replace(
            plain.budget,
            reserve=truth.reserve,
            **({"gpu_hours": budget_s / 3600} if prices is None else {"money": budget_s}),
        ),
    )
    means = {"probe": 0.0, SMALL: float(small_s.mean()), LARGE: float(large_s.mean())}
    if truth.held is not None:
        config = replace(config, checks=replace(config.checks, action="escalate", reserve=truth.held))
        rows.failing = np.random.default_rng([truth.seed, 2]).random(n) < truth.faulty
    cost = model(mean_row_s=means)
    cost = replace(
        cost, small=replace(cost.small, load_s=truth.load_s[0]), large=replace(cost.large, load_s=truth.load_s[1])
    )
    if truth.served:  # as a profile counts it
        cost = replace(
            cost,
            large=replace(cost.large, unit=COUNTED),
            mean_row_s=means | {output_mean(LARGE): means[LARGE] * TOKENS},
        )
        cost = replace(cost, mean_row_s=cost.mean_row_s | {LARGE: means[LARGE] * TOKENS})
    if prices is not None:
        cost = in_money(cost, prices)
    run = Run()
    translated = {size: np.zeros(n, bool) for size in (SMALL, LARGE)}
    corpus = Corpus(SimpleNamespace(run=run, seed=0), rows, shard_of, truth.shards, truth.batch_rows[1], translated)
    likely = np.argsort(-(rows.gains / rows.large_s))[: max(1, n // 10)]
    failing = set(rng.choice(likely, min(truth.failing, len(likely)), replace=False).tolist())
    about = 3 * truth.shards  # pieces with rows
    machine = Machine(
        truth, corpus, run, true_s, rng, failing, deaths={1 + int(share * about) for share in truth.deaths},
        kill_at=None if truth.kill is None else 1 + int(truth.kill * about), broken=truth.broken, prices=prices,
    )  # fmt: skip
    patch.setattr(closed_loop.cluster, "pools_fit_together", lambda pools: truth.together)
    patch.setattr(tranches, "figures", lambda: SimpleNamespace(planned=lambda *_: None))
    base: dict[str, Any] = dict.fromkeys(("audit", "strata")) | {
        f"{key}_{size}": [] for key in ("earlier", "paid") for size in (SMALL, LARGE)
    }
    base = {"audit": None, "strata": None, **{k: v for k, v in base.items() if isinstance(v, list)}}

    def start() -> Outcome:
        series = Series(configured_rule(config, cost), 0, base, tuple(run.plans()))
        planner = Planner(config, corpus, n, series)  # type: ignore[arg-type]
        patch.setattr(tranches, "judge_to_come", lambda *_: (sum(truth.judge_s), truth.judge_s[0]))

        def carry_out(works: list[Any], on_commit: Any = None, *, in_order: bool = False, tries: int = ROUNDS) -> None:
            for left in reversed(range(min(tries, ROUNDS))):
                try:
                    machine.carry_out(lambda: planner.series, works, on_commit, in_order)
                    break
                except pipelines.StageFailed:
                    if not left:
                        raise

        loop = closed_loop.ClosedLoop(planner, work, carry_out, machine)
        loop.run()
        if truth.held is not None:
            loop.escalate()
        fallback, failed = planner.series.leg_fallback(), planner.series.failed(run)  # type: ignore[arg-type]
        tasks = {(fallback.stage, shard): rows for shard, rows in failed.items()}
        carry_out([work("translate, fallback", SMALL, Always(fallback), tasks)])
        machine.before_s += sum(truth.judge_s) + truth.judge_dies * truth.judge_s[0]
        routes = corpus.decide(planner.series.current_rule())
        assert (routes.routed | routes.small).all(), "every row has its model"
        assert translated[SMALL][routes.small].all(), "the small model's rows are translated"
        assert (translated[LARGE] | translated[SMALL])[routes.routed].all(), "and so are the large model's"
        left, by_check = bool(routes.small.any()), int((routes.reason == CHECK).sum())
        assert not rows.failing.any() or rows.failing[routes.reason == CHECK].all()
        return Outcome(budget_s, machine.spent_s(), False, loads(), int(routes.routed.sum()), kept_s, by_check, left)

    def loads() -> tuple[int, int]:
        small, large = (sum(actor.kind == size for actor in machine.actors) for size in (SMALL, LARGE))
        return small, large

    try:
        return start()
    except tranches.BudgetTooSmall:
        return Outcome(budget_s, 0.0, refused=True)
    except Killed:
        return start()
    except pipelines.StageFailed:
        undone = shard_of[~(translated[SMALL] | translated[LARGE])]
        failed = Failure(frozenset(undone.tolist()), len(run.plans()), loads())
        machine.broken = None
        return replace(start(), failed=failed)


@dataclass(frozen=True)
class SimWork:
    """A work, with what the machine wants to know of it."""

    title: str
    size: str
    leg_of: Any
    rows: Mapping[pipelines.Task, int]
    expected: Any = None

    part = pipelines.Work.part


def work(title: str, size: str, leg_of: Any, rows: Mapping[pipelines.Task, int]) -> Any:
    return SimWork(title, size, leg_of, rows)
