"""Planning: selections over the scored corpus become plan entries, each written down before it is used."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from routelmt_ray import plan as plans
from routelmt_ray.budget import Search, rows_for_fraction
from routelmt_ray.budget.closed_loop import Capacity
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.config_translate import TranslateConfig
from routelmt_ray.plan import CANDIDATES, OPENING, TRANCHE, WHOLE, Series
from routelmt_ray.schema import LARGE, SMALL
from routelmt_ray.shards import ShardPlan
from routelmt_ray.stages import score
from routelmt_ray.stages.allocate import Corpus, Tally
from routelmt_ray.stages.context import RunContext
from routelmt_ray.stages.routes import Band, Decision, Rule

log = logging.getLogger(__name__)

_ALL = 1 << 62
"""A limit that every corpus is below."""
_LEAST_SURE = 0.05
"""Share of the open rows that an opening leaves to the small model at least, so that its cost is measured."""
_SPARE = 1.25
"""Candidates are decoded for so much more than the budget holds, as some will turn out good enough."""
_MOST_ROUNDS = 6


@dataclass
class Planner:
    """Writes the entries of a series."""

    config: TranslateConfig
    """The job."""
    corpus: Corpus
    """The scored corpus."""
    series: Series
    """The entries so far."""
    n_eligible: int
    """Rows that got a score; fixed after scoring."""

    @property
    def run_dir(self) -> Any:
        """The run directory."""
        return self.corpus.context.run

    @property
    def k(self) -> int | None:
        """Rows the budget allows, before there are fewer to give; None for a budget in hours."""
        budget = self.config.budget
        if budget.fraction is not None:
            return rows_for_fraction(budget.fraction, self.n_eligible)
        return budget.rows

    def rule(self) -> Rule:
        """The rule as decided so far; before the first entry, as that entry will have it."""
        return self.series.current_rule()

    def write(self, kind: str, *, final: bool = False, judge_row_s: float | None = None, **fields: Any) -> None:
        """Writes the next entry down."""
        if judge_row_s is None:
            judge_row_s = self.series.last["judge_row_s"] if self.series.entries else 0.0
        whole = {
            "n_rows": self.corpus.plan.rows,
            "n_eligible": self.n_eligible,
            "k": self.k,
            "judge_row_s": judge_row_s,
            **fields,
        }
        if not self.series.entries:
            whole["base"] = self._base
        self.series = plans.write(self.run_dir, self.series, self.config, kind, final, whole)

    def start(self) -> None:
        """Works out what holds for all entries of a new series: strata, audit, what earlier budgets have paid."""
        if self.series.entries:
            self._base = self.series.entries[0]["base"]
            return
        budget, run = self.config.budget, self.run_dir
        earlier = {size: plans.earlier_stages(run, size) for size in (SMALL, LARGE)}
        pays = budget.gpu_hours is not None
        audit = self.corpus.audit_cut(self.config.audit.rows) if self.config.audit.rows else None
        base: dict[str, Any] = {
            "audit": audit and audit.to_dict(),
            "paid_small": earlier[SMALL] if pays else (),
            "paid_large": earlier[LARGE] if pays else (),
            "earlier_small": earlier[SMALL],
            "earlier_large": earlier[LARGE],
            "strata": None,
            "strata_scales": (1.0, 1.0),
        }
        if self.series.rule.stratified:
            rule = replace(self.series.rule, audit=audit, paid_small=base["paid_small"], paid_large=base["paid_large"])
            eligible = self.corpus.eligible_by_stratum(rule)
            floors, caps = ({k.replace("->", "→"): v for k, v in shares.items()} for shares in (budget.floors, budget.caps))
            base["strata"] = self.corpus.find_strata(rule, floors, caps, eligible, (1.0, 1.0)).to_dict()
        self._base = base
        self.series = replace(self.series, base=base)

    def settle(self) -> None:
        """Settles every row at once: a budget in rows, and what a dry run would do."""
        band = self._rows_band()
        self.write(WHOLE, final=True, routed=band.to_dict(), open=None)

    def _rows_band(self) -> Band:
        rule = self.rule()
        mandatory = self.corpus.tally(rule.then(Decision(self.nothing()))).routed if rule.strata is not None else 0
        assert self.k is not None
        if mandatory > self.k:
            raise ValueError(
                f"budget.floors ask for {mandatory} rows, more than the {self.k} that the budget allows; lower the floors "
                "or raise the budget"
            )
        ...
