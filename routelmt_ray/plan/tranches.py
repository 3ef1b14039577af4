"""Plans a budget in hours or money: the opening, and each tranche of the large model at the cost measured so far."""

import logging
from dataclasses import dataclass, replace

from routelmt_ray.budget.closed_loop import Capacity, Position, spare_capacity, tranche_capacity, widest_capacity
from routelmt_ray.budget.cost import is_money
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.plan.judging import judge_to_come
from routelmt_ray.plan.ledger import SIZES, Ledger, ToCome
from routelmt_ray.plan.legs import Legs
from routelmt_ray.plan.plan import CANDIDATES, OPENING, TOPPED, TRANCHE
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime.telemetry import figures

log = logging.getLogger(__name__)

_POSITION = ("budget_s", "spent_s", "fixed_s", "reserve_s", "small_todo_s", "large_todo_s")


class BudgetTooSmall(Refused):
    """The work that must be done costs more than the budget."""


@dataclass
class Tranches:
    """Writes the entries of one budget in hours or money."""

    planner: Planner
    """Writes an entry once its capacity is known."""
    ledger: Ledger
    """The committed work and what it took."""
    legs: Legs
    stays: bool
    """True where both models stay loaded, because waiting costs nothing."""
    loads: list[str]
    """Models that later executions load, in order."""
    holds_last: bool = False
    """True while the last tranche must not be planned yet."""
    _warned: bool = False  # True once a warning has said that the budget does not hold its reserve

    def check(self) -> tuple[Position, float]:
        """Computes where the run stands before it translates, and what it takes at most without a routed row, as profiled.

        Raises:
            BudgetTooSmall: the budget does not cover that, and nothing is translated yet.
        """
        self.ledger.meters.read_again()
        position = self.position(self.planner.outlook())
        cost = self.planner.rule.cost
        assert cost is not None
        need_s = position.committed_s + position.small_todo_s * (cost.small.relative_error or 0.0)
        if need_s > position.budget_s and not self.planner.series.of(CANDIDATES):
            in_money = is_money(self.ledger.unit)
            key, per = ("budget.money", 1.0) if in_money else ("budget.gpu_hours", 3600.0)
            raise BudgetTooSmall(
                f"{key} is {position.budget_s / per:g}, but by its profile the job needs up to {need_s / per:.4g} "
                f"{'' if in_money else 'hours of '}{self.ledger.unit}, even if no row is routed ({position.spent_s / per:.4g} are spent); set "
                f"{key} to at least {need_s / per / 0.99:.4g}. Committed work is kept"
            )
        return position, need_s

    def open(self) -> None:
        """Writes the entry that opens the series; raises BudgetTooSmall as :meth:`check` does."""
        position, need_s = self.check()
        self._warn_of_deaths(position, need_s - position.budget_s)
        checks = self.planner.config.checks
        held_s = checks.reserve * max(0.0, -position.shortage_s) if checks.escalates else 0.0
        self.planner.open(widest_capacity(position, trusted=self.planner.config.budget.tranches == 1), held_s)

    def add(self) -> None:
        """Writes the entry of the next tranche."""
        series, tranches = self.planner.series, self.planner.config.budget.tranches
        self.ledger.meters.read_again()
        tally = PlanTally.from_dict(series.last["tally"])
        position = self.position(tally)
        tranche, capacity = len(series.of(TRANCHE)), self.capacity(position)
        if not tranche:
            self.ledger.forget_waiting()
        planned_s = position.large.piece_s * self.legs.pieces_to_come(LARGE, PlanTally())
        if position.shortage_s > planned_s:
            log.warning(
                "by the costs measured so far, the job will take about %s more than the budget of %s; no further row is routed, "
                "and the job completes its output", self._amount_text(position.shortage_s), self._amount_text(position.budget_s),
            )  # fmt: skip
        elif not tally.routed:
            self._warn_of_deaths(position, position.shortage_s - planned_s)

        def extra_cost(tally: PlanTally) -> float:
            *_, batches_s = tally.owed[-1]
            return position.parts * max(0.0, self._batch_scale(capacity) * batches_s - planned_s)

        self.planner.add_tranche(
            capacity,
            widest_capacity(position),
            extra_cost,
            position={**{key: getattr(position, key) for key in _POSITION}, "unit": self.ledger.unit},
            capacity_s=capacity.weight / position.parts,
            scale_small=capacity.scale_small,
            scale_large=capacity.scale_large,
        )
        cut = self.planner.series.of(TRANCHE)[-1]["routed"]["cut"]
        more_s = cut["weight"] / position.parts
        figures().planned(position.budget_s, position.committed_s + more_s, self.ledger.unit)
        log.info(
            "tranche %d of %d: %d rows for about %s more; spent %s of %s; measured over profiled cost: small %.2f, large %.2f",
            tranche + 1, tranches, cut["k"], *map(self._amount_text, (more_s, position.spent_s, position.budget_s)),
            capacity.scale_small, capacity.scale_large,
        )  # fmt: skip

    def top_up(self) -> None:
        """Writes the last entry: rows that the small model has translated go to the large one, for what is left.

        What the budget kept for deaths is free by then, as every row has a translation.
        """
        self.ledger.meters.read_again()
        tally = PlanTally.from_dict(self.planner.series.last["tally"])
        position, spare_s = self.position(tally), self.ledger.spare_s(self._to_come(tally))
        capacity = spare_capacity(spare_s, replace(position, large=self.ledger.whole_rate()))
        empty_share = self.ledger.empty_share()
        rows = self.planner.top_up(
            capacity,
            lambda tally: position.parts * capacity.scale_large * empty_share * tally.owed[-1][-1],
            position={**{key: getattr(position, key) for key in _POSITION}, "unit": self.ledger.unit},
            capacity_s=capacity.weight / position.parts,
            scale_small=position.small.scale,
            scale_large=capacity.scale_large,
            tranche=len(self.planner.series.of(TRANCHE, TOPPED)),
        )
        if rows:
            left = self._amount_text(spare_s)
            log.info("all rows are translated: %d more go to the large model for the %s that are left", rows, left)

    def take_back(self) -> bool:
        """Writes the next of the two entries that take rows back from the small model, for what is left; False after both."""
        series, tranches = self.planner.series, self.planner.config.budget.tranches
        decided = len(series.of(OPENING, TRANCHE))
        self.ledger.meters.read_again()
        position = self.position(PlanTally.from_dict(series.last["tally"]))
        capacity = tranche_capacity(position, tranches - 1, tranches)
        planned_s = position.large.piece_s * self.legs.shards

        def extra_cost(tally: PlanTally) -> float:  # rows of both entries are translated together
            batches_s = sum(owed[-1] for owed in tally.owed[decided:])
            return position.parts * max(0.0, self._batch_scale(capacity) * batches_s - planned_s)

        return self.planner.take_back(capacity, extra_cost, capacity_s=capacity.weight / position.parts)

    def _batch_scale(self, capacity: Capacity) -> float:
        return self.ledger.batch_scale(capacity.scale_large) * self.ledger.empty_share()

    def capacity(self, position: Position) -> Capacity:
        """Computes what the next tranche may take."""
        tranche, tranches = len(self.planner.series.of(TRANCHE)), self.planner.config.budget.tranches
        return tranche_capacity(position, tranche, tranches, more=self.holds_last)

    def position(self, tally: PlanTally) -> Position:
        """Computes where the run stands, with the work that is still to be done."""
        opening = self.planner.series.of(OPENING)
        held_s = opening[0].get("held_s", 0.0) if opening and not self.planner.series.settled else 0.0
        return replace(self.ledger.position(tally, self._to_come(tally)), held_s=held_s)

    def _to_come(self, tally: PlanTally) -> ToCome:
        again = [SMALL] * (self.planner.config.guard.keep_better is not None)
        loads = {size: float([*self.loads, *again].count(size)) for size in SIZES}
        pieces = {size: self.legs.pieces_to_come(size, tally) for size in SIZES}
        judge_s, judge_load_s = judge_to_come(self.planner, tally)
        return ToCome(pieces, loads, judge_s, judge_load_s, fallback=self.stays and not again)

    def _warn_of_deaths(self, position: Position, short_s: float) -> None:
        """Warns once that a budget holds the small model's work, but not the reserve for deaths.

        Routing fewer rows cannot make room for that reserve.
        """
        if short_s + position.reserve_s > 0 and not self._warned:
            self._warned = True
            log.warning(
                "the budget of %s covers the small model on every row, but not the %s that budget.reserve keeps for engines "
                "that die: no row is routed for now, and if engines die, the budget may be exceeded; %s cover both",
                *map(self._amount_text, (position.budget_s, position.reserve_s)),
                self._amount_text((position.budget_s + short_s + position.reserve_s) / 0.99, long=True),
            )  # fmt: skip

    def _amount_text(self, amount: float, long: bool = False) -> str:
        if is_money(self.ledger.unit):
            return f"{amount:.4g} {self.ledger.unit}"
        return f"{amount / 3600:.4g} hours" if long else f"{amount:.0f} seconds"
