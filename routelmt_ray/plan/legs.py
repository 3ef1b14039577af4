"""The legs of a budget in hours, in the order in which they run, and how far each of them is."""

from dataclasses import dataclass

from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.plan.due import entry_of
from routelmt_ray.plan.ledger import Ledger
from routelmt_ray.plan.plan import AUDIT, ESCALATED, OPENING, TOPPED, TRANCHE, WHOLE
from routelmt_ray.plan.planning import Planner

_TOP_UPS = 3
"""Number of times that rows are taken back from the small model at the end, each time with the rest of the budget."""


def tasks_of(planner: Planner) -> dict[str, dict[tuple[str, int], int]]:
    """Counts the rows that each model has to translate, by (stage, shard), where one entry settled every row.

    Rows of the audit are not counted: its tasks have 0. Without an audit, a model that has translated all its rows
    under an earlier budget has no task, and is not loaded. Nor is one once rows were taken back from the small model,
    because all rows are translated by then.
    """
    series = planner.series
    if series.of(ESCALATED):
        return {LARGE: {}, SMALL: {}}
    legs = [series.leg(size) for size in (LARGE, SMALL)]
    counts = planner.corpus.counts(series.current_rule(), *legs)
    tasks: dict[str, dict[tuple[str, int], int]] = {}
    for at, leg in enumerate(legs):
        audited = counts if planner.config.audit.rows else ()
        tasks[leg.size] = {(f"{leg.size}/{series.audit_name}", shard): 0 for shard in audited}
        tasks[leg.size] |= {(leg.stage, shard): rows[at] for shard, rows in counts.items() if rows[at]}
    return tasks


@dataclass(frozen=True)
class Legs:
    """Knows the legs of one series, also of entries that are not written yet."""

    planner: Planner
    """The planner, which has the series."""
    ledger: Ledger

    @property
    def opening(self) -> int:
        """The entry that opens the series, written or not."""
        series = self.planner.series
        return series.of(OPENING)[0]["entry"] if series.of(OPENING) else series.next_number

    @property
    def shards(self) -> int:
        return self.ledger.shards

    def stages(self) -> list[str]:
        """Lists the stages of all legs, in the order in which they run."""
        series, config = self.planner.series, self.planner.config
        numbers = [f"{self.opening + i:03d}" for i in range(config.budget.tranches + 1)]
        if config.audit.rows:
            numbers.insert(0, series.audit_name)
        return [f"{size}/{name}" for name in numbers for size in (SMALL, LARGE)]

    @property
    def top_ups(self) -> list[str]:
        """Stages of the rows that are taken back from the small model at the end; none is in :meth:`stages`."""
        first = self.opening + self.planner.config.budget.tranches + 1
        return [f"{LARGE}/{first + i:03d}" for i in range(_TOP_UPS)]

    def is_written(self, stage: str) -> bool:
        """Tells whether the entry of a leg is written."""
        return entry_of(stage) < self.planner.series.next_number

    def is_done(self, stage: str) -> bool:
        """Tells whether all shards of a leg are committed, or the leg has no row."""
        if self.ledger.committed(stage) >= self.shards:
            return True
        if entry_of(stage) == AUDIT or not self.is_written(stage):
            return False
        decided = self.planner.series.of(WHOLE, OPENING, TRANCHE, TOPPED)
        number = next((i for i, entry in enumerate(decided) if entry["entry"] == entry_of(stage)), None)
        if number is None:  # nothing is left to a tranche after the last
            return True
        own, _, large, *_ = decided[number]["tally"]["owed"][number]
        return bool((own if stage.startswith(SMALL) else large) <= 0)

    def pieces_to_come(self, size: str, tally: PlanTally) -> int:
        """Counts the pieces of the next tranche and, for the small model, of settled rows; empty ones are left out.

        The pieces of a later tranche are counted when it is planned. Once every row is settled, rows that fail a check may
        make one more of each shard.
        """
        series = self.planner.series
        if size == LARGE and series.settled and self.planner.config.checks.escalates:
            return self.shards
        numbers = {series.next_number}
        if size == SMALL:
            settled_s = tally.settled_small_s(series.rule.both)
            numbers |= {self.opening + i for i, seconds in enumerate(settled_s) if seconds > 0} | {AUDIT}
        stages = [stage for stage in self.stages() if stage.startswith(f"{size}/") and entry_of(stage) in numbers]
        return sum(self.shards - self.ledger.committed(stage) for stage in stages)
