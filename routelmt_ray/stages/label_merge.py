"""Writes the rows of a labelled shard: both translations, their cost and quality, and the gain."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config import schema
from routelmt_ray.config.common import EACH, ONCE
from routelmt_ray.corpus import jsonl, sniff
from routelmt_ray.corpus.languages import pair_labels
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.metrics.spec import MetricSpec
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages.label_checks import FailedChecks, check_columns, count_failed
from routelmt_ray.stages.output import commit_output, commit_quarantine, read_whole
from routelmt_ray.stages.quality import no_reference
from routelmt_ray.stages.repeats import first_rows
from routelmt_ray.stages.sides import HYPOTHESES, read_sides
from routelmt_ray.stages.validate import present, validate

# Statuses of a row beyond those of a translation.
SMALL_FAILED = "small_failed"
LARGE_FAILED = "large_failed"
BOTH_FAILED = "both_failed"
METRIC_FAILED = "metric_failed"
NO_REFERENCE = "no_reference"

STATUS_MEANING = schema.STATUS_MEANING | {
    schema.OK: "both models translated it and every metric measured it",
    schema.OUTPUT_LIMIT: "as ok, but a translation was cut at the limit of new tokens",
    schema.TRUNCATED: "as ok, but only the beginning of a source that is longer than a model takes was translated",
    schema.SAME_LANGUAGE: "source and target language are the same: nothing to label",
    schema.EMPTY_OUTPUT: "both models answered with nothing",
    schema.ENGINE_ERROR: "both models failed on this row",
    SMALL_FAILED: "only the large model translated it: no quality of the small one, no gain",
    LARGE_FAILED: "only the small model translated it: no quality of the large one, no gain",
    BOTH_FAILED: "both models failed, for different reasons",
    METRIC_FAILED: "both models translated it, but a metric failed on it: its gain is null",
    NO_REFERENCE: "both models translated it, but there is no reference: metrics that need one are null",
}


def added_columns(metrics: list[str], checks: CheckPlan, duplicates: str = EACH) -> pa.Schema:
    """Lists the columns that the job adds to the input for some metrics and checks, without the prefix."""
    fields: list[tuple[str, pa.DataType]] = [
        ("small_translation", pa.string()),
        ("large_translation", pa.string()),
        ("source_tokens", pa.int32()),
        ("small_tokens", pa.int32()),
        ("large_tokens", pa.int32()),
        ("small_s", pa.float32()),
        ("large_s", pa.float32()),
    ]
    for name in metrics:
        fields += [(f"quality_small_{name}", pa.float32()), (f"quality_large_{name}", pa.float32())]
        fields += [(f"gain_{name}", pa.float32())]
    fields += [(name, pa.string()) for name in check_columns(checks)]
    more = [schema.DUPLICATE_OF] * (duplicates == ONCE)
    return pa.schema([*fields, ("status", pa.string()), ("error", pa.string()), *more])


_Side = dict[str, list[Any]]
"""Translation, status and error of each row of a shard, by one model."""


class LabelMerge:
    """Commits the output and quarantine of a shard. Reads: an item of work. Writes: shard, rows (for the progress)."""

    def __init__(
        self, context: RunContext, specs: list[MetricSpec], checks: CheckPlan, sections: Sections | None = None
    ) -> None:
        self._context, self._specs, self._sections = context, specs, sections
        self._added = added_columns([spec.name for spec in specs], checks, context.input.duplicates)
        self._failed_checks = FailedChecks(context, checks, sections)

    def __call__(self, item: pa.Table) -> pa.Table:
        context, shard = self._context, from_item(item)
        table = read_whole(context, shard)
        sides = read_sides(context, self._sections, shard)
        small, large = (sides[size].select(["translation", "status", "error"]).to_pydict() for size in HYPOTHESES)
        qualities = {spec.name: self._quality(spec, shard.index) for spec in self._specs}
        statuses, errors = self._statuses(table, small, large, qualities)
        rows = validate(table, context.input, context.models.small.prompt)
        values: dict[str, Any] = {
            "small_translation": small["translation"],
            "large_translation": large["translation"],
            "source_tokens": sides["small"]["source_tokens"].to_numpy(),
            **{f"{size}_tokens": side["output_tokens"].to_numpy() for size, side in sides.items()},
            **{f"{size}_s": side["seconds"].to_numpy() for size, side in sides.items()},
            "status": statuses,
            "error": errors,
            **(checks := self._failed_checks(shard, table)),
        }
        if self._sections is not None:
            values[schema.DUPLICATE_OF.name] = first_rows(context.run, self._sections, shard)
        for name, (of_small, of_large) in qualities.items():
            values |= {f"quality_small_{name}": of_small, f"quality_large_{name}": of_large}
            # From the float32 qualities, so that a reader gets the same number.
            values |= {f"gain_{name}": of_large - of_small}
        added = pa.table({f.name: pa.array(values[f.name], f.type, from_pandas=True) for f in self._added})
        lost = np.asarray([a is None and b is None for a, b in zip(small["translation"], large["translation"])], bool)
        if lost.any():  # before the output, so that a committed shard has its quarantine
            commit_quarantine(context, shard.index, table, added, pa.array(lost))
        pairs = pair_labels(rows.source_langs, rows.target_langs)
        meta = {
            "rows": table.num_rows,
            "statuses": dict(Counter(statuses)),
            "pairs": dict(Counter(pairs)),
            "source_tokens": int(np.sum(values["source_tokens"], dtype=np.int64)),
            "checks": count_failed(checks),
            "metrics": {name: gain_sums(pairs, *both) for name, both in qualities.items()},
        }
        commit_output(context, shard.index, table, added, meta)
        return pa.table({"shard": [shard.index], "rows": [shard.rows]})

    def _quality(self, spec: MetricSpec, shard: int) -> tuple[np.ndarray, np.ndarray]:
        table = storage.read_table(self._context.run.shard_path(spec.stage, shard), columns=list(HYPOTHESES))
        small, large = (table[size].to_numpy().astype(np.float32) for size in HYPOTHESES)
        return small, large

    def _statuses(
        self, table: pa.Table, small: _Side, large: _Side, qualities: dict[str, tuple[np.ndarray, np.ndarray]]
    ) -> tuple[list[str], list[str | None]]:
        column = self._context.input.columns.reference
        missing = np.ones(table.num_rows, bool) if column is None else no_reference(table[column])
        needs = [spec.name for spec in self._specs if spec.needs_reference]
        statuses, errors = [], []
        for row in range(table.num_rows):
            status, error = _translated(row, small, large)
            if status in schema.TRANSLATED:
                unmeasured = [
                    name
                    for name, both in qualities.items()
                    if any(np.isnan(values[row]) for values in both) and not (name in needs and missing[row])
                ]
                if unmeasured:
                    status, error = METRIC_FAILED, f"{', '.join(unmeasured)} could not measure this row"
                elif needs and missing[row]:
                    status, error = NO_REFERENCE, f"no reference for {', '.join(needs)}"
            statuses.append(status)
            errors.append(error)
        for row, line in present(table[jsonl.BAD_LINE]):
            errors[row] = sniff.why_no_object(line)
        return statuses, errors


def _translated(row: int, small: _Side, large: _Side) -> tuple[str, str | None]:
    """Status and error of a row, from the results of both models."""
    sides = {"small": small, "large": large}
    of = {name: side["status"][row] for name, side in sides.items()}
    said = [f"{name}: {of[name]}: {side['error'][row]}" for name, side in sides.items() if of[name] != schema.OK]
    error = "; ".join(said) or None
    failed = [name for name, side in sides.items() if side["translation"][row] is None]
    if len(failed) == 2:
        if of["small"] == of["large"]:
            same = small["error"][row] == large["error"][row]
            return of["small"], small["error"][row] if same else error
        return BOTH_FAILED, error
    if failed:
        return f"{failed[0]}_failed", error
    worse = [status for status in (schema.TRUNCATED, schema.OUTPUT_LIMIT) if status in of.values()]
    return next(iter(worse), schema.OK), error


def gain_sums(pairs: list[str], small: np.ndarray, large: np.ndarray) -> dict[str, dict[str, float]]:
    """Sums qualities and gains by language pair, over rows measured on both sides.

    The means and deviations of a corpus are computed from these sums.
    """
    sums: dict[str, dict[str, float]] = {}
    gains = (large - small).astype(np.float64)
    labels = np.asarray(pairs, object)
    for pair in sorted(set(pairs)):
        mask = (labels == pair) & ~np.isnan(gains)
        chosen = gains[mask]
        sums[pair] = {
            "n": int(mask.sum()),
            "small": float(small[mask].sum(dtype=np.float64)),
            "large": float(large[mask].sum(dtype=np.float64)),
            "gain": float(chosen.sum()),
            "gain_squares": float((chosen**2).sum()),
            "negative": int((chosen < 0).sum()),
            "zero": int((chosen == 0).sum()),
        }
    return sums
