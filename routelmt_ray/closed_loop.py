"""The closed loop of a budget in hours: tranches of the large model, each planned at the cost measured so far.

All of the large model's tranches are one execution, so that its actors load once: the items of a tranche wait until the
plan entry they belong to is written, which happens here, whenever enough of the work before it is committed. The small
model goes through the rows that are surely not routed, side by side with the large one where both pools fit, else before
it and, for the remainder, after it.
"""

import functools
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from routelmt_ray import cluster, pipelines
from routelmt_ray.budget.closed_loop import Position, tranche_capacity, widest_capacity
from routelmt_ray.job import Refused
from routelmt_ray.ledger import Ledger
from routelmt_ray.plan import AUDIT, CANDIDATES, OPENING, TRANCHE, LegOf
from routelmt_ray.planning import Planner
from routelmt_ray.schema import LARGE, SMALL
from routelmt_ray.stages.allocate import Tally
from routelmt_ray.stages.due import entry_of
from routelmt_ray.stages.translate import Always
from routelmt_ray.telemetry import figures

log = logging.getLogger(__name__)

_ENOUGH_KNOWN = 0.1
"""How well the small model's rate is to be known before the large model's first tranche is planned; else all of the rows
that it starts with are waited for."""
_MOST_OWED = 0.05
"""Most of the budget that the small model may still owe, on rows settled before, when the last tranche is planned."""


class BudgetTooSmall(Refused):
    """What must be done costs more than was asked for."""


@dataclass
class ClosedLoop:
    """Drives the tranches of one series."""

    planner: Planner
    """Writes the entries."""
    work: Callable[..., pipelines.Work]
    """(title, size, leg_of, rows) -> the work of one model's legs; the pipeline is the job's."""
    carry_out: Callable[..., None]
    """Runs works: (works, on_commit, in_order)."""

    def __post_init__(self) -> None:
        """Opens the books."""
        self._ledger = Ledger(self.planner.config, self.planner.corpus.context.run, self.planner.series.rule)

    @property
    def _opening(self) -> int:
        """The entry that opens the series, written or not."""
        series = self.planner.series
        return series.of(OPENING)[0]["entry"] if series.of(OPENING) else series.next_number

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
            self._ledger.take_up(stage)
        if not planner.series.of(OPENING):
            self._open()
        small, large = (self._work(size) for size in (SMALL, LARGE))
        if cluster.pools_fit_together([models.small.pool, models.large.pool]):
            self._in_order([large, small])
            return
        self._in_turn(small, large)

    def _in_turn(self, small: pipelines.Work, large: pipelines.Work) -> None:
        """The pools take turns on the same devices: the small model, all tranches but the last, the small model, and so on.

        Before the last tranche is planned the small model does what is settled by then, so that little of its work is left
        to be foretold; not where loading both models once more would cost more than that is worth.
        """
        series = self.planner.series
        first = [f"{SMALL}/{series.audit_name}", f"{SMALL}/{self._opening:03d}"]
        last = f"{LARGE}/{self._opening + self.planner.config.budget.tranches:03d}"
        self.carry_out([_only(small, first)], self._learn)
        self._in_order([_only(large, {stage for stage, _ in large.rows} - {last})])
        if not self.planner.series.settled:
            position = self._position(Tally.from_dict(self.planner.series.last["tally"]))
            foretold_s = position.small.error * position.small.scale * position.small_todo_s
            if foretold_s > self._ledger.load_s(SMALL) + self._ledger.load_s(LARGE):
                self._remainder()
        self._in_order([_only(large, [last])])
        self._remainder()

    def _remainder(self) -> None:
        """The small model does all that is settled and not done."""
        leg = self.planner.series.leg_remainder()
        self._ledger.take_up(leg.stage)
        rows = {(leg.stage, shard): 0 for shard in range(self._shards)}
        self.carry_out([self.work("translate, small", SMALL, Always(leg), rows)], self._learn)

    def room_us(self) -> int | None:
        """Microseconds the large model may add as profiled, before anything is decided; None for a budget in rows."""
        if self.planner.config.budget.gpu_hours is None:
            return None
        return tranche_capacity(self._position(self.planner.outlook()), 0, 1).microseconds

    # What is carried out

    def _work(self, size: str) -> pipelines.Work:
        stages = [stage for stage in self._stages() if stage.startswith(f"{size}/")]
        opening = self.planner.series.of(OPENING)[0]
        if size == LARGE and not opening["tally"]["routed"]:  # no floors: nothing is routed yet
            stages.remove(f"{LARGE}/{opening['entry']:03d}")
        tasks = {(stage, shard): 0 for stage in stages for shard in range(self._shards)}
        work = self.work(f"translate, {size}", size, LegOf(self.planner.series, size), tasks)
        return replace(work, expected=lambda: self._expected_rows(size))

    def _expected_rows(self, size: str) -> int:
        tally = Tally.from_dict(self.planner.series.last["tally"])
        return tally.routed if size == LARGE else tally.small + tally.open

    def _stages(self) -> list[str]:
        """Stages of all legs, in the order they are taken up."""
        series, config = self.planner.series, self.planner.config
        numbers = [f"{self._opening + i:03d}" for i in range(config.budget.tranches + 1)]
        if config.audit.rows:
            numbers.insert(0, series.audit_name)
        return [f"{size}/{name}" for name in numbers for size in (SMALL, LARGE)]

    def _in_order(self, works: list[pipelines.Work]) -> None:
        self._advance(works)
        try:
            self.carry_out(works, functools.partial(self._learn, works=works), in_order=True)
        except pipelines.StageFailed as failure:
            log.warning("%s; its tranches are carried out one by one", failure)
            self._one_by_one(works)

    def _one_by_one(self, works: list[pipelines.Work]) -> None:
        """What is left where a shard keeps failing: one that fails is passed by, and the models load for each tranche."""
        failure: pipelines.StageFailed | None = None
        for stage in dict.fromkeys(stage for work in works for stage, _ in work.rows):
            while not self._ready(stage):
                self._add_tranche()
            rest = [
                replace(work, rows={task: n for task, n in work.rows.items() if task[0] == stage}) for work in works
            ]
            try:
                self.carry_out([work for work in rest if work.rows], self._learn)
            except pipelines.StageFailed as error:
                failure = error
        if failure is not None:
            raise failure

    def _ready(self, stage: str) -> bool:
        return entry_of(stage) < self.planner.series.next_number

    # What is learnt and decided

    def _learn(
        self, stage: str, shard: int, learnt: Mapping[str, Any], works: list[pipelines.Work] | None = None
    ) -> None:
        self._ledger.add(stage, shard, learnt)
        if works is not None:
            self._advance(works)

    def _advance(self, works: list[pipelines.Work]) -> None:
        """Writes the next entry as soon as enough is known for it."""
        while not self.planner.series.settled and self._may_plan(works):
            self._add_tranche()

    def _may_plan(self, works: list[pipelines.Work]) -> bool:
        series = self.planner.series
        mine = {stage for work in works for stage, _ in work.rows}
        if f"{LARGE}/{series.next_number:03d}" not in mine:
            return False
        large = [f"{LARGE}/{series.last['entry']:03d}", f"{LARGE}/{series.audit_name}"]
        if any(self._ledger.shards(stage) < self._shards for stage in large if stage in mine):
            return False
        if (
            f"{SMALL}/{series.last['entry']:03d}" not in mine
        ):  # the pools take turns: the small model is done, or to come
            return True
        tally = Tally.from_dict(series.last["tally"])
        if len(series.of(TRANCHE)) == 0:
            rate, asked = self._ledger.rate(SMALL), tally.owed[0][0] + tally.audit_small_s
            enough = rate.known and rate.error <= _ENOUGH_KNOWN
            return enough or rate.predicted_s >= 0.999 * asked
        owed_s = (self._ledger.owed(tally)[0] - tally.open_small_s) * self._ledger.rate(SMALL).scale
        return owed_s <= _MOST_OWED * self._ledger.budget_s or not self._next_is_last(tally)

    def _next_is_last(self, tally: Tally) -> bool:
        tranche, tranches = len(self.planner.series.of(TRANCHE)), self.planner.config.budget.tranches
        return tranche_capacity(self._position(tally), tranche, tranches).final

    def _open(self) -> None:
        position = self._position(self.planner.outlook())
        if position.shortage_s > 0:
            raise BudgetTooSmall(self._too_small(position, "as profiled"))
        self.planner.open(widest_capacity(position, trusted=self.planner.config.budget.tranches == 1))

    def _add_tranche(self) -> None:
        series, tranches = self.planner.series, self.planner.config.budget.tranches
        position = self._position(Tally.from_dict(series.last["tally"]))
        if position.is_hopeless and tranches > 1 and position.small.known:
            raise BudgetTooSmall(self._too_small(position, "as measured so far"))
        tranche = len(series.of(TRANCHE))
        capacity, widest = tranche_capacity(position, tranche, tranches), widest_capacity(position)
        self.planner.add_tranche(
            capacity,
            widest,
            position={**{key: getattr(position, key) for key in _POSITION}, "unit": self._ledger.unit},
            capacity_s=capacity.microseconds / 1e6,
            scale_small=capacity.scale_small,
            scale_large=capacity.scale_large,
        )
        cut = self.planner.series.of(TRANCHE)[-1]["routed"]["cut"]
        figures().planned(position.budget_s, position.committed_s + cut["weight"] / 1e6)
        log.info(
            "tranche %d of %d: %d rows for about %.0f more seconds; spent %.0f of %.0f; measured over profiled cost: small %.2f, "
            "large %.2f", tranche + 1, tranches, cut["k"], cut["weight"] / 1e6, position.spent_s, position.budget_s,
            capacity.scale_small, capacity.scale_large,
        )  # fmt: skip

    def _position(self, tally: Tally) -> Position:
        models = self.planner.config.models
        again = not cluster.pools_fit_together(
            [models.small.pool, models.large.pool]
        )  # the small model, for the remainder
        to_come = {size: self._pieces_to_come(size, tally) for size in (SMALL, LARGE)}
        return self._ledger.position(tally, again, self.planner.judge_load_s(), to_come, self._shards)

    def _pieces_to_come(self, size: str, tally: Tally) -> int:
        """Pieces of the tranche that is planned and, of the small model, of what is settled, empty ones left out; those of a
        later tranche are its own affair."""
        series = self.planner.series
        numbers = {series.next_number}
        if size == SMALL:
            settled_s = tally.settled_small_s(series.rule.both)
            numbers |= {self._opening + i for i, seconds in enumerate(settled_s) if seconds > 0} | {AUDIT}
        stages = [stage for stage in self._stages() if stage.startswith(f"{size}/") and entry_of(stage) in numbers]
        return sum(self._shards - self._ledger.shards(stage) for stage in stages)

    def _too_small(self, position: Position, how: str) -> str:
        need = position.committed_s / 3600 / 0.99
        return (
            f"budget.gpu_hours is {self._ledger.budget_s / 3600:g}, but the job takes {position.committed_s / 3600:.4g} hours of "
            f"{self._ledger.unit} {how} even if no further row is routed ({position.spent_s / 3600:.4g} are spent); set "
            f"budget.gpu_hours to at least {need:.4g}. Committed work is kept"
        )


def _only(work: pipelines.Work, stages: Collection[str]) -> pipelines.Work:
    return replace(work, rows={task: rows for task, rows in work.rows.items() if task[0] in stages})


_POSITION = ("budget_s", "spent_s", "fixed_s", "small_todo_s", "large_todo_s")
