"""Writes the output of a shard: one row for every input row, in input order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray import storage
from routelmt_ray.budget.rule import NO_ROUTE, Rule, reasons
from routelmt_ray.config import schema
from routelmt_ray.config.guards import GUARDS
from routelmt_ray.corpus import jsonl, salvage, sniff
from routelmt_ray.corpus.languages import pair_label
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages import score
from routelmt_ray.stages.judge import judged
from routelmt_ray.stages.routes import ShardRows, decide
from routelmt_ray.stages.validate import language_codes, needed_columns, present, strings

STAGE = "output"
KEPT_SMALL = GUARDS["keep_better"].reason
"""Reason of a routed row whose small translation the judge preferred."""
QUARANTINE = "quarantine"
_HISTOGRAM_BINS = 60
Translations = dict[int, tuple[str | None, str, str | None]]
"""(translation, status, error) by row number of a shard."""


@dataclass(frozen=True)
class MergePlan:
    """The decisions of a series of plan entries, and the stages with the translations."""

    rule: Rule
    """The rule that says which rows are routed, and why."""
    small: tuple[str, ...]
    """Stages with translations of the small model."""
    large: tuple[str, ...]
    """Stages with translations of the large model."""
    keep_better: float | None
    """Margin by which the judge must prefer a small translation to keep it. None keeps that of the routed model."""
    judged: tuple[str, ...]
    """Stages with judgements of routed rows."""
    audit: str | None
    """Measure of the gain of the audited rows, `chrf` or `judge`; None without an audit."""
    gain_edges: tuple[float, ...]
    """Edges of the histogram of predicted gain in the report."""


def gain_edges(metas: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """Computes the edges of the histogram of the report: equal bins for most scores, and one wide bin at each end.

    Args:
        metas: summaries of score shards with eligible rows.
    """
    if not metas:
        return ()
    low, high = min(meta["min_gain"] for meta in metas), max(meta["max_gain"] for meta in metas)
    if low == high:
        return low - 0.5, high + 0.5
    first, last = (float(np.median([meta["bulk"][side] for meta in metas])) for side in (0, 1))
    bulk = np.linspace(first, last, _HISTOGRAM_BINS - 1)
    return tuple(np.unique([low, *bulk.tolist(), high]).tolist())


class Merge:
    """Commits the output and quarantine of a shard. Reads: an item of work. Writes: shard, rows (for the progress)."""

    def __init__(self, context: RunContext, plan: MergePlan) -> None:
        """Args: context: the run; plan: the decisions, and the stages with the translations."""
        self._context, self._plan = context, plan

    def __call__(self, item: pa.Table) -> pa.Table:
        """Commits the shard that an item of work names; returns one summary row."""
        context, plan, shard = self._context, self._plan, from_item(item)
        corpus_names = context.schema.names
        reference = context.input.columns.reference
        columns = dict.fromkeys([*corpus_names, *needed_columns(context.input), *([reference] if reference else [])])
        table = read_shard(shard, context.schema, list(columns))
        scores = storage.read_table(context.run.shard_path(score.STAGE, shard.index), columns=["status"])
        rows = ShardRows(context, plan.rule, shard)
        routes, gains = decide(rows, plan.rule), rows.gains
        names = reasons()
        whys = [None if code == NO_ROUTE else names[code] for code in routes.reason.tolist()]
        small, large = (
            _translations(context, stages, shard.index, shard.first_place) for stages in (plan.small, plan.large)
        )
        preferred = self._preferred(shard)
        statuses = scores["status"].to_pylist()
        merged = _choose(statuses, routes.routed.tolist(), whys, preferred, small, large)
        damaged = self._complete(merged, statuses, table)
        types = {field.name: field.type for field in schema.OUTPUT_COLUMNS}
        added = pa.table({name: pa.array(values, types[name]) for name, values in merged.items()})
        added = added.append_column("predicted_gain", pa.array(gains, pa.float32(), mask=np.isnan(gains)))
        prefix = context.prefix
        output = table.select(corpus_names)
        for name in schema.OUTPUT_COLUMNS.names:
            output = output.append_column(prefix + name, added[name])
        lost = pc.invert(pc.is_in(added["status"], pa.array(schema.DELIVERED)))
        if pc.any(lost).as_py():  # before the output, so that a committed shard has its quarantine
            self._quarantine(shard.index, output.append_column(jsonl.BAD_LINE, table[jsonl.BAD_LINE]).filter(lost))
        meta = self._summary(table, added, gains) | {"damaged": damaged}
        audited = np.flatnonzero(rows.audit)
        realised = self._realised_gains(shard, table, audited, small, large)
        meta["audit"] = [
            [float(gains[i]), None if np.isnan(gain) else float(gain), bool(routes.routed[i])]
            for i, gain in zip(audited, realised)
        ]
        context.run.commit(STAGE, shard.index, output, meta, compression="zstd")
        return pa.table({"shard": [shard.index], "rows": [shard.rows]})

    def _complete(self, merged: dict[str, list[Any]], statuses: list[str], table: pa.Table) -> dict[str, int]:
        """Adds the results that need no model: sources that are kept as they are, and notes on damage to the input.

        Returns:
            Number of rows that lost data to damage, by file.
        """
        same = np.flatnonzero([status == schema.SAME_LANGUAGE for status in statuses])
        for row, source in zip(same.tolist(), strings(table[self._context.input.columns.source].take(same))):
            merged["translation"][row] = source
        damaged: Counter[str] = Counter()
        for row, line in present(table[jsonl.BAD_LINE]):
            merged["error"][row] = sniff.why_no_object(line)
        for row, lost in present(table[salvage.UNREADABLE]):
            names = [name for name in lost["columns"] if name in self._context.schema.names]
            words = [merged["error"][row], f"the file is damaged here: {', '.join(names)} could not be read"]
            merged["error"][row] = "; ".join(filter(None, words))
            damaged[lost["file"]] += 1
        return dict(damaged)

    def _preferred(self, shard: Shard) -> np.ndarray:
        """True where the judge prefers the small translation of a row, shape ``(rows,)``."""
        if self._plan.keep_better is None:
            return np.zeros(shard.rows, bool)
        found = judged(self._context.run, self._plan.judged, shard.index, shard.first_place, shard.rows)
        # A row that was not judged is NaN, and compares as false.
        return found[schema.SMALL] > found[schema.LARGE] + self._plan.keep_better

    def _realised_gains(
        self, shard: Shard, table: pa.Table, audited: np.ndarray, small: Translations, large: Translations
    ) -> np.ndarray:
        """Measured gain of the rows that both models translated for the audit; NaN where it could not be measured."""
        if self._plan.audit != "chrf":
            found = judged(self._context.run, self._plan.judged, shard.index, shard.first_place, shard.rows)
            return (found[schema.LARGE] - found[schema.SMALL])[audited]
        name = self._context.input.columns.reference
        references = strings(table[name].take(audited))
        of = [
            ChrF().segment_scores(
                [None] * len(audited), [side[i][0] if i in side else None for i in audited], references
            )
            for side in (small, large)
        ]
        return of[1] - of[0]

    def _quarantine(self, shard: int, rows: pa.Table) -> None:
        if rows[jsonl.BAD_LINE].null_count == rows.num_rows:
            rows = rows.drop_columns([jsonl.BAD_LINE])
        else:
            at = rows.column_names.index(jsonl.BAD_LINE)
            rows = rows.set_column(at, self._context.prefix + "raw_line", rows[jsonl.BAD_LINE])
        self._context.run.commit(QUARANTINE, shard, rows, {"rows": rows.num_rows}, compression="zstd")

    def _summary(self, table: pa.Table, added: pa.Table, gains: np.ndarray) -> dict[str, Any]:
        """The figures of a shard for the report. Sums over all shards give those of the run."""
        config = self._context
        sources, targets = language_codes(table, config.input)
        route, model = added["route"].to_pylist(), added["model"].to_pylist()
        pairs: dict[str, Counter[str]] = {}
        labels = lru_cache(maxsize=None)(pair_label)
        for source, target, to, by in zip(sources, targets, route, model):
            count = pairs.setdefault(labels(source, target), Counter())
            count.update(["rows", f"routed_{to}", f"translated_{by}"])
        chosen = np.asarray([r == schema.LARGE for r in route])
        edges = np.asarray(self._plan.gain_edges)
        histogram = {
            name: np.histogram(gains[mask & ~np.isnan(gains)], edges)[0].tolist() if len(edges) else []
            for name, mask in (("small", ~chosen), ("large", chosen))
        }
        quality: dict[str, dict[str, float]] = {}
        if config.input.columns.reference is not None:
            quality = _quality(table[config.input.columns.reference], added["translation"], model)
        return {
            "rows": table.num_rows,
            "routed": int(chosen.sum()),
            "fallbacks": sum(
                1
                for to, by, why in zip(route, model, added["route_reason"].to_pylist())
                if to == schema.LARGE and by == schema.SMALL and why != KEPT_SMALL
            ),
            "reasons": dict(Counter(r for r in added["route_reason"].to_pylist() if r is not None)),
            "statuses": dict(Counter(added["status"].to_pylist())),
            "pairs": {pair: dict(count) for pair, count in pairs.items()},
            "gain_histogram": histogram,
            "quality": quality,
        }


def _translations(context: RunContext, stages: tuple[str, ...], shard: int, first_place: int) -> Translations:
    """(translation, status, error) by row number of the shard. Of several legs, the later one counts."""
    found: Translations = {}
    for stage in stages:
        path = context.run.shard_path(stage, shard)
        if storage.exists(path):
            columns = storage.read_table(path).to_pydict()
            rows = zip(columns["place"], columns["translation"], columns["status"], columns["error"])
            found.update((place - first_place, (text, status, error)) for place, text, status, error in rows)
    return found


def _choose(
    statuses: list[str],
    routed: list[bool],
    whys: list[str | None],
    small_preferred: np.ndarray,
    small: Translations,
    large: Translations,
) -> dict[str, list[Any]]:
    """The columns of the output. The translation is that of the routed model, or that of the small model where the
    large one failed or the judge prefers the small one."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("translation", "model", "route", "route_reason", "status", "error")
    }
    for row, status in enumerate(statuses):
        text = model = route = error = None
        reason = whys[row]
        if status != schema.OK:
            error = schema.STATUS_MEANING.get(status)
        else:
            route = schema.LARGE if routed[row] else schema.SMALL
            text, status, error = (large if routed[row] else small)[row]
            model = route
            if routed[row] and text is None:
                text, status, small_error = small[row]
                error = f"large: {error}" + (f"; small: {small_error}" if small_error else "")
                model = schema.SMALL
            elif routed[row] and small_preferred[row]:
                text, status, error = small[row]
                model, reason = schema.SMALL, KEPT_SMALL
            if text is None:
                model = None
        for name, value in zip(columns, (text, model, route, reason, status, error)):
            columns[name].append(value)
    return columns


def _quality(
    references: pa.ChunkedArray, hypotheses: pa.ChunkedArray, model: list[str | None]
) -> dict[str, dict[str, float]]:
    sums: dict[str, dict[str, float]] = {}
    rows = [
        (hypothesis, reference, by)
        for hypothesis, reference, by in zip(hypotheses.to_pylist(), strings(references), model)
        if by is not None and isinstance(reference, str) and reference.strip()
    ]
    hypotheses_of, references_of = [row[0] for row in rows], [row[1] for row in rows]
    values = ChrF().segment_scores([None] * len(rows), hypotheses_of, references_of)
    for (_, _, by), value in zip(rows, values):
        total = sums.setdefault(str(by), {"rows": 0, "chrf_sum": 0.0})
        total["rows"] += 1
        total["chrf_sum"] += float(value)
    return sums
