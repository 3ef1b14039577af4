"""The budget of the translate job, and how its costs are measured: sections of the configuration."""

from dataclasses import dataclass
from typing import Optional

from routelmt_ray.config.loader import choice, option

OBJECTIVES = ("gain", "gain_per_cost")
BUDGETS = ("fraction", "rows", "gpu_hours", "money", "threshold")
"""Keys of `budget`, of which one is set."""


def _is_shares(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, float | int) and 0 <= v <= 1 for v in value.values())


@dataclass(frozen=True)
class BudgetConfig:
    """The budget of the large model. Exactly one of `fraction`, `rows`, `gpu_hours`, `money` and
    `threshold` is set, or none where an `account` gives the budget."""

    fraction: Optional[float] = option(None, "null or a number from 0 to 1", lambda v: v is None or 0 <= v <= 1)
    """Share of the rows that have a score; rounded down in decimal arithmetic."""
    rows: Optional[int] = option(None, "null or an integer of at least 0", lambda v: v is None or v >= 0)
    """Number of rows."""
    gpu_hours: Optional[float] = option(None, "null or a number above 0", lambda v: v is None or v > 0)
    """Device-hours of the whole job: loading, scoring, both translations, retries. CPU-hours where a pool has no
    GPU."""
    money: Optional[float] = option(None, "null or a number above 0", lambda v: v is None or v > 0)
    """Money for the whole job, in the currency of `price`: what `gpu_hours` counts, and the tokens of served models."""
    threshold: Optional[str] = None
    """Lowest predicted gain of a routed row, as a number or as a file of jobs/threshold.py. Each row is decided
    separately, so the share of routed rows depends on the corpus."""
    threshold_share: Optional[float] = option(None, "null or a number from 0 to 1", lambda v: v is None or 0 <= v <= 1)
    """Share of the rows that `threshold` routed in the run where it was found, for comparison. A file of
    jobs/threshold.py sets it."""
    objective: Optional[str] = choice(None, OBJECTIVES)
    """The order of the rows: `gain`, or `gain_per_cost`, the gain divided by the extra cost of the large model. Null:
    `gain_per_cost` for a budget in hours or money, else `gain`."""
    min_gain: Optional[float] = None
    """Rows whose predicted gain is at or below this are never routed, even if a part of the budget stays unspent. Null:
    0 for a budget in hours or money with a router in units of gain, else no bound."""
    strata: Optional[str] = None
    """Input column with the strata of floors and caps; null: the language pair, e.g. `en->de`."""
    floors: dict[str, float] = option({}, "a mapping of strata to numbers from 0 to 1", _is_shares)
    """Least share of a stratum's eligible rows that is routed, e.g. `{en->de: 0.1}`. Guards and caps take precedence
    over floors."""
    caps: dict[str, float] = option({}, "a mapping of strata to numbers from 0 to 1", _is_shares)
    """Largest share of a stratum's eligible rows that is routed."""
    tranches: int = option(5, "an integer from 1 to 5", lambda v: 1 <= v <= 5)
    """Number of parts into which the large model's work is cut under a budget in hours or money; after each part the rest is
    planned again at the measured cost. 1 plans once and trusts the profile."""
    reserve: float = option(1.0, "a number of at least 0", lambda v: v >= 0)
    """The part of a budget in hours or money that is kept for engines that die. 1 keeps one load of each pool and the
    work in flight; 2 keeps twice as much; 0 keeps nothing. Further deaths are paid too, and the report gives their
    cost."""
    dry_run: bool = False
    """Score, report what the budget would buy, and stop before the large model is loaded. A real run reuses the
    scores."""

    def asked(self) -> dict[str, object]:
        """Collects the keys that identify a budget: all except `reserve` and `dry_run`."""
        keys = ("fraction", "rows", "gpu_hours", "objective", "min_gain", "strata", "floors", "caps", "tranches")
        asked = {key: getattr(self, key) for key in keys}
        later = {key: getattr(self, key) for key in ("threshold", "money")}
        return asked | {key: value for key, value in later.items() if value is not None}

    @property
    def by_cost(self) -> bool:
        """True for a budget in hours or money, which is spent in tranches."""
        return self.gpu_hours is not None or self.money is not None


@dataclass(frozen=True)
class CostConfig:
    """The cost of each stage, for budgets in hours or money and for a dry run."""

    path: Optional[str] = None
    """cost.json of jobs/profile_costs.py, made on the hardware of the run; null: the job measures costs on a small
    sample."""
    rows: int = option(256, "an integer of at least 16", lambda v: v >= 16)
    """Rows of that sample."""
