"""The closed loop of a budget in hours or money: tranches of the large model, each planned at the cost measured so far.

The large model's tranches are one execution, so that its actors load once for all tranches, or once more for the last
one where that is worth its cost. The items of a tranche wait until their plan entry is written. This happens here, as
soon as enough of the work before it is committed. The small model first translates the rows that are certainly not
routed: beside the large model where both pools fit, else before it. It translates the remainder after the large model,
or beside it where waiting costs nothing. Where both models stay loaded, rows are taken back from the small model at the
end, with what was kept for deaths: an engine that dies over them is not loaded again, and its rows keep their translation.
"""

import functools
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from routelmt_ray.budget.closed_loop import Position, tranche_capacity
from routelmt_ray.budget.price import planned_prices
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.plan.ledger import SIZES, Ledger
from routelmt_ray.plan.legs import Legs
from routelmt_ray.plan.plan import CANDIDATES, ESCALATED, OPENING, TRANCHE, LegOf, Remainder
from routelmt_ray.plan.planning import Planner
from routelmt_ray.plan.tranches import Tranches
from routelmt_ray.runtime import cluster, pipelines
from routelmt_ray.runtime.meters import Meters
from routelmt_ray.stages.translate import Always

log = logging.getLogger(__name__)

_ENOUGH_KNOWN = 0.1
"""Largest error of the small model's rate with which the first tranche is planned before its first rows are done."""
_FIRST_SHARDS = 3
"""Shards that each actor of the small model does before the large model is loaded, where waiting has a cost."""
_MOST_OWED = 0.05
"""Largest share of the budget that the small model may still need for settled rows when the last tranche is planned."""
_TRIES = 2
"""Times that a shard is tried in one start. The reserve of the budget holds the loads of a second try, and of no third."""


@dataclass
class ClosedLoop:
    """Drives the tranches of one series."""

    planner: Planner
    """Writes the entries."""
    work: Callable[..., pipelines.Work]
    """(title, size, leg_of, rows) -> the work of one model's legs; the job provides the pipeline."""
    carry_out: Callable[..., None]
    """Runs works: (works, on_commit, in_order, tries)."""
    meters: Meters | None = None
    """Source of the spent seconds; None: the meters of the run directory."""
    _holds_gpu: bool = False  # True while the large model is loaded and would wait at a cost

    def __post_init__(self) -> None:
        """Opens the ledger, and finds out whether both models can stay loaded together."""
        planner, config = self.planner, self.planner.config
        meters = self.meters or Meters(planner.corpus.context.run, prices=planned_prices(planner.config))
        self._ledger = Ledger(planner.config, planner.series.rule, meters, len(planner.corpus.plan))
        self._legs = Legs(planner, self._ledger)
        pools = [config.models.small.pool, config.models.large.pool]
        self._together = cluster.pools_fit_together(pools)
        # A model that waits for the other costs nothing on a CPU; on a GPU it is unloaded, and loaded again later.
        self._stays = self._together and not any(pool.gpus for pool in pools)
        if self._legs.shards < 2 * _FIRST_SHARDS * pools[0].actors:
            self._together = self._stays  # hardly anything would be left to do beside the large model
        again = config.guard.keep_better is not None or config.checks.escalates  # what then takes rows back itself
        self._tops_up = self._stays and config.budget.tranches > 1 and not again
        loads = list(SIZES) if self._stays else [SMALL, LARGE, SMALL, *([SMALL] * self._together)]
        self._tranches = Tranches(planner, self._ledger, self._legs, self._stays, loads)

    def run(self) -> None:
        """Plans and translates until every row has its model.

        Raises:
            BudgetTooSmall: as profiled, the budget does not cover the small model on every row.
            StageFailed: shards did not commit.
        """
        candidates = [f"{SMALL}/{entry['entry']:03d}" for entry in self.planner.series.of(CANDIDATES)]
        for stage in (*candidates, *self._legs.stages()):
            self._enter(stage)
        if self.planner.series.of(ESCALATED):  # every row was translated before
            return
        if not self.planner.series.of(OPENING):
            self._tranches.open()
        if self._stays:
            self._execute([LARGE, SMALL])
        else:
            self._in_turn()

    def _in_turn(self) -> None:
        """Runs the first rows of the small model, the tranches, and the remaining rows of the small model.

        Before the last tranche is planned, the small model translates the rows that are settled by then, so that little
        of its work has to be estimated. This is left out where loading both models once more would cost more than it
        gains.
        """
        series, budget = self.planner.series, self.planner.config.budget
        first = [f"{SMALL}/{series.audit_name}", f"{SMALL}/{self._legs.opening:03d}"]
        tranches = [stage for stage in self._legs.stages() if stage.startswith(f"{LARGE}/")]
        sizes = [LARGE]
        if self._together:  # a few shards tell what the small model costs; the large one does not wait for the others
            self._execute([SMALL], first, range(_FIRST_SHARDS * self.planner.config.models.small.pool.actors))
            self._advance([*first, *tranches], [LARGE, SMALL])
            if any(self._legs.is_written(stage) and not self._legs.is_done(stage) for stage in tranches):
                sizes = [LARGE, SMALL]
        if SMALL not in sizes:
            self._tranches.loads = [SMALL, LARGE, SMALL]
            self._execute([SMALL], first)
        self._tranches.holds_last = budget.tranches > 1 and self._is_error_dear()
        if self._tranches.holds_last:
            self._tranches.loads = [*sizes, SMALL, LARGE, SMALL]
            self._execute(sizes, [*first, *tranches[:-1]])
            self._tranches.holds_last = False
            self._remainder()
            sizes = [LARGE]
        self._execute(sizes, [*first, *tranches])
        self._remainder()

    def escalate(self) -> None:
        """Takes rows back from the small model, once its translations are checked, and translates them.

        The large model is loaded once more, if what is left of the budget pays for it. Every such row has a small translation,
        so that a row on which the large model fails costs nothing more.

        Raises:
            StageFailed: shards did not commit.
        """
        self._tranches.loads = [LARGE]
        while self._tranches.take_back():
            pass
        series, corpus, leg = self.planner.series, self.planner.corpus, self.planner.series.leg(LARGE)
        new = corpus.counts(series.current_rule(), leg, series.leg(SMALL))
        if rows := {(leg.stage, shard): count for shard, (count, _) in new.items() if count}:
            with self._ledger.loading([LARGE]):
                work = self.work("translate, escalated", LARGE, Always(leg), rows)
                self.carry_out([work], self._commit, tries=_TRIES)

    def _is_error_dear(self) -> bool:
        """True where the possible error of the small model's rate costs more than loading both models once more."""
        position = self._tranches.position(PlanTally.from_dict(self.planner.series.last["tally"]))
        small = position.small
        error_s = (small.error if small.known else _ENOUGH_KNOWN) * small.scale * position.small_todo_s
        return error_s > self._ledger.load_s(SMALL) + self._ledger.load_s(LARGE)

    def _remainder(self) -> None:
        """Carries out all settled rows that the small model has left, and those the large model failed on."""
        self._tranches.loads = self._tranches.loads[1:]
        series, corpus = self.planner.series, self.planner.corpus
        leg, fallback = series.leg_remainder(), series.leg_fallback()
        self._enter(leg.stage)
        new = corpus.counts(series.current_rule(), series.leg(LARGE), leg)
        rows = {(leg.stage, shard): count for shard, (_, count) in new.items() if count}
        if series.settled and self.planner.config.guard.keep_better is None:
            rows |= {(fallback.stage, shard): n for shard, n in series.failed(corpus.context.run).items()}
        if rows:
            with self._ledger.loading([SMALL]):
                work = self.work("translate, small", SMALL, Remainder(leg, fallback), rows)
                self.carry_out([work], self._commit, tries=_TRIES)

    def position(self) -> Position:
        """Computes where the run stands before anything but floors is decided."""
        return self._tranches.position(self.planner.outlook())

    def room_left(self) -> int | None:
        """Computes what is left to the large model at the start, as profiled, in parts of the unit; None for a budget in rows.

        Raises BudgetTooSmall as :meth:`run` does, but not in a dry run, which says what the job takes.
        """
        if (budget := self.planner.config.budget).by_cost:
            begun = budget.dry_run or self.planner.series.entries
            position = self.position() if begun else self._tranches.check()[0]
            return tranche_capacity(position, 0, 1).weight
        return None

    def _work(self, size: str, stages: Collection[str], shards: range) -> pipelines.Work:
        todo = [stage for stage in stages if stage.startswith(f"{size}/") and not self._legs.is_done(stage)]
        rows = {(stage, shard): 0 for stage in todo for shard in shards}
        if all(self._ledger.has(*task) for task in rows):
            rows = {}
        if rows and size == LARGE and self._tops_up and not self._legs.is_written(self._legs.top_ups[0]):
            rows |= {(stage, shard): 0 for stage in self._legs.top_ups for shard in shards}
        work = self.work(f"translate, {size}", size, LegOf(self.planner.series, size), rows)
        return replace(work, expected=lambda: self._expected_rows(size))

    def _expected_rows(self, size: str) -> int:
        tally = PlanTally.from_dict(self.planner.series.last["tally"])
        return tally.routed if size == LARGE else tally.small + tally.open

    def _execute(self, sizes: list[str], only: Collection[str] | None = None, shards: range | None = None) -> None:
        """Carries out the legs of some models in one execution, and plans during it; loads no model without rows."""
        stages = [stage for stage in self._legs.stages() if only is None or stage in only]
        self._advance(stages, sizes)
        shards = range(self._legs.shards)[: None if shards is None else shards.stop]
        works = {size: work for size in sizes if (work := self._work(size, stages, shards)).rows}
        self._tranches.loads = self._tranches.loads[len(sizes) :]
        if not works:
            return
        on_commit = functools.partial(self._commit, stages=stages, sizes=sizes)
        self._holds_gpu = LARGE in works and not self._stays
        try:
            with self._ledger.loading(works):
                self.carry_out(list(works.values()), on_commit, in_order=True, tries=1)
        except pipelines.StageFailed as failure:
            if self._is_topped(stages):
                log.warning("%s; its rows keep the translation of the small model", failure)
                return
            works = {size: work.part(lambda stage: stage not in self._legs.top_ups) for size, work in works.items()}
            if not self._has_room_for_loads([stage for work in works.values() for stage, _ in work.rows]):
                raise
            log.warning("%s; its tranches run one after another", failure)
            self._one_by_one(list(works.values()))
        finally:
            self._holds_gpu = False

    def _is_topped(self, stages: Collection[str]) -> bool:
        """True once all necessary work is done, and the entry for the rest of the budget is written."""
        return self._legs.is_written(self._legs.top_ups[0]) and all(map(self._legs.is_done, stages))

    def _has_room_for_loads(self, stages: Collection[str]) -> bool:
        """True where the budget pays for one more load for each remaining leg, beyond owed work and the reserve."""
        self._ledger.meters.read_again()
        position = self._tranches.position(PlanTally.from_dict(self.planner.series.last["tally"]))
        left = [stage for stage in dict.fromkeys(stages) if not self._legs.is_done(stage)]
        loads_s = sum(self._ledger.load_s(stage.partition("/")[0]) for stage in left)
        return position.committed_s + position.reserve_s + loads_s <= position.budget_s

    def _one_by_one(self, works: list[pipelines.Work]) -> None:
        """Carries out the rest where a shard keeps failing: skips failing shards, and loads a model for each leg."""
        failure: pipelines.StageFailed | None = None
        stages, after = list(dict.fromkeys(stage for work in works for stage, _ in work.rows)), self._tranches.loads
        for i, stage in enumerate(stages):
            to_do = [other for other in stages[i:] if not self._legs.is_done(other)]
            self._tranches.loads = [other.partition("/")[0] for other in to_do] + after
            while not self._legs.is_written(stage):
                self._tranches.add()
            if self._legs.is_done(stage):
                continue
            rest = [work.part(stage.__eq__) for work in works]
            try:
                self.carry_out([work for work in rest if work.rows], self._commit, tries=_TRIES - 1)
            except pipelines.StageFailed as error:
                failure = error
        self._tranches.loads = after
        if failure is not None:
            raise failure

    def _enter(self, stage: str) -> None:
        for shard, meta in self.planner.corpus.context.run.metas(stage).items():
            self._ledger.add(stage, shard, meta)

    def _commit(
        self,
        stage: str,
        shard: int,
        stats: Mapping[str, Any],
        stages: Collection[str] | None = None,
        sizes: Collection[str] = (),
    ) -> None:
        self._ledger.add(stage, shard, stats)
        if stages is not None:
            self._advance(stages, sizes)
            if self._tops_up and self.planner.series.settled and LARGE in sizes:
                self._top_up(stages)

    def _advance(self, stages: Collection[str], sizes: Collection[str]) -> None:
        """Writes the next entry as soon as enough is known for it."""
        while not self.planner.series.settled and self._may_plan(stages, sizes):
            self._tranches.add()

    def _top_up(self, stages: Collection[str]) -> None:
        """Writes the entries that take rows back, each once all before it is done."""
        for number, stage in enumerate(self._legs.top_ups):
            if not self._legs.is_written(stage):
                if not all(map(self._legs.is_done, [*stages, *self._legs.top_ups[:number]])):
                    break
                self._tranches.top_up()

    def _may_plan(self, stages: Collection[str], sizes: Collection[str]) -> bool:
        series = self.planner.series
        if LARGE not in sizes or f"{LARGE}/{series.next_number:03d}" not in stages:
            return False
        written = [stage for stage in stages if self._legs.is_written(stage) and stage.partition("/")[0] in sizes]
        doing = {size: [s for s in written if s.startswith(size) and not self._legs.is_done(s)] for size in SIZES}
        if doing[LARGE]:
            return False
        if not doing[SMALL]:  # its rate cannot become better known; where pools take turns it is done, or comes later
            return True
        tally = PlanTally.from_dict(series.last["tally"])
        if not series.of(TRANCHE):
            predicted_s, error = self._ledger.known(SMALL)
            return predicted_s > 0 and error <= _ENOUGH_KNOWN
        if self._holds_gpu:
            return True
        position = self._tranches.position(tally)
        capacity = self._tranches.capacity(position)
        owed_s = (position.small_todo_s - tally.open_small_s) * position.small.scale
        return capacity.weight > 0 and (owed_s <= _MOST_OWED * position.budget_s or not capacity.final)
