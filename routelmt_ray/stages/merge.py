"""Merge: the output of a shard, one row for every input row, in input order."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt_ray import jsonl, schema
from routelmt_ray.budget import Cut
from routelmt_ray.corpus import read_shard
from routelmt_ray.languages import pair_label
from routelmt_ray.metrics.chrf import ChrF
from routelmt_ray.stages import score
from routelmt_ray.stages.context import RunContext, from_item
from routelmt_ray.stages.validate import language_codes, needed_columns

STAGE = "output"
QUARANTINE = "quarantine"


@dataclass(frozen=True)
class MergePlan:
    """Where the translations of a plan entry are."""

    cut: Cut
    """What the entry routes."""
    small: tuple[str, ...]
    """Stages with translations of the small model."""
    large: tuple[str, ...]
    """Stages with translations of the large model."""
    gain_edges: tuple[float, ...]
    """Edges of the report's histogram of predicted gain."""


class Merge:
    """Reads an item of work, commits its output shard and its quarantine; writes shard, rows for the progress."""

    def __init__(self, context: RunContext, plan: MergePlan) -> None:
        """Args: the run and where the translations are."""
        self._context, self._plan = context, plan

    def __call__(self, item: pa.Table) -> pa.Table:
        """One block of work in, one summary row out."""
        context, plan, shard = self._context, self._plan, from_item(item)
        corpus_names = context.schema.names
        columns = dict.fromkeys([*corpus_names, *needed_columns(context.input)])
        table = read_shard(shard, context.schema, list(columns))
        scores = pq.read_table(context.run.shard_path(score.STAGE, shard.index))
        gains = scores["predicted_gain"].to_numpy()
        ok = pc.equal(scores["status"], schema.OK).to_numpy()
        routed = plan.cut.mask(gains, shard.first_place)
        merged = _choose(
            scores["status"].to_pylist(),
            np.where(routed, schema.LARGE, schema.SMALL).astype(object),
            ok,
            _translations(context, plan.small, shard.index, shard.first_place),
            _translations(context, plan.large, shard.index, shard.first_place),
        )
        added = pa.table(
            {
                "translation": pa.array(merged["translation"], pa.string()),
                "model": pa.array(merged["model"], pa.string()),
                "route": pa.array(merged["route"], pa.string()),
                "predicted_gain": pa.array(gains, pa.float32(), mask=np.isnan(gains)),
                "status": pa.array(merged["status"], pa.string()),
                "error": pa.array(merged["error"], pa.string()),
            }
        )
        prefix = context.prefix
        output = table.select(corpus_names)
        for name in schema.OUTPUT_COLUMNS.names:
            output = output.append_column(prefix + name, added[name])
        lost = pc.invert(pc.is_in(added["status"], pa.array(schema.TRANSLATED)))
        if pc.any(lost).as_py():  # before the output, so that a committed shard has its quarantine
            self._quarantine(shard.index, output.append_column(jsonl.BAD_LINE, table[jsonl.BAD_LINE]).filter(lost))
        meta = self._summary(table, added, gains)
        context.run.commit(STAGE, shard.index, output, meta, compression="zstd")
        return pa.table({"shard": [shard.index], "rows": [shard.rows]})

    def _quarantine(self, shard: int, rows: pa.Table) -> None:
        if rows[jsonl.BAD_LINE].null_count == rows.num_rows:
            rows = rows.drop_columns([jsonl.BAD_LINE])
        else:
            at = rows.column_names.index(jsonl.BAD_LINE)
            rows = rows.set_column(at, self._context.prefix + "raw_line", rows[jsonl.BAD_LINE])
        self._context.run.commit(QUARANTINE, shard, rows, {"rows": rows.num_rows}, compression="zstd")

    def _summary(self, table: pa.Table, added: pa.Table, gains: np.ndarray) -> dict[str, Any]:
        """What the report needs of a shard; sums over shards give the whole."""
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
            "fallbacks": sum(1 for to, by in zip(route, model) if to == schema.LARGE and by == schema.SMALL),
            "statuses": dict(Counter(added["status"].to_pylist())),
            "pairs": {pair: dict(count) for pair, count in pairs.items()},
            "gain_histogram": histogram,
            "quality": quality,
        }


def _translations(
    context: RunContext, stages: tuple[str, ...], shard: int, first_place: int
) -> dict[int, tuple[str | None, str, str | None]]:
    """(translation, status, error) by row number of the shard; a later leg wins."""
    found: dict[int, tuple[str | None, str, str | None]] = {}
    for stage in stages:
        path = context.run.shard_path(stage, shard)
        if path.exists():
            columns = pq.read_table(path).to_pydict()
            rows = zip(columns["place"], columns["translation"], columns["status"], columns["error"])
            found.update((place - first_place, (text, status, error)) for place, text, status, error in rows)
    return found


def _choose(
    statuses: list[str],
    routes: np.ndarray,
    ok: np.ndarray,
    small: dict[int, tuple[str | None, str, str | None]],
    large: dict[int, tuple[str | None, str, str | None]],
) -> dict[str, list[Any]]:
    """Which translation stands in the output: the routed model's; the small model's where the large one failed."""
    columns: dict[str, list[Any]] = {name: [] for name in ("translation", "model", "route", "status", "error")}
    for row, status in enumerate(statuses):
        text = model = route = error = None
        if not ok[row]:
            error = schema.STATUS_MEANING.get(status)
        else:
            route = str(routes[row])
            text, status, error = (large if route == schema.LARGE else small)[row]
            model = route
            if route == schema.LARGE and text is None:
                text, status, small_error = small[row]
                error = f"large: {error}" + (f"; small: {small_error}" if small_error else "")
                model = schema.SMALL
            if text is None:
                model = None
        for name, value in zip(columns, (text, model, route, status, error)):
            columns[name].append(value)
    return columns


def _quality(
    references: pa.ChunkedArray, hypotheses: pa.ChunkedArray, model: list[str | None]
) -> dict[str, dict[str, float]]:
    sums: dict[str, dict[str, float]] = {}
    rows = [
        (hypothesis, reference, by)
        for hypothesis, reference, by in zip(hypotheses.to_pylist(), references.to_pylist(), model)
        if by is not None and isinstance(reference, str) and reference.strip()
    ]
    hypotheses_of, references_of = [row[0] for row in rows], [row[1] for row in rows]
    values = ChrF().segment_scores([None] * len(rows), hypotheses_of, references_of)
    for (_, _, by), value in zip(rows, values):
        total = sums.setdefault(str(by), {"rows": 0, "chrf_sum": 0.0})
        total["rows"] += 1
        total["chrf_sum"] += float(value)
    return sums
