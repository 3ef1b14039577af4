"""Writes the output of a shard: one row for every input row, in input order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray.budget.rule import MEMORY, reasons
from routelmt_ray.checks.terms import count_terms
from routelmt_ray.config import schema
from routelmt_ray.corpus import jsonl, salvage, sniff
from routelmt_ray.corpus.languages import pair_labels
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages.check import CheckRows, chosen_outputs, output_columns
from routelmt_ray.stages.chosen import KEPT_SMALL, MergePlan, Translations, choose_rows
from routelmt_ray.stages.judge import judged
from routelmt_ray.stages.output import commit_output, commit_quarantine, read_whole
from routelmt_ray.stages.shared import fill_repeats
from routelmt_ray.stages.validate import language_codes, present, strings

FORMAT = 2
"""Version of the rows of the output: since 2 a translation has the outer blanks of its source."""
_HISTOGRAM_BINS = 60
_MEMORY = reasons()[MEMORY]
_SIZES = (schema.SMALL, schema.LARGE)


def gain_edges(metas: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """Computes the edges of the histogram of the report: equal bins for most scores, and one wide bin at each end."""
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
        self._context, self._plan = context, plan
        self._columns = output_columns(plan.checks, context.input.duplicates, plan.memory)
        self._checking = CheckRows(context, plan.checks)

    def __call__(self, item: pa.Table) -> pa.Table:
        context, plan, shard = self._context, self._plan, from_item(item)
        table = read_whole(context, shard)
        chosen = choose_rows(context, plan, shard)
        merged, gains = chosen.columns, chosen.rows.gains
        if plan.sections is not None:
            gains = fill_repeats(context.run, plan.sections, shard, merged, gains)
        checked = self._checking(merged, table, chosen.small)
        terms = self._count_terms(merged, table)
        damaged = self._complete(merged, chosen.statuses, table)
        merged |= checked.measures
        _restore_blanks(merged["translation"], strings(table[context.input.columns.source]))
        arrays = {"predicted_gain": pa.array(gains, pa.float32(), mask=np.isnan(gains))}
        arrays |= {name: pa.array(values, self._columns.field(name).type) for name, values in merged.items()}
        added = pa.table({name: arrays[name] for name in self._columns.names})
        lost = pc.invert(pc.is_in(added["status"], pa.array(sorted(self._checking.delivered))))
        if pc.any(lost).as_py():  # before the output, so that a committed shard has its quarantine
            commit_quarantine(context, shard.index, table, added, lost)
            # A row that a check sends to quarantine keeps its translation only there.
            nothing: dict[str, Any] = {"translation": None, "model": None}
            if plan.memory:
                nothing[schema.FROM_MEMORY.name] = False
            for name, value in nothing.items():
                kept = pc.if_else(lost, pa.scalar(value, added[name].type), added[name])
                added = added.set_column(added.column_names.index(name), name, kept)
        meta = self._summary(table, added, gains) | {"damaged": damaged, "checks": checked.counts, "terms": terms}
        meta["quarantined"] = pc.sum(lost).as_py() or 0
        audited = np.flatnonzero(chosen.rows.audit)
        realised = self._realised_gains(shard, table, audited, chosen.small, chosen.large)
        meta["audit"] = [
            [float(gains[i]), None if np.isnan(gain) else float(gain), bool(chosen.routed[i]), pair]
            for i, gain, pair in zip(
                audited, realised, pair_labels(*language_codes(table.take(audited), context.input))
            )
        ]
        commit_output(context, shard.index, table, added, meta)
        return pa.table({"shard": [shard.index], "rows": [shard.rows]})

    def _count_terms(self, merged: dict[str, list[Any]], table: pa.Table) -> dict[str, dict[str, list[int]]]:
        """Counts the terms that are kept, and those in sources, by model and language pair."""
        found: dict[str, dict[str, list[int]]] = {}
        if (glossary := self._plan.glossary) is None:
            return found
        # A translation counts also where a check has changed its status.
        translated = merged | {"status": [schema.OK if model else "" for model in merged["model"]]}
        for row, output in chosen_outputs(self._context, translated, table):
            kept, there = count_terms(glossary, output)
            if there:
                count = found.setdefault(merged["model"][row], {}).setdefault(output.pair, [0, 0])
                count[0] += kept
                count[1] += there
        return found

    def _complete(self, merged: dict[str, list[Any]], statuses: list[str], table: pa.Table) -> dict[str, int]:
        """Adds sources that are kept as they are, and notes on damage to the input; counts rows that lost data by file."""
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

    def _summary(self, table: pa.Table, added: pa.Table, gains: np.ndarray) -> dict[str, Any]:
        """The figures of a shard for the report. Sums over all shards give those of the run."""
        config = self._context
        sources, targets = language_codes(table, config.input)
        route, model, whys = (added[name].to_pylist() for name in ("route", "model", "route_reason"))
        pairs: dict[str, Counter[str]] = {}
        for pair, to, by in zip(pair_labels(sources, targets), route, model):
            pairs.setdefault(pair, Counter()).update(["rows", f"routed_{to}", f"translated_{by}"])
        own = np.ones(table.num_rows, bool)  # what a plan decides is counted once for a segment
        if schema.DUPLICATE_OF.name in added.column_names:
            own = added[schema.DUPLICATE_OF.name].is_null().to_numpy()
        known = np.zeros(table.num_rows, bool)
        if schema.FROM_MEMORY.name in added.column_names:
            known = added[schema.FROM_MEMORY.name].to_numpy()
        free = np.asarray([why == _MEMORY for why in whys], bool)  # in the memory, so that no budget counts it
        chosen = np.asarray([r == schema.LARGE for r in route]) & own & ~free
        edges = np.asarray(self._plan.gain_edges)
        histogram = {
            name: np.histogram(gains[mask & ~np.isnan(gains)], edges)[0].tolist() if len(edges) else []
            for name, mask in (("small", ~chosen & own & ~free), ("large", chosen))
        }
        quality: dict[str, dict[str, float]] = {}
        if config.input.columns.reference is not None:
            quality = _quality(table[config.input.columns.reference], added["translation"], model)
        return {
            "rows": table.num_rows,
            "routed": int(chosen.sum()),
            "from_memory": [
                int(known.sum()),
                *(int((known & own & (np.array(model) == size)).sum()) for size in _SIZES),
            ],
            "fallbacks": sum(
                1 for mine, by, why in zip(chosen, model, whys) if mine and by == schema.SMALL and why != KEPT_SMALL
            ),
            "reasons": dict(Counter(why for why, mine in zip(whys, own) if mine and why is not None)),
            "statuses": dict(Counter(added["status"].to_pylist())),
            "pairs": {pair: dict(count) for pair, count in pairs.items()},
            "gain_histogram": histogram,
            "quality": quality,
        }


def with_outer_blanks(source: str, translation: str) -> str:
    """Puts the blanks and line breaks at both ends of a source around its translation, in place of any there."""
    body = source.strip()
    if not body:
        return translation
    begin = source.index(body)
    return source[:begin] + translation.strip() + source[begin + len(body) :]


def _restore_blanks(translations: list[str | None], sources: Sequence[str | None]) -> None:
    """Gives each translation the outer blanks of its source, which prompts and engines leave out."""
    for row, (source, text) in enumerate(zip(sources, translations)):
        if source is not None and text is not None:
            translations[row] = with_outer_blanks(source, text)


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
