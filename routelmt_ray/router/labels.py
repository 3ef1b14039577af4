"""Rows that a router learns from: read, checked, sampled, cut into parts and tokenised. Rows left out are counted."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from routelmt_ray.config import schema
from routelmt_ray.config.train import HEADS, LabelsConfig, TrainConfig
from routelmt_ray.corpus import jsonl
from routelmt_ray.corpus.column_checks import require_columns
from routelmt_ray.corpus.languages import pair_label
from routelmt_ray.corpus.sampling import stratified_sample
from routelmt_ray.corpus.splits import PARTS, crossing, document_keys, split_of
from routelmt_ray.engines.source_words import Sources
from routelmt_ray.router.label_files import (
    LARGEST_QUALITY,
    metrics_in,
    named_columns,
    numbers,
    read_label_files,
    strings,
)
from routelmt_ray.stages.validate import CheckedRows, encode, validate

LEAST_ROWS = {"train": 32, "stop": 8, "calibration": 8, "test": 8}
"""Smallest number of rows of each part; with fewer, neither a fit nor a figure means anything."""
NOT_MEASURED = "label_not_measured"
IN_LATER_PART = "text_in_a_later_part"
"""Reason of rows whose text is also held out, in another document."""


@dataclass(frozen=True)
class TrainingRows:
    """Rows to train on; every sequence and array has one entry for each row."""

    sources: Sources
    targets: np.ndarray
    """Labels, shape ``(rows, heads)``, float32, finite."""
    parts: np.ndarray
    """Names from :data:`routelmt_ray.corpus.splits.PARTS`, shape ``(rows,)``."""
    documents: np.ndarray
    """Document of each row as a number, shape ``(rows,)``."""
    rows_read: int
    dropped: dict[str, int]
    digest: str
    """Hash over prompts, labels and parts."""

    @property
    def prompts(self) -> list[list[int]]:
        """Token ids of the prompts."""
        return self.sources.prompts

    def part(self, name: str) -> np.ndarray:
        """Finds the row numbers of a part, ascending."""
        return np.flatnonzero(self.parts == name)

    def counts(self) -> dict[str, int]:
        """Counts the rows of each part."""
        return {name: int(np.sum(self.parts == name)) for name in PARTS}


def read_training_rows(config: TrainConfig) -> TrainingRows:
    """Reads the label files and builds training rows from them.

    Raises:
        ValueError: there is no file, a column is missing, the metric was not measured, labels are off the 0–1 scale,
            a part has too few rows, or its labels are all the same.
    """
    labels = config.labels
    table = _read(config)
    targets = np.stack([_numbers(table, head, labels.metric) for head in config.heads], axis=1)
    if (largest := np.nanmax(np.abs(targets), initial=0)) > LARGEST_QUALITY:
        raise ValueError(
            f"labels.path {labels.path}: labels by {labels.metric} reach {largest:g}; they must be on the 0-1 scale "
            "(divide percentages by 100)"
        )
    rows = validate(
        table.append_column(jsonl.BAD_LINE, pa.nulls(len(table), pa.binary())), labels.as_input(), config.small.prompt
    )
    dropped = Counter(status for status in rows.statuses if status != schema.OK)
    ok = np.array(rows.ok(), dtype=np.int64)
    measured = np.isfinite(targets[ok]).all(axis=1)
    dropped[NOT_MEASURED] += int(np.sum(~measured))
    ok = ok[measured]
    named = strings(table, labels.columns.document) if labels.columns.document else None
    crosses = crossing(_parts(config, named, rows, ok)[1], [rows.texts[i] or "" for i in ok])
    dropped[IN_LATER_PART] += int(np.sum(crosses))
    ok = ok[~crosses]
    if labels.rows is not None:
        ok = ok[_sample(rows, ok, labels.rows, config.seed)]
    encoded = encode(rows, ok.tolist(), config.small)
    fits = ~np.array(encoded.too_long, dtype=bool)
    dropped[schema.TOO_LONG] += int(np.sum(~fits))
    prompts = [ids for ids, kept in zip(encoded.prompts, fits) if kept]
    ok = ok[fits]
    texts = [rows.texts[i] or "" for i in ok]
    keys, parts = _parts(config, named, rows, ok)
    left_out = {reason: n for reason, n in dropped.items() if n}
    targets = targets[ok].astype(np.float32)
    documents = np.unique(keys, return_inverse=True)[1]
    found = TrainingRows(
        Sources(texts, [rows.target_langs[i] for i in ok], prompts),
        targets,
        parts,
        documents,
        table.num_rows,
        left_out,
        _digest(prompts, targets, parts),
    )
    _check(found, config)
    return found


def _parts(
    config: TrainConfig, named: Sequence[str | None] | None, rows: CheckedRows, ok: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """The document of each of the rows, and the part that it belongs to."""
    documents = None if named is None else [named[i] for i in ok]
    keys = document_keys(documents, [rows.texts[i] or "" for i in ok])
    return keys, split_of(keys, config.split.seed, config.split.shares)


def _read(config: TrainConfig) -> pa.Table:
    """Reads the needed columns of all files into one table."""
    labels, named = config.labels, named_columns(config.labels.columns)

    def pick(names: Sequence[str], file: str) -> dict[str, pa.DataType]:
        require_columns(names, named, file)
        numbers = _label_columns(config.heads, labels, names, file)
        return dict.fromkeys(named.values(), pa.string()) | dict.fromkeys(numbers, pa.float64())

    return read_label_files("labels.path", labels.path, pick)[0]


def _label_columns(heads: list[str], labels: LabelsConfig, names: Sequence[str], where: str) -> list[str]:
    """Names the columns that the heads learn from; a gain can also be computed from both qualities."""
    wanted = []
    for head in heads:
        choices = [[HEADS[head].format(metric=labels.metric)]]
        if head == "gain":
            choices.append([HEADS[quality].format(metric=labels.metric) for quality in ("quality", "quality_large")])
        usable = [columns for columns in choices if set(columns) <= set(names)]
        if not usable:
            found = ", ".join(metrics_in(set(names))) or "none"
            raise ValueError(
                f"labels.metric is {labels.metric!r}, but {where} has no column {choices[0][0]}; metrics found: {found}"
            )
        wanted += usable[0]
    return list(dict.fromkeys(wanted))


def _numbers(table: pa.Table, head: str, metric: str) -> np.ndarray:
    """Reads the labels of a head, shape ``(rows,)``, float64; NaN where not measured."""

    def column(name: str) -> np.ndarray:
        values = numbers(table, name)
        return np.where(np.isfinite(values), values, np.nan)

    name = HEADS[head].format(metric=metric)
    if name in table.column_names:
        return column(name)
    return column(HEADS["quality_large"].format(metric=metric)) - column(HEADS["quality"].format(metric=metric))


def _sample(rows: CheckedRows, ok: np.ndarray, count: int, seed: int) -> np.ndarray:
    pairs = [pair_label(rows.source_langs[i], rows.target_langs[i]) for i in ok]
    return stratified_sample(pairs, np.array([len(rows.texts[i] or "") for i in ok]), count, seed)


def _check(rows: TrainingRows, config: TrainConfig) -> None:
    counts = rows.counts()
    few = [f"{name} {counts[name]} (at least {least})" for name, least in LEAST_ROWS.items() if counts[name] < least]
    if few:
        raise ValueError(
            f"labels.path {config.labels.path}: too few rows to split by document: {', '.join(few)}; {len(rows.prompts)} "
            f"of {rows.rows_read} rows can be used{_reasons(rows.dropped)}"
        )
    for column, head in enumerate(config.heads):
        for part in ("train", "stop"):
            values = rows.targets[rows.part(part), column]
            if values.min() == values.max():
                raise ValueError(
                    f"labels.path {config.labels.path}: {HEADS[head].format(metric=config.labels.metric)} is "
                    f"{values[0]:g} in every row of the {part} part: nothing to learn. Are both models the same?"
                )


def _reasons(dropped: Mapping[str, int]) -> str:
    return "; left out: " + ", ".join(f"{n} {reason}" for reason, n in dropped.items()) if dropped else ""


def _digest(prompts: list[list[int]], targets: np.ndarray, parts: np.ndarray) -> str:
    digest = hashlib.sha256()
    for ids in prompts:
        digest.update(np.asarray([len(ids), *ids], np.int32).tobytes())
    digest.update(targets.tobytes())
    digest.update("\n".join(parts.tolist()).encode())
    return digest.hexdigest()[:16]
