"""Selections and sums over all score shards, as passes of plain Ray tasks.

A pass sends a rule and a small state to tasks. Each task counts a run of neighbouring shards, and the driver adds up.
The driver counts a small corpus itself, and reads its scores once for all passes.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial, reduce
from operator import add
from typing import Any, TypeVar

import numpy as np

from routelmt_ray.budget import Cut, Histogram, Search, StrataCuts, StrataHistogram, StrataSearch, count_strata
from routelmt_ray.budget.rule import MEMORY, UNSCALED, Band, Rule
from routelmt_ray.corpus.shards import Shard, ShardPlan
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages.routes import ShardRows, decide, open_values
from routelmt_ray.stages.translate import Leg

Total = TypeVar("Total")
_OTHERS, _SHOWN = 100, 10
"""Number of strata that are kept although no floor or cap names them, and number of these that a message shows."""
_TASK_ROWS = 8_000_000
"""Rows that a task counts: about a second of work, so that the overhead of Ray is small compared with it."""
_KEPT_ROWS = 500_000
"""Most rows of a corpus whose scores the driver keeps. They take about 60 bytes per row. To read them again for each pass
takes most of the time of a plan with many passes, as of a budget in hours."""


@dataclass(frozen=True)
class ScoredCorpus:
    """The scored corpus a rule is applied to."""

    context: RunContext
    """The run; all of its scores are committed."""
    plan: ShardPlan
    """The shards of the run."""
    _kept: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def over(self, function: Callable[..., Any], *words: Any) -> Iterator[Any]:
        """Calls ``function(context, shards, *words)`` on runs of neighbouring shards; results in order."""
        work = [(self.context, group, *words) for group in self._groups()]
        # A single group of shards is counted here, because the start of a task would take longer.
        return cluster.stream(function, work) if len(work) > 1 else (function(*each) for each in work)

    def total(self, rule: Rule, count: Callable[[ShardRows], Total], start: Total) -> Total:
        """Sums up what a function counts in the rows of each shard."""
        nothing: Any = start
        kept = self._rows(rule)
        found: Total = sum(self.over(_total, rule, count) if kept is None else map(count, kept), nothing)
        return found

    def _rows(self, rule: Rule) -> list[ShardRows] | None:
        """Gives the rows of all shards of a small corpus, and reads only those that it does not keep. None for a large one.

        What a rule decides is in no file that they were read from. Judgements are not kept, as more of them come.
        """
        if self.plan.rows > min(_KEPT_ROWS, _TASK_ROWS) or rule.judges_first:
            return None
        base = replace(rule, decisions=(), judge_row_s=0.0)
        if not self._kept or self._kept[0] != base:
            self._kept[:] = [base, [ShardRows(self.context, base, self.plan[i]) for i in range(len(self.plan))]]
        return [rows.under(rule) for rows in self._kept[1]]

    def _groups(self) -> Iterator[list[Shard]]:
        size = max(1, _TASK_ROWS // self.plan.shard_rows)
        for start in range(0, len(self.plan), size):
            yield [self.plan[i] for i in range(start, min(start + size, len(self.plan)))]

    def find_cut(
        self, rule: Rule, search: Search, scales: tuple[float, float] = UNSCALED, again: str | None = None
    ) -> Band:
        """Finds the exact cut of the rows that a rule leaves open, or of those that it may take back.

        Args:
            rule: what is settled already.
            search: for a number of rows, or for a capacity in the parts that rows are weighed in.
            scales: measured cost divided by profiled cost, of the small and the large model.
            again: as in :class:`~routelmt_ray.budget.rule.Decision`.
        """

        kept = self._rows(rule)
        if kept is None:
            count = partial(_count_open, rule, scales, again)
            return Band(_found(search, lambda state: self.total(rule, partial(count, state), Histogram())), scales)
        opened = [(rows.first_place, *open_values(rows, rule, scales, again)) for rows in kept]  # once for all passes
        return Band(
            _found(search, lambda state: sum((state.histogram(v, p, w) for p, v, w in opened), Histogram())), scales
        )

    def find_strata(self, rule: Rule, floors: Mapping[str, float], caps: Mapping[str, float]) -> StrataCuts:
        """Finds the cuts of floors and caps, each a share of the rows of its stratum that have a score, with their repeats.

        Strata that no floor or cap names are not collected, because each row may have its own stratum.

        Raises:
            ValueError: no row has a stratum that a floor or cap names.
        """
        eligible, named = Counter[str](), frozenset({*floors, *caps})
        for part in self.over(_eligible, rule, named):
            eligible.update(part)
            eligible = _few(eligible, named)
        if len(others := eligible.keys() - named) == _OTHERS and (missing := sorted(named - eligible.keys())):
            raise ValueError(
                f"floors or caps name the stratum {missing[0]!r}, which no row has; there are {_OTHERS} others or more, such "
                f"as {', '.join(sorted(others)[:_SHOWN])}"
            )
        state: StrataSearch | StrataCuts = StrataSearch.of_shares(
            floors, caps, eligible, seed=self.context.seed, weighted=rule.once
        )
        while isinstance(state, StrataSearch):
            state = state.advance(self.total(rule, partial(_count_strata, state), StrataHistogram()))
        return state

    def audit_cut(self, rows: int) -> Cut:
        """Draws the given number of rows for the audit, with a seed, among the rows that have a score."""

        def count(search: Search, rows: ShardRows) -> Histogram:
            return search.histogram(np.where(np.isnan(rows.gains), rows.gains, np.float32(0)), rows.first_place)

        search = Search(k=rows, seed=self.context.seed ^ _AUDIT_STREAM)
        return _found(search, lambda state: self.total(Rule(), partial(count, state), Histogram()))

    def tally(self, rule: Rule) -> "PlanTally":
        """Sums up what a rule has decided so far about all shards."""
        return self.total(rule, partial(tally, rule), PlanTally())

    def counts(self, rule: Rule, large: Leg, small: Leg) -> dict[int, tuple[int, int]]:
        """Counts the rows that two legs of a settled rule have to translate: (large model, small model) by shard."""
        return {shard: counts for part in self.over(count_new, rule, large, small) for shard, counts in part.items()}


_AUDIT_STREAM = 0xA0D17


def _found(state: Search | Cut, count: Callable[[Search], Histogram]) -> Cut:
    """Counts pass after pass until the cut is found."""
    while isinstance(state, Search):
        state = state.advance(count(state))
    return state


def _count_open(
    rule: Rule, scales: tuple[float, float], again: str | None, search: Search, rows: ShardRows
) -> Histogram:
    values, weights = open_values(rows, rule, scales, again)
    return search.histogram(values, rows.first_place, weights)


def _total(context: RunContext, shards: Sequence[Shard], rule: Rule, count: Callable[[ShardRows], Any]) -> Any:
    return reduce(add, (count(ShardRows(context, rule, shard)) for shard in shards))


def _count_strata(search: StrataSearch, rows: ShardRows) -> StrataHistogram:
    values, weights = rows.values(UNSCALED)
    counted = weights if rows.occurrences is None else rows.occurrences
    return search.histogram(values, rows.first_place, *rows.strata(), counted)


def _eligible(context: RunContext, shards: Sequence[Shard], rule: Rule, named: frozenset[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for shard in shards:
        rows = ShardRows(context, rule, shard)
        found.update(count_strata(*rows.strata(), ~np.isnan(rows.gains), rows.occurrences))
        found = _few(found, named)
    return found


def _few(eligible: Counter[str], named: frozenset[str]) -> Counter[str]:
    """Keeps the strata that floors and caps name, and a few others for a message."""
    others = heapq.nsmallest(_OTHERS, eligible.keys() - named)
    return Counter({name: eligible[name] for name in (*(eligible.keys() & named), *others)})


@dataclass(frozen=True)
class PlanTally:
    """Sums over the rows of a corpus under a rule. Tallies of disjoint shards add up."""

    routed: int = 0
    """Rows that the large model translates, without those whose large translation is in the memory."""
    small: int = 0
    """Rows that certainly stay with the small model."""
    open: int = 0
    """Rows that are not settled."""
    gain: float = 0.0
    """Sum of the predicted gain of the routed rows, with their repeats."""
    owed: tuple[tuple[float, ...], ...] = ()
    """Profiled seconds still to be paid for what each decision settled: the small model on its own rows; the small
    model on routed rows; the large model on routed rows; and the extra cost of the large model if a batch that is not
    full costs as much as a full one."""
    open_small_s: float = 0.0
    """Profiled seconds of the small model on the rows that are not settled."""
    audit_small_s: float = 0.0
    """Profiled seconds of the small model on the audit's rows."""
    audit_large_s: float = 0.0
    """The same of the large model."""

    def settled_small_s(self, both: bool) -> list[float]:
        """Computes the profiled seconds of the small model for what each decision settled; with `both`, for routed rows too."""
        return [own + both * routed for own, routed, *_ in self.owed]

    def seconds(self, both: bool) -> tuple[float, float]:
        """Computes the total profiled seconds of the small and the large model, if no further row is routed."""
        small_s = self.open_small_s + self.audit_small_s + sum(self.settled_small_s(both))
        return small_s, self.audit_large_s + sum(owed[2] for owed in self.owed)

    def to_dict(self) -> dict[str, Any]:
        """Converts the tally to JSON-safe fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "PlanTally":
        """Builds the tally that `to_dict` wrote."""
        return cls(**{**fields, "owed": tuple(map(tuple, fields["owed"]))})

    def __add__(self, other: "PlanTally") -> "PlanTally":
        sums = {name: value + getattr(other, name) for name, value in vars(self).items()}
        if self.owed:
            sums["owed"] = tuple(tuple(map(sum, zip(*both))) for both in zip(self.owed, other.owed))
        return PlanTally(**sums)


def tally(rule: Rule, rows: ShardRows) -> PlanTally:
    """Sums up what a rule has decided about the rows of a shard."""
    routes, batch_rows = decide(rows, rule), rows.context.models.large.batch_cost_rows
    owed = []
    for number in range(len(rule.decisions)):
        of = routes.by == number
        large_s = rows.owed_large_s[of & routes.routed & ~rows.paid & ~rows.audit]
        owed.append(
            (
                float(rows.owed_small_s[of & routes.small].sum()),
                float(rows.owed_small_s[of & routes.routed].sum()),
                float(rows.owed_large_s[of & routes.routed].sum()),
                float(large_s.mean() * (-len(large_s) % batch_rows)) if len(large_s) else 0.0,
            )
        )
    still, routed = rows.ok & (routes.by < 0), routes.routed & (routes.reason != MEMORY)
    return PlanTally(
        int(routed.sum()),
        int(routes.small.sum()),
        int(still.sum()),
        float(rows.total_gains[routed].sum()),
        tuple(owed),
        float(rows.owed_small_s[still].sum()),
        float(rows.small_s[rows.audit].sum()),
        float(rows.large_s[rows.audit].sum()),
    )


def count_new(
    context: RunContext, shards: Sequence[Shard], rule: Rule, large: Leg, small: Leg
) -> dict[int, tuple[int, int]]:
    """Counts the rows of some shards that two legs have to translate: (large model, small model) by shard.

    The rule decides the rows of each leg; it is applied once for both.
    """
    counts = {}
    for shard in shards:
        rows = ShardRows(context, rule, shard)
        routes = decide(rows, rule)
        routed, kept = (np.flatnonzero(mask & ~rows.audit) for mask in (routes.routed, routes.small))
        counts[shard.index] = (len(large.new(context, shard, routed)), len(small.new(context, shard, kept)))
    return counts
