"""A rule by which any worker decides which rows of any shard go to the large model: a few numbers, no list of rows.

Rows that may be routed have a value (the predicted gain, or the gain per extra second of the large model) and a weight
(the microseconds that the large model costs more). Where a repeated segment is translated once, its first row stands for all
of them: the value is that of all together, the weight that of one. Each decision of a plan cuts the rows that no earlier decision took.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from routelmt_ray.budget import Cut, StrataCuts
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.budget.risk import Floors
from routelmt_ray.config.guards import GUARDS, JUDGED

_REASONS = (
    "gain",  # routed: its value is above the cut
    "floor",  # routed: its stratum's floor asks for it
    "paid",  # routed: an earlier budget has paid for its large translation
    "check",  # routed: its small translation fails a check
    "below_cut",
    "cap",
    "min_gain",
    "not_scored",
    "memory",  # routed: its large translation is in the memory of earlier runs
)
GAIN, FLOOR, PAID, CHECK, BELOW_CUT, CAP, MIN_GAIN, NOT_SCORED, MEMORY = range(len(_REASONS))
UNSCALED = (1.0, 1.0)
"""Costs as profiled."""
FAILING, KEPT = "failing", "kept"
"""Rows that a decision takes back from the small model: those whose small translation fails a check, or any."""
NO_ROUTE = -1
"""Marks a row that cannot be translated."""


def reasons() -> tuple[str, ...]:
    """Lists why a row is or is not routed, in the words of the output; the guards come last."""
    return (*_REASONS, *(guard.reason for guard in GUARDS.values()))


@dataclass(frozen=True)
class Band:
    """Rows up to a cut, at a given scale of the costs."""

    cut: Cut
    """The cut of the values of rows that no earlier decision took."""
    scales: tuple[float, float] = UNSCALED
    """Measured cost divided by profiled cost, of the small and the large model."""

    def to_dict(self) -> dict[str, Any]:
        """Converts the band to JSON-safe fields."""
        return {"cut": self.cut.to_dict(), "scales": list(self.scales)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Band":
        """Builds the band that `to_dict` wrote."""
        small, large = fields["scales"]
        return cls(Cut.from_dict(fields["cut"]), (small, large))


@dataclass(frozen=True)
class Decision:
    """The decision of one entry of a plan about the rows that are still open."""

    routed: Band | None
    """The large model takes these."""
    open: Band | None = None
    """Other rows that a later entry may still route; the small model takes the rest. None: all stay open."""
    final: bool = True
    """True where no later entry decides: the small model takes all others."""
    again: str | None = None
    """`failing` or `kept`: it routes such rows, which an earlier decision left to the small model; None: it routes open rows."""


@dataclass(frozen=True)
class Rule:
    """The rule by which rows are routed. Small, and sent to workers."""

    objective: str = "gain"
    """`gain` or `gain_per_cost`."""
    once: bool = False
    """True where a repeated segment is translated once: the scores then say how often each occurs."""
    gain_counts: bool = False
    """True where the gain of a segment counts as often as it occurs."""
    min_gain: float | None = None
    """Rows at or below it are never routed."""
    guards: tuple[tuple[str, float | Floors], ...] = ()
    """Name and limit of each guard that is turned on."""
    both: bool = False
    """True where the small model translates routed rows too: a routed row then costs the whole of the large model."""
    cost: CostModel | None = None
    """Costs of rows; None where only rows are counted."""
    stratified: bool = False
    """True where there are floors or caps."""
    strata_column: str | None = None
    """Column of the strata; None for the language pair."""
    strata: StrataCuts | None = None
    candidates: Band | None = None
    """With a guard that judges first: rows whose small translation was decoded to be judged; no other row is routed."""
    judged: tuple[str, ...] = ()
    """Stages with the judgements of the candidates."""
    paid_small: tuple[str, ...] = ()
    """Stages of the small model that an earlier budget has paid."""
    paid_large: tuple[str, ...] = ()
    """The same of the large model: such a row is routed at no cost."""
    remembered: str = ""
    """Stage with the large translations that a memory of earlier runs has; empty without one. Such a row is routed, counts in no
    budget, and costs nothing."""
    judge_row_s: float = 0.0
    """Device-seconds to judge both translations of a routed row, where the better one is kept."""
    failing: str = ""
    """Stage with the rows whose small translation fails a check that escalates; it is read only where a decision needs it."""
    audit: Cut | None = None
    """Rows of a seeded draw, which both models translate in any case."""
    decisions: tuple[Decision, ...] = ()
    """Decisions so far, oldest first."""

    @property
    def judges_first(self) -> bool:
        """True where a guard needs the judge's score of a small translation before a row is routed."""
        return any(GUARDS[name].evidence == JUDGED for name, _ in self.guards)

    def then(self, decision: Decision) -> "Rule":
        """Returns the rule with one decision more."""
        return replace(self, decisions=(*self.decisions, decision))
