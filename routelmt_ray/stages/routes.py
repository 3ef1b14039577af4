"""Decides by a rule which rows of a shard the large model translates.

The decision depends only on the rule and the files it names. It is the same on every worker at any time.
"""

from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray import storage
from routelmt_ray.budget.risk import Floors
from routelmt_ray.budget.rule import (
    BELOW_CUT,
    CAP,
    CHECK,
    FAILING,
    FLOOR,
    GAIN,
    MEMORY,
    MIN_GAIN,
    NO_ROUTE,
    NOT_SCORED,
    PAID,
    UNSCALED,
    Band,
    Rule,
    reasons,
)  # fmt: skip
from routelmt_ray.config import schema
from routelmt_ray.config.guards import GUARDS, JUDGED
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import score
from routelmt_ray.stages.exchange import read_existing
from routelmt_ray.stages.judge import judged
from routelmt_ray.stages.memory import remembered_rows
from routelmt_ray.stages.validate import strings

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Routes:
    """The decisions of a rule on the rows of a shard. All arrays have shape ``(rows,)``."""

    routed: Mask
    """True where the large model translates."""
    small: Mask
    """True where the small model translates and no later decision can change this."""
    by: npt.NDArray[np.int8]
    """Number of the decision that settled the row; -1 while the row is open, or where it cannot be translated."""
    reason: npt.NDArray[np.int8]
    """Index into `reasons()`; `NO_ROUTE` where the row cannot be translated."""

    def of(self, size: str) -> Mask:
        """Selects the rows of the model ``small`` or ``large``."""
        return self.routed if size == schema.LARGE else self.small


class ShardRows:
    """The scored rows of one shard, as a rule needs them."""

    def __init__(self, context: RunContext, rule: Rule, shard: Shard) -> None:
        self.context, self._rule, self.shard = context, rule, shard
        costed = ["prompt_tokens", "source_tokens"] if rule.cost else []
        by_pair = any(isinstance(limit, Floors) and limit.pairs for _, limit in rule.guards)
        pairs = ["pair"] if rule.cost or by_pair or (rule.stratified and rule.strata_column is None) else []
        evidence = [GUARDS[name].evidence for name, _ in rule.guards]
        guarded = [column for column in evidence if column is not None and column != JUDGED]
        counted = [score.OCCURRENCES.name] if rule.once else []
        self._table = self._read(list(dict.fromkeys(["predicted_gain", *costed, *pairs, *guarded, *counted])))
        self.gains: npt.NDArray[np.float32] = self._table["predicted_gain"].to_numpy()
        self.occurrences: npt.NDArray[np.int64] | None = self._table[counted[0]].to_numpy() if counted else None
        self.audit = self._audit()
        self.small_s, self.large_s = self._seconds()
        paid_small = self.translated(rule.paid_small)
        self.paid = self.translated(rule.paid_large)
        # Work that an audit or an earlier budget paid is not due again.
        self.owed_small_s = np.where(paid_small | self.audit, 0.0, self.small_s)
        self.owed_large_s = np.where(self.paid | self.audit, 0.0, self.large_s)
        self._relief_s = np.zeros(len(self.gains)) if rule.both else np.where(paid_small, 0.0, self.small_s)
        self.reason = self._reasons()

    def under(self, rule: Rule) -> "ShardRows":
        """Gives the same rows under a rule that has decided something else. What was read of them is not read again."""
        rows = copy(self)
        rows._rule, rows.ok = rule, self.ok
        return rows

    @cached_property
    def ok(self) -> Mask:
        """True where the row can be translated. It is read on demand, as no pass of a selection needs it."""
        codes, names = _codes(self._read(["status"])["status"])
        return codes == names.index(schema.OK) if schema.OK in names else np.zeros(len(codes), bool)

    @property
    def first_place(self) -> int:
        """Place of the first row in the whole corpus."""
        return self.shard.first_place

    @property
    def stands_for(self) -> npt.NDArray[np.int64]:
        """Number of rows that a row stands for, shape ``(rows,)``; 0 for a repeat."""
        return np.ones(len(self.gains), np.int64) if self.occurrences is None else self.occurrences

    @property
    def total_gains(self) -> Floats:
        """Predicted gain of all rows that a row stands for, float64, shape ``(rows,)``."""
        return self.gains.astype(np.float64) * self.stands_for

    def values(self, scales: tuple[float, float]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
        """Computes the value and the weight of every row that a rule may route; the value is NaN for the others.

        Costs are scaled for the small and the large model. Values are float32, shape ``(rows,)``. Weights are int64, at least 1, in
        microseconds of device time, or in the parts of the cost model's unit; None where the rule has no costs.
        """
        gains = self.gains
        if self._rule.gain_counts:
            limits = np.finfo(np.float32)
            gains = self.total_gains.clip(limits.min, limits.max).astype(np.float32)
        values = np.where(self.reason == BELOW_CUT, gains, np.float32("nan"))
        if self._rule.cost is None:
            return values, None
        parts = self._rule.cost.parts
        extra = np.rint(parts * (scales[1] * self.large_s - scales[0] * self._relief_s))
        weights = np.maximum(extra, 1).astype(np.int64)
        if self._rule.objective == "gain_per_cost":
            values = (values / (weights * (1 / parts))).astype(np.float32)
        weights[self.audit] = 1
        return values, weights + int(parts * self._rule.judge_row_s)

    def strata(self) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
        """Reads the stratum of each row: codes, shape ``(rows,)``, -1 for none, and the names for the codes."""
        column = self._rule.strata_column
        if column is None:
            return self.pairs()
        values = read_shard(self.shard, self.context.schema, [column])[column]
        return _codes(pc.cast(values, pa.string()))

    @property
    def candidates(self) -> Mask:
        """True for rows within the band of candidates."""
        assert self._rule.candidates is not None
        return _within(self, self._rule.candidates, np.ones(len(self.gains), bool))

    @cached_property
    def failing(self) -> Mask:
        """True where the small translation of a row fails a check that escalates."""
        return self.named((self._rule.failing,))

    def named(self, stages: tuple[str, ...]) -> Mask:
        """Finds the rows that are named in any of some stages, all of which are committed."""
        found = np.zeros(len(self.gains), bool)
        for stage in stages:
            table = storage.read_table(self.context.run.shard_path(stage, self.shard.index), columns=["place"])
            found[table["place"].to_numpy() - self.first_place] = True
        return found

    def pairs(self) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
        return _codes(self._table["pair"])

    def _audit(self) -> Mask:
        if self._rule.audit is None:
            return np.zeros(len(self.gains), bool)
        return self._rule.audit.mask(np.where(np.isnan(self.gains), self.gains, np.float32(0)), self.first_place)

    def _seconds(self) -> tuple[Floats, Floats]:
        cost = self._rule.cost
        if cost is None:
            return np.zeros(len(self.gains)), np.zeros(len(self.gains))
        prompt, source = (self._table[name].to_numpy() for name in ("prompt_tokens", "source_tokens"))
        small, large = (cost.row_seconds(size, prompt, source, *self.pairs()) for size in (schema.SMALL, schema.LARGE))
        return small, large

    def translated(self, stages: tuple[str, ...]) -> Mask:
        """Finds the rows that have a translation in any of some stages."""
        found = np.zeros(len(self.gains), bool)
        for table in read_existing(self.context.run, stages, self.shard.index, ["place", "translation"]):
            found[table.filter(pc.is_valid(table["translation"]))["place"].to_numpy() - self.first_place] = True
        return found

    def _reasons(self) -> npt.NDArray[np.int8]:
        """The reason why each row cannot be routed; `BELOW_CUT` where it can."""
        rule = self._rule
        reason = np.full(len(self.gains), BELOW_CUT, np.int8)
        for name, limit in rule.guards:
            guard = GUARDS[name]
            if guard.blocks is not None and (evidence := self._evidence(guard.evidence)) is not None:
                reason[guard.blocks(evidence, self._limits(limit))] = reasons().index(guard.reason)
        if rule.min_gain is not None:
            reason[self.gains <= rule.min_gain] = MIN_GAIN
        reason[np.isnan(self.gains)] = NOT_SCORED
        if rule.remembered:
            reason[remembered_rows(self.context.run, rule.remembered, self.shard)] = MEMORY
        return reason

    def _limits(self, limit: float | Floors) -> float | Floats:
        """The limit of a guard: one for all rows, or one for each, shape ``(rows,)``."""
        if not isinstance(limit, Floors):
            return limit
        if not limit.pairs:
            return limit.other
        codes, names = self.pairs()
        floors: Floats = limit.of(names)[codes]
        return floors

    def _evidence(self, name: str | None) -> npt.NDArray[np.floating] | None:
        """Finds the evidence of a guard, shape ``(rows,)``; None where it is not known yet."""
        if name != JUDGED:
            values: npt.NDArray[np.floating] = self._table[name].to_numpy()
            return values
        stages, shard = self._rule.judged, self.shard
        if not stages:
            return None
        return judged(self.context.run, stages, shard.index, self.first_place, len(self.gains))[schema.SMALL]

    def _read(self, columns: list[str]) -> pa.Table:
        path = self.context.run.shard_path(score.STAGE, self.shard.index)
        return storage.read_table(path, columns, dictionaries=["pair", "status"])


def open_values(
    rows: ShardRows, rule: Rule, scales: tuple[float, float], again: str | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    """Computes values and weights like :meth:`ShardRows.values`, with NaN also for rows that are already settled.

    With `again`, as in :class:`~routelmt_ray.budget.rule.Decision`, such rows are taken instead of open ones.
    """
    values, weights = rows.values(scales)
    values[~_open(rows, rule, _settle(rows, rule), again)] = np.nan
    return values, weights


def decide(rows: ShardRows, rule: Rule) -> Routes:
    """Applies the decisions that a rule has so far to the rows of a shard."""
    routes = _settle(rows, rule)
    if rule.decisions:  # rows that may not be routed go to the small model from the start
        settled = rows.ok & (routes.reason != BELOW_CUT) & ~routes.routed
        routes.small[settled], routes.by[settled] = True, 0
    routes.reason[~rows.ok] = NO_ROUTE
    return routes


def _settle(rows: ShardRows, rule: Rule) -> Routes:
    """Applies the decisions to rows that may be routed. Whether the others can be translated is not read here."""
    n = len(rows.gains)
    routes = Routes(np.zeros(n, bool), np.zeros(n, bool), np.full(n, -1, np.int8), rows.reason.copy())
    mandatory = np.zeros(n, bool)
    if rule.strata is not None:
        values, _ = rows.values(UNSCALED)
        mandatory, allowed = rule.strata.masks(values, rows.first_place, *rows.strata())
        mandatory &= allowed  # a segment that occurs often may be more than a cap allows
        routes.reason[(routes.reason == BELOW_CUT) & ~allowed] = CAP

    def take(mask: Mask, number: int, reason: int) -> None:
        routes.routed[mask], routes.by[mask], routes.reason[mask] = True, number, reason

    for number, decision in enumerate(rule.decisions):
        if number == 0:
            take(routes.reason == MEMORY, number, MEMORY)
            take(rows.paid & (routes.reason == BELOW_CUT), number, PAID)
            take(mandatory & ~routes.routed, number, FLOOR)
        still = _open(rows, rule, routes, decision.again)
        if decision.routed is not None:
            take(_within(rows, decision.routed, still), number, CHECK if decision.again == FAILING else GAIN)
            routes.small[routes.routed] = False
        left = (routes.reason == BELOW_CUT) & (routes.by < 0)
        if not decision.final:
            left &= ~still if decision.open is None else ~_within(rows, decision.open, still)
        routes.small[left], routes.by[left] = True, number
    return routes


def _open(rows: ShardRows, rule: Rule, routes: Routes, again: str | None) -> Mask:
    """True for rows that may be routed and are not settled, or that a decision may take back from the small model."""
    still = (routes.reason == BELOW_CUT) & (routes.by < 0 if again is None else routes.small)
    if again == FAILING:
        still &= rows.failing
    if rule.candidates is not None:
        still &= rows.candidates
    return still


def _within(rows: ShardRows, band: Band, still: Mask) -> Mask:
    values, _ = rows.values(band.scales)
    values[~still] = np.nan
    return band.cut.mask(values, rows.first_place)


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    encoded = pc.dictionary_encode(column).unify_dictionaries().combine_chunks()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    return codes, tuple(map(str, strings(pa.chunked_array([encoded.dictionary]))))
