"""The closed loop of a budget in hours: tranches of the large model, each planned at the cost measured so far.

All of the large model's tranches are one execution, so that its actors load once: the items of a tranche wait until the
plan entry they belong to is written, which happens here, whenever enough of the work before it is committed. The small
model goes through the rows that are surely not routed, side by side with the large one where both pools fit, else before
it and, for the remainder, after it.
"""

import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from routelmt_ray import cluster, metering
from routelmt_ray.budget.closed_loop import Position, Rate, tranche_capacity, widest_capacity
from routelmt_ray.plan import AUDIT, CANDIDATES, OPENING, TRANCHE, LegOf
from routelmt_ray.planning import Planner
from routelmt_ray.rundir import RunDir
from routelmt_ray.schema import LARGE, SMALL
from routelmt_ray.stages.allocate import Tally
from routelmt_ray.stages.translate import Always

log = logging.getLogger(__name__)

_ENOUGH_SMALL = 0.1
"""Share of the small model's first rows that must be done before the large model's first tranche is planned."""
_MOST_OWED = 0.1
"""Most of the budget that the small model may still owe, on rows settled before, when the last tranche is planned."""


class BudgetTooSmall(ValueError):
    """What must be done costs more than was asked for."""


@dataclass
class _Done:
    """Work of one stage that is committed."""

    shards: set[int] = field(default_factory=set)
    predicted_s: float = 0.0
    device_s: float = 0.0

    def add(self, shard: int, learnt: Mapping[str, Any]) -> None:
        if shard in self.shards:  # a second writer of a shard reports too
            return
        self.shards.add(shard)
        self.predicted_s += learnt["predicted_s"]
        self.device_s += learnt["device_s"]


@dataclass
class ClosedLoop:
    """Drives the tranches of one series."""

    planner: Planner
    """Writes the entries."""
    work: Callable[..., cluster.Work]
    """(title, size, leg_of, rows) -> the work of one model's legs; the pipeline is the job's."""
    carry_out: Callable[..., None]
    """Runs works: (works, on_commit, in_order)."""
    _done: dict[str, _Done] = field(default_factory=dict)
    _started: float = field(default_factory=time.time)

    @property
    def _run(self) -> RunDir:
        return self.planner.corpus.context.run

    @property
    def _budget_s(self) -> float:
        hours = self.planner.config.budget.gpu_hours
        assert hours is not None
        return hours * 3600

    @property
    def _shards(self) -> int:
        return len(self.planner.corpus.plan)

    def run(self) -> None:
        """Plans and translates until every row has its model.

        Raises:
            BudgetTooSmall: the budget does not cover the small model on every row.
            StageFailed: shards did not commit.
        """
        planner, models = self.planner, self.planner.config.models
        candidates = [f"{SMALL}/{entry['entry']:03d}" for entry in planner.series.of(CANDIDATES)]
        for stage in (*candidates, *self._stages()):
            self._done[stage] = _Done()
            for shard, meta in self._run.metas(stage).items():
                self._done[stage].add(shard, meta)
        if not planner.series.of(OPENING):
            self._open()
        small, large = (self._work(size) for size in (SMALL, LARGE))
        if cluster.pools_fit_together([models.small.pool, models.large.pool]):
            self._in_order([large, small])
            return
        series = planner.series
        first = [f"{SMALL}/{series.audit_name}", f"{SMALL}/{series.of(OPENING)[0]['entry']:03d}"]
        self.carry_out(
            [replace(small, rows={task: n for task, n in small.rows.items() if task[0] in first})], self._learn
        )
        self._in_order([large])
        rest = planner.series.leg_remainder()
        rows = {(rest.stage, shard): 0 for shard in range(self._shards)}
        self.carry_out([self.work("translate, small", SMALL, Always(rest), rows)], self._learn)

    def room_us(self) -> int | None:
        """Microseconds the large model may add as profiled, before anything is decided; None for a budget in rows."""
        if self.planner.config.budget.gpu_hours is None:
            return None
        return tranche_capacity(self._position(self.planner.outlook()), 0, 1).microseconds

    # What is carried out

    def _work(self, size: str) -> cluster.Work:
        stages = [stage for stage in self._stages() if stage.startswith(f"{size}/")]
        opening = self.planner.series.of(OPENING)[0]
        if size == LARGE and not opening["tally"]["routed"]:  # no floors: nothing is routed yet
            stages.remove(f"{LARGE}/{opening['entry']:03d}")
        tasks = {(stage, shard): 0 for stage in stages for shard in range(self._shards)}
        return self.work(f"translate, {size}", size, LegOf(self.planner.series, size), tasks)

    def _stages(self) -> list[str]:
        """Stages of all legs, in the order they are taken up."""
        series, config = self.planner.series, self.planner.config
        opening = series.of(OPENING)[0]["entry"] if series.of(OPENING) else series.next_number
        numbers = [f"{opening + i:03d}" for i in range(config.budget.tranches + 1)]
        if config.audit.rows:
            numbers.insert(0, series.audit_name)
        return [f"{size}/{name}" for name in numbers for size in (SMALL, LARGE)]

    def _in_order(self, works: list[cluster.Work]) -> None:
        self._advance(works)
        try:
            self.carry_out(works, functools.partial(self._learn, works=works), in_order=True)
        except cluster.StageFailed as failure:
            log.warning("%s; its tranches are carried out one by one", failure)
            self._one_by_one(works)

    def _one_by_one(self, works: list[cluster.Work]) -> None:
        """What is left where a shard keeps failing: one that fails is passed by, and the models load for each tranche."""
        failure: cluster.StageFailed | None = None
        for stage in dict.fromkeys(stage for work in works for stage, _ in work.rows):
            while not self._ready(stage):
                self._add_tranche()
            rest = [
                replace(work, rows={task: n for task, n in work.rows.items() if task[0] == stage}) for work in works
            ]
            try:
                self.carry_out([work for work in rest if work.rows], self._learn)
            except cluster.StageFailed as error:
                failure = error
        if failure is not None:
            raise failure

    def _ready(self, stage: str) -> bool:
        name = stage.partition("/")[2]
        return not name.isdigit() or int(name) < self.planner.series.next_number

    # What is learnt and decided

    def _learn(
        self, stage: str, shard: int, learnt: Mapping[str, Any], works: list[cluster.Work] | None = None
    ) -> None:
        self._done[stage].add(shard, learnt)
        if works is not None:
            self._advance(works)

    def _advance(self, works: list[cluster.Work]) -> None:
        """Writes the next entry as soon as enough is known for it."""
        while not self.planner.series.settled and self._may_plan(works):
            self._add_tranche()

    def _may_plan(self, works: list[cluster.Work]) -> bool:
        series = self.planner.series
        mine = {stage for work in works for stage, _ in work.rows}
        large = [f"{LARGE}/{series.last['entry']:03d}", f"{LARGE}/{series.audit_name}"]
        if any(len(self._done[stage].shards) < self._shards for stage in large if stage in mine):
            return False
        if (
            f"{SMALL}/{series.last['entry']:03d}" not in mine
        ):  # the pools take turns: the small model is done, or to come
            return True
        tally = Tally.from_dict(series.last["tally"])
        if len(series.of(TRANCHE)) == 0:
            asked = tally.owed[0][0] + tally.audit_small_s
            return self._rate(SMALL).predicted_s >= _ENOUGH_SMALL * asked
        if len(series.of(TRANCHE)) == self.planner.config.budget.tranches - 1:
            owed = self._owed(tally)[0] - tally.open_small_s
            return owed * self._rate(SMALL).scale <= _MOST_OWED * self._budget_s
        return True

    def _open(self) -> None:
        position = self._position(self.planner.outlook())
        if position.shortage_s > 0:
            raise BudgetTooSmall(self._too_small(position, "as profiled"))
        self.planner.open(widest_capacity(position, trusted=self.planner.config.budget.tranches == 1))

    def _add_tranche(self) -> None:
        series, tranches = self.planner.series, self.planner.config.budget.tranches
        position = self._position(Tally.from_dict(series.last["tally"]))
        if position.shortage_s > 0 and tranches > 1 and position.small.known:
            raise BudgetTooSmall(self._too_small(position, "as measured so far"))
        tranche = len(series.of(TRANCHE))
        capacity, widest = tranche_capacity(position, tranche, tranches), widest_capacity(position)
        self.planner.add_tranche(
            capacity,
            widest,
            position={**{key: getattr(position, key) for key in _POSITION}, "unit": self._unit()},
            capacity_s=capacity.microseconds / 1e6,
            scale_small=capacity.scale_small,
            scale_large=capacity.scale_large,
        )
        cut = self.planner.series.last["routed"]["cut"]
        log.info(
            "tranche %d of %d: %d rows for about %.0f more seconds; spent %.0f of %.0f; measured over profiled cost: small %.2f, "
            "large %.2f", tranche + 1, tranches, cut["k"], cut["weight"] / 1e6, position.spent_s, position.budget_s,
            capacity.scale_small, capacity.scale_large,
        )  # fmt: skip

    def _position(self, tally: Tally) -> Position:
        small_s, large_s = self._owed(tally)
        return Position(
            budget_s=self._budget_s,
            spent_s=metering.total_s(self._run, now=time.time()),
            fixed_s=self._loads_s(),
            small_todo_s=small_s,
            large_todo_s=large_s,
            small=self._rate(SMALL),
            large=self._rate(LARGE),
        )

    def _owed(self, tally: Tally) -> tuple[float, float]:
        """Profiled seconds still to be done by the small and the large model if no further row is routed."""
        both = self.planner.series.rule.both
        small = tally.open_small_s + tally.audit_small_s + sum(own + both * routed for own, routed, _ in tally.owed)
        large = tally.audit_large_s + sum(of for _, _, of in tally.owed)
        done = {size: self._rate_of(size).predicted_s for size in (SMALL, LARGE)}
        return max(0.0, small - done[SMALL]), max(0.0, large - done[LARGE])

    def _rate_of(self, size: str) -> Rate:
        done = [d for stage, d in self._done.items() if stage.startswith(f"{size}/")]
        return Rate(sum(d.predicted_s for d in done), sum(d.device_s for d in done))

    def _rate(self, size: str) -> Rate:
        """A model's work so far, with its share of the time that its actors held a device and had nothing to do."""
        rate = self._rate_of(size)
        readings = [r for r in metering.readings(self._run) if r.kind == size]
        busy_s, held_s = sum(r.busy_s for r in readings), sum(r.device_s - r.load_s for r in readings)
        return Rate(rate.predicted_s, rate.measured_s * max(1.0, held_s / busy_s if busy_s else 1.0))

    def _loads_s(self) -> float:
        """Device-seconds of loads to come."""
        cost, models = self.planner.series.rule.cost, self.planner.config.models
        assert cost is not None
        total = 0.0
        for size, model in ((SMALL, models.small), (LARGE, models.large)):
            ours = [r for r in metering.readings(self._run) if r.kind == size and r.state != metering.LOADING]
            loaded = sum(datetime.fromisoformat(r.started).timestamp() >= self._started for r in ours)
            load_s = sum(r.load_s for r in ours) / len(ours) if ours else cost.translator(size).load_s
            total += load_s * max(0, model.pool.actors - loaded)
        again = not cluster.pools_fit_together([models.small.pool, models.large.pool])  # for the remainder
        again |= self.planner.config.guard.keep_better is not None
        return total + again * cost.small.load_s * models.small.pool.actors + self.planner.judge_load_s()

    def _unit(self) -> str:
        cost = self.planner.series.rule.cost
        assert cost is not None
        return cost.unit

    def _too_small(self, position: Position, how: str) -> str:
        need = position.committed_s / 3600 / 0.99
        return (
            f"budget.gpu_hours is {self._budget_s / 3600:g}, but the small model alone takes the job to "
            f"{position.committed_s / 3600:.4g} hours of {self._unit()} {how} ({position.spent_s / 3600:.4g} are spent); set "
            f"budget.gpu_hours to at least {need:.4g}"
        )


_POSITION = ("budget_s", "spent_s", "fixed_s", "small_todo_s", "large_todo_s")


@dataclass(frozen=True)
class Written:
    """Whether the plan entry an item of work belongs to is written."""

    run: RunDir
    """The run directory."""

    def __call__(self, item: pa.Table) -> bool:
        """True once the item may go on."""
        entry = item["entry"][0].as_py()
        return entry == AUDIT or self.run.plan_path(entry).exists()


def entry_of(stage: str) -> int:
    """The plan entry a stage's item of work names."""
    name = stage.partition("/")[2]
    return int(name) if name.isdigit() else AUDIT
