"""Plan entries: the decisions of a budget, written before they are used, and the legs of work that follow from them.

A budget is a series of entries. A budget in rows has a single entry, which settles every row. A budget in hours or money begins
with an entry that routes only floors and rows that an earlier budget has paid, and names the rows that certainly stay
with the small model; one entry for each tranche follows. A guard that looks at translations puts entries before these;
each names candidates to be decoded and judged. Checks that escalate put two entries after them, for rows that are taken back
from the small model: first those whose translation fails, then the best of the others. At the end, a budget in hours
also takes rows back, and pays for them with the part that was kept for deaths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from routelmt_ray import storage
from routelmt_ray.budget import Cut, StrataCuts
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.budget.rule import Band, Decision, Rule
from routelmt_ray.config.common import ONCE
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.plan import wanted as select
from routelmt_ray.plan.asked import asked, is_asked
from routelmt_ray.plan.risk import with_floors
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages.memory import stage_of
from routelmt_ray.stages.translate import Leg, Wanted
from routelmt_ray.storage.rundir import RunDir

CANDIDATES, WHOLE, OPENING, TRANCHE, CLOSED = "candidates", "whole", "opening", "tranche", "closed"
ESCALATED, TOPPED = "escalated", "topped"
"""Kinds of entry."""
AUDIT, FALLBACK = -1, -2
"""Entry numbers in items of work that stand for the audit, and for rows that the large model failed on."""
_NUMBERED = re.compile(r"(\d{3,})(-.+)?")


@dataclass(frozen=True)
class Series:
    """The entries of one budget that are written so far. Small, and sent to workers."""

    rule: Rule
    """The rule that follows from the configuration, before any decision."""
    first: int
    """Number of the first entry of this series."""
    base: dict[str, Any]
    """The same for all entries, kept in the first: strata, the draw of the audit, stages of earlier series."""
    entries: tuple[dict[str, Any], ...] = ()
    """The entries as they are in the run directory, oldest first."""

    @property
    def next_number(self) -> int:
        return self.first + len(self.entries)

    @property
    def last(self) -> dict[str, Any]:
        return self.entries[-1]

    @property
    def settled(self) -> bool:
        """True where no further entry follows: every row has its model."""
        return bool(self.entries) and self.last["final"]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Selects the entries of some kinds, oldest first."""
        return [entry for entry in self.entries if entry["kind"] in kinds]

    def current_rule(self) -> Rule:
        """Builds the rule with all that the entries decided."""
        base = self.base
        rule = replace(
            self.rule,
            strata=base["strata"] and StrataCuts.from_dict(base["strata"]),
            paid_small=tuple(base["paid_small"]),
            paid_large=tuple(base["paid_large"]),
            audit=base["audit"] and Cut.from_dict(base["audit"]),
            judge_row_s=self.entries[-1]["judge_row_s"] if self.entries else 0.0,
            failing=self.checked_stage(SMALL),
        )
        judged = self.of(CANDIDATES)
        if judged and rule.judges_first:
            named = Band.from_dict(judged[-1]["candidates"])
            rule = replace(rule, candidates=named, judged=self.judge_stages())
        for entry in self.of(WHOLE, OPENING, TRANCHE, ESCALATED, TOPPED):
            routed, still_open = (entry[key] and Band.from_dict(entry[key]) for key in ("routed", "open"))
            rule = rule.then(Decision(routed, still_open, entry["final"], entry.get("again")))
        return rule

    def read_up_to(self, run: RunDir, number: int) -> Series:
        """Reads from the run directory the series as it was when an entry was written."""
        return replace(self, entries=tuple(run.plan(i) for i in range(self.first, number + 1)))

    def judge_stages(self) -> tuple[str, ...]:
        """Lists the stages with the judgements of candidates, oldest first."""
        return tuple(f"judge/{entry['entry']:03d}" for entry in self.of(CANDIDATES))

    def checked_stage(self, size: str) -> str:
        """Names the stage with the rows of one model whose translation is missing or fails a check that escalates."""
        return f"failing/{self.first:03d}-{size}"

    # Legs

    @property
    def _settling(self) -> int:
        """Number of the entry that gave every row its model, before rows were taken back; the newest one until then."""
        return next((e["entry"] for e in reversed(self.entries) if e["kind"] not in (ESCALATED, TOPPED)), self.first)

    def stages(self, size: str, below: int | None = None) -> tuple[str, ...]:
        """Lists the stages in which translations of one model may exist before an entry's own leg; later stages win.

        Args:
            below: number of the entry; None gives all stages, those after the last entry included.
        """
        earlier = self.base[f"earlier_{size}"]
        numbers = range(self.first, self.next_number if below is None else below)
        own = [f"{size}/{self.audit_name}"] if self.base["audit"] else []  # looking for a file costs a request on S3
        own += [f"{size}/{number:03d}" for number in numbers]
        if size == SMALL and below is None:
            own += [self.leg_both().stage, self.leg_fallback().stage] if self.entries else []
        return (*earlier, *own)

    @property
    def audit_name(self) -> str:
        return f"{self.first:03d}-audit"

    def leg(self, size: str) -> Leg:
        """Builds the leg of the rows that the newest entry gives to a model.

        A row is only in the leg of the entry that settled it, so that several legs may run at the same time.
        """
        number = self.last["entry"]
        by = len(self.of(WHOLE, OPENING, TRANCHE, TOPPED)) - 1
        wanted: Wanted = partial(select.settled, self.current_rule(), size, by)
        if self.last["kind"] == CLOSED:
            wanted = select.nothing
        if self.last["kind"] == ESCALATED:  # both of its entries are written before their rows are translated
            wanted = partial(select.settled, self.current_rule(), size, None)
        if self.last["kind"] == CANDIDATES:
            band = Band.from_dict(self.last["candidates"])
            wanted = partial(select.candidates, replace(self.current_rule(), candidates=band))
        return Leg(size, f"{number:03d}", wanted, self.stages(size, number), self.rule.cost)

    def leg_remainder(self) -> Leg:
        """Builds the leg of all rows that are left to the small model once every row is settled."""
        return replace(self.leg(SMALL), wanted=partial(select.settled, self.current_rule(), SMALL, None))

    def leg_audit(self, size: str) -> Leg:
        """Builds the leg of the rows of the audit, for one model."""
        earlier = tuple(self.base[f"earlier_{size}"])
        return Leg(size, self.audit_name, partial(select.audited, self.current_rule()), earlier, self.rule.cost)

    def leg_both(self) -> Leg:
        """Builds the leg of the routed rows that the small model translates too."""
        wanted = partial(select.settled, self.current_rule(), LARGE, None)
        return Leg(SMALL, f"{self._settling:03d}-both", wanted, self.stages(SMALL, self.next_number), self.rule.cost)

    @property
    def _checks_large(self) -> bool:
        """True where the small model also translates rows whose large translation fails a check: not for a budget in hours,
        which pays the small model for no such row."""
        return bool(self.of(ESCALATED)) and self.last["k"] is not None

    def failed(self, run: RunDir) -> dict[int, int]:
        """Counts the rows whose large translation is missing or fails a check that escalates, by shard, where there are any."""
        if self._checks_large:
            return {s: meta["failing"] for s, meta in run.metas(self.checked_stage(LARGE)).items() if meta["failing"]}
        found: dict[int, int] = {}
        # Rows that were taken back have a small translation.
        entries = [entry for entry in self.entries if entry["kind"] not in (ESCALATED, TOPPED)]
        for stage in [f"{LARGE}/{entry['entry']:03d}" for entry in entries] + [f"{LARGE}/{self.audit_name}"]:
            for shard, meta in run.metas(stage).items():
                found[shard] = found.get(shard, 0) + meta["failed"]
        return {shard: rows for shard, rows in found.items() if rows}

    def leg_fallback(self) -> Leg:
        """Builds the small model's leg of the rows of :meth:`failed`."""
        checked = (self.checked_stage(LARGE),) if self._checks_large else ()
        wanted = partial(select.failed, self.current_rule(), self.stages(LARGE), checked)
        earlier = (*self.stages(SMALL, self.next_number), f"{SMALL}/{self._settling:03d}-both")
        return Leg(SMALL, f"{self._settling:03d}-fallback", wanted, earlier, self.rule.cost)


@dataclass(frozen=True)
class LegOf:
    """Finds the leg of one model in any entry of a series; a worker reads that entry from the run directory."""

    series: Series
    """The series; entries that are written later need not be in it."""
    size: str
    """`small` or `large`."""

    def __call__(self, context: RunContext, entry: int) -> Leg:
        """Returns the leg of an entry that is written; for `AUDIT` the leg of the audit."""
        if entry == AUDIT:
            return self.series.leg_audit(self.size)
        return self.series.read_up_to(context.run, entry).leg(self.size)


@dataclass(frozen=True)
class Remainder:
    """The last legs of the small model, in one execution."""

    leg: Leg
    """The rows that are left to the small model."""
    fallback: Leg
    """The rows that the large model failed on."""

    def __call__(self, context: RunContext, entry: int) -> Leg:
        return self.fallback if entry == FALLBACK else self.leg


def _just_below(threshold: float) -> float:
    """The largest float32 below a threshold: rows at the threshold are routed, those at the bound of a rule are not."""
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


def configured_rule(config: TranslateConfig, cost: CostModel | None) -> Rule:
    """Builds the rule that follows from the configuration, without any decision."""
    budget, guard = config.budget, config.guard
    return Rule(
        objective=config.objective,
        min_gain=config.min_gain if budget.threshold is None else _just_below(float(budget.threshold)),
        guards=tuple(guard.limits.items()),
        both=guard.needs_judge,
        cost=cost,
        stratified=bool(budget.floors or budget.caps),
        strata_column=budget.strata,
        remembered=stage_of(LARGE) if config.memory.path is not None else "",
        once=config.input.duplicates == ONCE,
        gain_counts=config.input.duplicates == ONCE and config.router.is_gain,
    )


def newest_series(run: RunDir, rule: Rule, config: TranslateConfig) -> Series | None:
    """Reads the newest series of a run; None where there is none, or where it has other settings."""
    entries = run.plans()
    if not entries or not is_asked(entries[-1], asked(config, rule.cost)):
        return None
    first = entries[-1]["series"]
    base = entries[first]["base"]
    return Series(with_floors(rule, config, base.get("risk")), first, base, tuple(entries[first:]))


def earlier_stages(run: RunDir, size: str) -> tuple[str, ...]:
    """Lists the stages of one model that earlier series left in the run directory, oldest first."""
    names = [name for name in storage.list_names(run.root / size) if _NUMBERED.fullmatch(name)]
    return tuple(f"{size}/{name}" for name in sorted(names, key=_age))


def _age(name: str) -> tuple[int, str]:
    match = _NUMBERED.fullmatch(name)
    assert match is not None
    return int(match[1]), match[2] or ""


def write(
    run: RunDir, series: Series, config: TranslateConfig, kind: str, final: bool, fields: Mapping[str, Any]
) -> Series:
    """Writes the next entry of a series to the run directory, and returns the series with it."""
    entry = {
        "entry": series.next_number,
        "series": series.first,
        "kind": kind,
        "final": final,
        "asked": asked(config, series.rule.cost),
        **({} if series.entries else {"base": series.base}),
        **fields,
    }
    run.write_plan(entry)
    return replace(series, entries=(*series.entries, entry))
