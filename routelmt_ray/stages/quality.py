"""Measures both translations of every row of a shard by one metric.

Each metric is a separate stage with its own files. So a metric that is added to a finished run costs only its own work.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.metrics import Metric
from routelmt_ray.metrics.segments import has_text
from routelmt_ray.metrics.spec import MetricSpec
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.runtime.engine_host import EngineHost
from routelmt_ray.stages.output import Commit
from routelmt_ray.stages.sides import HYPOTHESES, read_sides
from routelmt_ray.stages.validate import strings
from routelmt_ray.storage.rundir import RunDir

Segment = tuple[str | None, str | None, str | None]
"""Source, translation and reference."""

COLUMNS = pa.schema([("place", pa.int64()), ("small", pa.float64()), ("large", pa.float64())])
"""Columns of a quality shard, on the 0–1 scale; null where a translation could not be measured."""


class ReadTranslations:
    """Reads the texts that a metric compares.

    Reads: an item of work. Writes: shard, place, source, reference, small, large.
    """

    def __init__(self, context: RunContext, sections: Sections | None = None) -> None:
        self._context, self._sections = context, sections

    def __call__(self, item: pa.Table) -> pa.Table:
        context, shard = self._context, from_item(item)
        columns = context.input.columns
        wanted = [name for name in (columns.source, columns.reference) if name is not None]
        table = read_shard(shard, context.schema, list(dict.fromkeys(wanted)))
        references: Any = pa.nulls(table.num_rows, pa.string())
        if columns.reference is not None:
            references = pc.cast(table[columns.reference], pa.string())
        rows: dict[str, Any] = {
            "shard": np.full(table.num_rows, shard.index, np.int32),
            "place": np.arange(shard.first_place, shard.first_place + table.num_rows, dtype=np.int64),
            "source": pc.cast(table[columns.source], pa.string()),
            "reference": references,
        }
        for size, side in read_sides(context, self._sections, shard).items():
            rows[size] = pc.cast(side["translation"], pa.string())
        return pa.table(rows)


class MeasureQuality:
    """Measures both translations of each row; holds one metric.

    Reads: shard, place, source, reference, small, large. Writes: small, large (quality), signature, python, engine_s.
    """

    def __init__(self, spec: MetricSpec) -> None:
        self._metric = spec.open()

    def __call__(self, table: pa.Table) -> pa.Table:
        return _measured(table, self._metric.signature(), lambda segments: _scores(self._metric, segments))


class MeasureInActor:
    """:class:`MeasureQuality` for a metric with an engine, which may die."""

    def __init__(self, spec: MetricSpec, run: RunDir) -> None:
        """Loads the metric. Plain arguments only: it may run under another interpreter."""
        assert spec.pool is not None
        self._stage, self._host = spec.stage, EngineHost(run, "metric", spec.pool, spec.open)

    def __call__(self, table: pa.Table) -> pa.Table:
        shard, metric = table["shard"][0].as_py(), self._host.engine

        def scores(segments: Sequence[Segment]) -> list[float | None]:
            return self._host.answers(self._stage, shard, segments, lambda some: _scores(metric, some))[0]

        return _measured(table, metric.signature(), scores)


def _scores(metric: Metric, segments: Sequence[Segment]) -> list[float]:
    scores: list[float] = metric.segment_scores(*map(list, zip(*segments))).tolist()
    return scores


def _measured(
    table: pa.Table, signature: str, score: Callable[[Sequence[Segment]], Sequence[float | None]]
) -> pa.Table:
    started = time.perf_counter()
    sources, references = strings(table["source"]), strings(table["reference"])
    # Equal translations are measured once. This saves work, and their gain is exactly 0 in any batches.
    order: dict[Segment, int] = {}
    at = {
        size: [
            order.setdefault((source, hypothesis, reference), len(order))
            for source, hypothesis, reference in zip(sources, table[size].to_pylist(), references)
        ]
        for size in HYPOTHESES
    }
    scores = np.array(score(list(order)), np.float64)  # None is NaN
    return pa.table(
        {
            "shard": table["shard"],
            "place": table["place"],
            **{size: pa.array(scores[rows], pa.float64(), from_pandas=True) for size, rows in at.items()},
            "signature": pa.repeat(signature, table.num_rows),
            "python": pa.repeat(sys.executable, table.num_rows),
            "engine_s": np.full(table.num_rows, time.perf_counter() - started, np.float32),
        }
    )


def commit_quality(context: RunContext, spec: MetricSpec) -> Commit:
    """Builds the step that commits the quality of a shard by one metric."""
    return Commit(context.run, spec.stage, COLUMNS, _summary, compression="zstd")


def _summary(table: pa.Table) -> dict[str, Any]:
    measured = sum(len(table[size]) - table[size].null_count for size in HYPOTHESES)
    return {"measured": measured} | {name: table[name][0].as_py() for name in ("signature", "python", "engine_s")}


def no_reference(references: pa.ChunkedArray) -> np.ndarray:
    """Finds the references that are null or blank: a boolean array of shape ``(rows,)``."""
    return np.asarray([not has_text(reference) for reference in strings(references)], bool)
