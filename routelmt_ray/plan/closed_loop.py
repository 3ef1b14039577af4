"""The closed loop of a budget in hours: tranches of the large model, each planned at the cost measured so far.

The large model's tranches are one execution, so that its actors load once for all tranches, or once more for the last
one where that is worth its cost. The items of a tranche wait until their plan entry is written. This happens here, as
soon as enough of the work before it is committed. The small model first translates the rows that are certainly not
routed: beside the large model where both pools fit, else before it. It translates the remainder after the large model,
or beside it where waiting costs nothing.
"""

import functools
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from routelmt_ray.budget.closed_loop import Capacity, Position, tranche_capacity, widest_capacity
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.plan.due import entry_of
from routelmt_ray.plan.judging import judge_to_come
from routelmt_ray.plan.ledger import SIZES, Ledger, Readings, ToCome
from routelmt_ray.plan.plan import AUDIT, CANDIDATES, OPENING, TRANCHE, WHOLE, LegOf, Remainder
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime import cluster, pipelines
from routelmt_ray.runtime.meters import Meters
from routelmt_ray.runtime.telemetry import figures

log = logging.getLogger(__name__)

_ENOUGH_KNOWN = 0.1
"""Largest error of the small model's rate with which the first tranche is planned before all of its first rows are
done."""
_FIRST_SHARDS = 3
"""Shards that each actor of the small model does before the large model is loaded, where waiting has a cost."""
_MOST_OWED = 0.05
"""Largest share of the budget that the small model may still need for settled rows when the last tranche is planned."""


class BudgetTooSmall(Refused):
    """The work that must be done costs more than the budget."""


@dataclass
class ClosedLoop:
    """Drives the tranches of one series."""

    planner: Planner
    """Writes the entries."""
    work: Callable[..., pipelines.Work]
    """(title, size, leg_of, rows) -> the work of one model's legs; the job provides the pipeline."""
    carry_out: Callable[..., None]
    """Runs works: (works, on_commit, in_order)."""
    meters: Readings | None = None
    """Where the spent seconds are read; None: from the meters of the run directory."""
    _loads: list[str] = field(default_factory=list)  # models that later executions load, in order
    _holds_gpu: bool = False  # True while the large model is loaded and would wait at a cost
    _warned: bool = False  # True once a warning has said that the budget does not hold its reserve
    _holds_last: bool = False  # True while the last tranche must not be planned yet

    def __post_init__(self) -> None:
        """Opens the ledger, and finds out whether both models can stay loaded together."""
        planner = self.planner
        meters = self.meters or Meters(planner.corpus.context.run)
        self._ledger = Ledger(planner.config, planner.series.rule, meters, self._shards)
        pools = [planner.config.models.small.pool, planner.config.models.large.pool]
        self._together = cluster.pools_fit_together(pools)
        # A model that waits for the other costs nothing on a CPU; on a GPU it is unloaded, and loaded again later.
        self._stays = self._together and not any(pool.gpus for pool in pools)
        if self._shards < 2 * _FIRST_SHARDS * pools[0].actors:
            self._together = self._stays  # hardly anything would be left to do beside the large model
        self._loads = list(SIZES) if self._stays else [SMALL, LARGE, SMALL, *([SMALL] * self._together)]

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
            BudgetTooSmall: as profiled, the budget does not cover the small model on every row.
            StageFailed: shards did not commit.
        """
        candidates = [f"{SMALL}/{entry['entry']:03d}" for entry in self.planner.series.of(CANDIDATES)]
        for stage in (*candidates, *self._stages()):
            self._enter(stage)
        if not self.planner.series.of(OPENING):
            self._open()
        if self._stays:
            self._execute([LARGE, SMALL])
        else:
            self._in_turn()

    def _in_turn(self) -> None:
        """Carries out the first rows of the small model, the tranches, and what is left to the small model.

        Before the last tranche is planned, the small model translates the rows that are settled by then, so that little
        of its work has to be estimated. This is left out where loading both models once more would cost more than it
        gains.
        """
        series, budget = self.planner.series, self.planner.config.budget
        first = [f"{SMALL}/{series.audit_name}", f"{SMALL}/{self._opening:03d}"]
        tranches = [stage for stage in self._stages() if stage.startswith(f"{LARGE}/")]
        sizes = [LARGE]
        if (
            self._together
        ):  # a few shards tell what the small model costs, so that the large one need not wait for the others
            self._execute([SMALL], first, range(_FIRST_SHARDS * self.planner.config.models.small.pool.actors))
            self._advance([*first, *tranches], [LARGE, SMALL])
            if any(self._is_written(stage) and not self._is_done(stage) for stage in tranches):
                sizes = [LARGE, SMALL]
        if SMALL not in sizes:
            self._loads = [SMALL, LARGE, SMALL]
            self._execute([SMALL], first)
        self._holds_last = budget.tranches > 1 and self._is_error_dear()
        if self._holds_last:
            self._loads = [*sizes, SMALL, LARGE, SMALL]
            self._execute(sizes, [*first, *tranches[:-1]])
            self._holds_last = False
            self._remainder()
            sizes = [LARGE]
        self._execute(sizes, [*first, *tranches])
        self._remainder()

    def _is_error_dear(self) -> bool:
        """True where the possible error of the small model's rate costs more than loading both models once more."""
        position = self._position(PlanTally.from_dict(self.planner.series.last["tally"]))
        small = position.small
        error_s = (small.error if small.known else _ENOUGH_KNOWN) * small.scale * position.small_todo_s
        return error_s > self._ledger.load_s(SMALL) + self._ledger.load_s(LARGE)

    def _remainder(self) -> None:
        """Carries out all settled rows that the small model has left, and those the large model failed on."""
        self._loads = self._loads[1:]
        series, corpus = self.planner.series, self.planner.corpus
        leg, fallback = series.leg_remainder(), series.leg_fallback()
        self._enter(leg.stage)
        new = corpus.counts(series.current_rule(), series.leg(LARGE), leg)
        rows = {(leg.stage, shard): count for shard, (_, count) in new.items() if count}
        if series.settled and self.planner.config.guard.keep_better is None:
            rows |= {(fallback.stage, shard): n for shard, n in series.failed(corpus.context.run).items()}
        if rows:
            with self._ledger.loading([SMALL]):
                self.carry_out([self.work("translate, small", SMALL, Remainder(leg, fallback), rows)], self._commit)

    def room_us(self) -> int | None:
        """Computes the microseconds left to the large model at the start, as profiled; None for a budget in rows."""
        if self.planner.config.budget.gpu_hours is None:
            return None
        return tranche_capacity(self._position(self.planner.outlook()), 0, 1).microseconds

    # Works and their execution

    def _work(self, size: str, stages: Collection[str], shards: range) -> pipelines.Work:
        todo = [stage for stage in stages if stage.startswith(f"{size}/") and not self._is_done(stage)]
        rows = {(stage, shard): 0 for stage in todo for shard in shards}
        if all(self._ledger.has(*task) for task in rows):
            rows = {}
        work = self.work(f"translate, {size}", size, LegOf(self.planner.series, size), rows)
        return replace(work, expected=lambda: self._expected_rows(size))

    def _expected_rows(self, size: str) -> int:
        tally = PlanTally.from_dict(self.planner.series.last["tally"])
        return tally.routed if size == LARGE else tally.small + tally.open

    def _stages(self) -> list[str]:
        """Stages of all legs, in the order they are carried out."""
        series, config = self.planner.series, self.planner.config
        numbers = [f"{self._opening + i:03d}" for i in range(config.budget.tranches + 1)]
        if config.audit.rows:
            numbers.insert(0, series.audit_name)
        return [f"{size}/{name}" for name in numbers for size in (SMALL, LARGE)]

    def _execute(self, sizes: list[str], only: Collection[str] | None = None, shards: range | None = None) -> None:
        """Carries out the legs of some models in one execution, and plans during it; loads no model without rows."""
        stages = [stage for stage in self._stages() if only is None or stage in only]
        self._advance(stages, sizes)
        shards = range(self._shards)[: None if shards is None else shards.stop]
        works = {size: work for size in sizes if (work := self._work(size, stages, shards)).rows}
        self._loads = self._loads[len(sizes) :]
        if not works:
            return
        on_commit = functools.partial(self._commit, stages=stages, sizes=sizes)
        self._holds_gpu = LARGE in works and not self._stays
        try:
            with self._ledger.loading(works):
                self.carry_out(list(works.values()), on_commit, in_order=True)
        except pipelines.StageFailed as failure:
            log.warning("%s; its tranches are carried out one by one", failure)
            self._one_by_one(list(works.values()))
        finally:
            self._holds_gpu = False

    def _one_by_one(self, works: list[pipelines.Work]) -> None:
        """Carries out the rest where a shard keeps failing: skips failing shards, and loads a model for each leg."""
        failure: pipelines.StageFailed | None = None
        stages, after = list(dict.fromkeys(stage for work in works for stage, _ in work.rows)), self._loads
        for i, stage in enumerate(stages):
            self._loads = [other.partition("/")[0] for other in stages[i:] if not self._is_done(other)] + after
            while not self._is_written(stage):
                self._add_tranche()
            if self._is_done(stage):
                continue
            rest = [
                replace(work, rows={task: n for task, n in work.rows.items() if task[0] == stage}) for work in works
            ]
            self._loads = self._loads[1:]
            try:
                with self._ledger.loading([stage.partition("/")[0]]):
                    self.carry_out([work for work in rest if work.rows], self._commit)
            except pipelines.StageFailed as error:
                failure = error
        self._loads = after
        if failure is not None:
            raise failure

    def _is_written(self, stage: str) -> bool:
        return entry_of(stage) < self.planner.series.next_number

    def _is_done(self, stage: str) -> bool:
        """True where all shards of a leg are committed, or the leg has no row."""
        if self._ledger.committed(stage) >= self._shards:
            return True
        if entry_of(stage) == AUDIT or not self._is_written(stage):
            return False
        decided = self.planner.series.of(WHOLE, OPENING, TRANCHE)
        number = next((i for i, entry in enumerate(decided) if entry["entry"] == entry_of(stage)), None)
        if number is None:  # nothing is left to a tranche after the last
            return True
        own, _, large, *_ = decided[number]["tally"]["owed"][number]
        return bool((own if stage.startswith(SMALL) else large) <= 0)

    # Commits and decisions

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

    def _advance(self, stages: Collection[str], sizes: Collection[str]) -> None:
        """Writes the next entry as soon as enough is known for it."""
        while not self.planner.series.settled and self._may_plan(stages, sizes):
            self._add_tranche()

    def _may_plan(self, stages: Collection[str], sizes: Collection[str]) -> bool:
        series = self.planner.series
        if LARGE not in sizes or f"{LARGE}/{series.next_number:03d}" not in stages:
            return False
        written = [stage for stage in stages if self._is_written(stage) and stage.partition("/")[0] in sizes]
        doing = {size: [s for s in written if s.startswith(size) and not self._is_done(s)] for size in SIZES}
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
        position = self._position(tally)
        capacity = self._capacity(position)
        owed_s = (position.small_todo_s - tally.open_small_s) * position.small.scale
        return capacity.microseconds > 0 and (owed_s <= _MOST_OWED * position.budget_s or not capacity.final)

    def _capacity(self, position: Position) -> Capacity:
        tranche, tranches = len(self.planner.series.of(TRANCHE)), self.planner.config.budget.tranches
        return tranche_capacity(position, tranche, tranches, more=self._holds_last)

    def _open(self) -> None:
        self._ledger.meters.read_again()
        position = self._position(self.planner.outlook())
        cost = self.planner.rule.cost
        assert cost is not None
        need_s = position.committed_s + position.small_todo_s * (cost.small.relative_error or 0.0)
        if need_s > position.budget_s:
            raise BudgetTooSmall(
                f"budget.gpu_hours is {position.budget_s / 3600:g}, but the job needs up to {need_s / 3600:.4g} hours of "
                f"{self._ledger.unit} as profiled even if no row is routed ({position.spent_s / 3600:.4g} are spent); set "
                f"budget.gpu_hours to at least {need_s / 3600 / 0.99:.4g}. Committed work is kept"
            )
        self._warn_of_deaths(position, need_s - position.budget_s)
        self.planner.open(widest_capacity(position, trusted=self.planner.config.budget.tranches == 1))

    def _add_tranche(self) -> None:
        series, tranches = self.planner.series, self.planner.config.budget.tranches
        self._ledger.meters.read_again()
        tally = PlanTally.from_dict(series.last["tally"])
        position = self._position(tally)
        tranche, capacity = len(series.of(TRANCHE)), self._capacity(position)
        if not tranche:
            self._ledger.forget_waiting()
        planned_s = position.large.piece_s * self._pieces_to_come(LARGE, PlanTally())
        if position.shortage_s > planned_s:
            log.warning(
                "what is left to do takes about %.0f seconds more than the budget of %.0f as measured so far; no further row is "
                "routed, and the job goes on to its end", position.shortage_s, position.budget_s,
            )  # fmt: skip
        elif not tally.routed:
            self._warn_of_deaths(position, position.shortage_s - planned_s)

        def besides_us(tally: PlanTally) -> float:
            *_, batches_s = tally.owed[-1]
            return 1e6 * max(0.0, self._ledger.batch_scale(capacity.scale_large) * batches_s - planned_s)

        self.planner.add_tranche(
            capacity,
            widest_capacity(position),
            besides_us,
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

    def _warn_of_deaths(self, position: Position, short_s: float) -> None:
        """Warns once that a budget holds the small model's work, but not the reserve for deaths.

        Routing fewer rows cannot make room for that reserve.
        """
        if short_s + position.reserve_s > 0 and not self._warned:
            self._warned = True
            log.warning(
                "the budget of %.0f seconds covers the small model on every row, but not the %.0f that budget.reserve keeps for "
                "engines that die: no row is routed as things stand, and where engines die it may be exceeded; %.4g hours hold "
                "the reserve too", position.budget_s, position.reserve_s,
                (position.budget_s + short_s + position.reserve_s) / 3600 / 0.99,
            )  # fmt: skip

    def _position(self, tally: PlanTally) -> Position:
        again = [SMALL] * (self.planner.config.guard.keep_better is not None)
        loads = {size: float([*self._loads, *again].count(size)) for size in SIZES}
        pieces = {size: self._pieces_to_come(size, tally) for size in SIZES}
        judge_s, judge_load_s = judge_to_come(self.planner, tally)
        to_come = ToCome(pieces, loads, judge_s, judge_load_s, fallback=self._stays and not again)
        return self._ledger.position(tally, to_come)

    def _pieces_to_come(self, size: str, tally: PlanTally) -> int:
        """Counts the pieces of the next tranche and, for the small model, of settled rows; empty ones are left out.

        The pieces of a later tranche are counted when it is planned.
        """
        series = self.planner.series
        numbers = {series.next_number}
        if size == SMALL:
            settled_s = tally.settled_small_s(series.rule.both)
            numbers |= {self._opening + i for i, seconds in enumerate(settled_s) if seconds > 0} | {AUDIT}
        stages = [stage for stage in self._stages() if stage.startswith(f"{size}/") and entry_of(stage) in numbers]
        return sum(self._shards - self._ledger.committed(stage) for stage in stages)


_POSITION = ("budget_s", "spent_s", "fixed_s", "reserve_s", "small_todo_s", "large_todo_s")
