"""Labelled rows: sources, results of both models and the gain; read from Parquet and checked.

The columns are those that a label job writes (``quality_small_<metric>``, ``quality_large_<metric>``,
``gain_<metric>``, hypotheses, tokens, seconds); any Parquet files with these columns can be read. All rows are held in
memory: an evaluation set has thousands of rows, not millions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt_ray.config.evaluate import LabelledConfig
from routelmt_ray.corpus.column_checks import require_columns
from routelmt_ray.corpus.languages import pair_label
from routelmt_ray.corpus.splits import document_keys
from routelmt_ray.router.label_files import (
    LARGEST_QUALITY,
    metrics_in,
    named_columns,
    numbers,
    read_label_files,
    strings,
)

NUMBERS = ("source_tokens", "small_tokens", "large_tokens", "small_s", "large_s")
TEXTS = ("small_translation", "large_translation", "check_small", "check_large")
REFERENCE = "reference"
_NO_NAME = "(none)"


@dataclass(frozen=True)
class Labelled:
    """Rows of one labelled set; every sequence has one entry for each row."""

    sources: list[str]
    """Source texts, never empty."""
    source_langs: list[str | None]
    target_langs: list[str | None]
    documents: list[str]
    """Document of each row, which a split keeps together; see :func:`routelmt_ray.corpus.splits.document_keys`."""
    gain: np.ndarray
    """True gain, shape (rows,), float64, finite."""
    quality_small: np.ndarray | None
    """Quality of the small model's output, shape (rows,), float64; NaN where not measured."""
    quality_large: np.ndarray | None
    """Quality of the large model's output, in the same form."""
    places: np.ndarray
    """Place of each row in the files, shape (rows,), int64."""
    domains: list[str] | None = None
    """Domain of each row, where the set names them."""
    folds: list[str] | None = None
    """Fold of each row, where the set names them."""
    texts: dict[str, list[str | None]] = field(default_factory=dict)
    """The columns of `TEXTS` that the set has, and its references as `REFERENCE`."""
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    """The columns of `NUMBERS` that the set has, and the user's own scores, float64; NaN where null."""

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def lengths(self) -> np.ndarray:
        """Characters of each source, shape (rows,), float64."""
        return np.array([len(source) for source in self.sources], np.float64)

    def fails(self, size: str) -> np.ndarray | None:
        """Tells whether the translation of a model fails a check.

        Returns:
            Shape (rows,), float64: 1 where it fails, 0 where it passes or was not checked. None where the set does not say.
        """
        found = self.texts.get(f"check_{size}")
        if found is None or all(value is None for value in found):
            return None
        return np.array([bool(value) for value in found], np.float64)

    @property
    def pairs(self) -> list[str]:
        """Language pair of each row, as reports show it."""
        return [pair_label(a, b) for a, b in zip(self.source_langs, self.target_langs)]

    def take(self, rows: np.ndarray) -> "Labelled":
        """Selects the rows at these positions."""

        def some(values: Any) -> Any:
            if isinstance(values, dict):
                return {name: some(column) for name, column in values.items()}
            if isinstance(values, np.ndarray):
                return values[rows]
            return None if values is None else [values[i] for i in rows]

        return Labelled(**{column.name: some(getattr(self, column.name)) for column in fields(self)})

    def plus(self, other: "Labelled") -> "Labelled":
        """Joins these rows and the other's, in this order; columns that only the other has are left out.

        A column that only these rows have is null in the other's rows.
        """

        def joined(name: str, mine: Any, its: Any) -> Any:
            if isinstance(mine, dict):
                return {key: joined(key, column, (its or {}).get(key)) for key, column in mine.items()}
            if isinstance(mine, np.ndarray):
                return np.concatenate((mine, np.full(len(other), np.nan) if its is None else its))
            missing = _NO_NAME if name in ("domains", "folds") else None
            return None if mine is None else [*mine, *(its or [missing] * len(other))]

        names = [column.name for column in fields(self)]
        return Labelled(**{name: joined(name, getattr(self, name), getattr(other, name)) for name in names})


@dataclass(frozen=True)
class LabelledSet:
    """A labelled set, with the numbers of rows that were left out."""

    rows: Labelled
    """Rows with a gain."""
    metric: str
    files: int
    rows_read: int
    dropped: dict[str, int]
    warnings: list[str]
    """Warnings for readers of the report."""


def read_labelled(config: LabelledConfig, extra: Sequence[str] = (), fit: bool = False) -> LabelledSet:
    """Reads a labelled set, or with `fit` that of `labels.fit_path`, and keeps the rows with a source and a measured gain.

    `extra` are numeric columns of the user; an absent one is left out. Raises ValueError where there is nothing to read, no
    such metric or column, no row with a gain, or a quality that is not on the 0-1 scale.
    """
    key, path = ("labels.fit_path", config.fit_path or "") if fit else ("labels.path", config.path)
    table, files = read_label_files(key, path)
    names = table.column_names
    require_columns(names, named_columns(config.columns), path)
    metric = _metric(path, names, config.metric)
    gain, small, large, warnings = _gains(table, metric, path)
    columns = config.columns
    sources = [s or "" for s in strings(table, columns.source)]
    documents, domains, folds, *langs = (
        None if name is None else strings(table, name)
        for name in (columns.document, columns.domain, columns.fold, columns.source_lang, columns.target_lang)
    )
    empty = np.array([not s.strip() for s in sources], bool)
    measured = np.isfinite(gain)
    dropped = {
        "the source is empty": int(empty.sum()),
        f"gain_{metric} was not measured": int((~measured & ~empty).sum()),
    }
    kept = np.flatnonzero(~empty & measured)
    if not len(kept):
        raise ValueError(
            f"{key} {path}: none of its {table.num_rows} rows has a source and a measured gain_{metric}; check labels.columns and labels.metric"
        )
    if documents is None and not fit:
        warnings.append(
            "labels.columns.document is null, so every source text counts as a document of its own: where neighbouring "
            "rows resemble each other, the intervals are too narrow."
        )
    rows = Labelled(
        sources=sources,
        source_langs=langs[0] or [config.source_lang] * len(sources),
        target_langs=langs[1] or [config.target_lang] * len(sources),
        documents=document_keys(documents, sources),
        gain=gain,
        quality_small=small,
        quality_large=large,
        places=np.arange(len(sources), dtype=np.int64),
        domains=_named(domains),
        folds=_named(folds),
        texts={name: strings(table, name) for name in TEXTS if name in names}
        | ({REFERENCE: strings(table, reference)} if (reference := columns.reference or REFERENCE) in names else {}),
        numbers={name: numbers(table, name) for name in (*NUMBERS, *extra) if name in names},
    ).take(kept)
    return LabelledSet(rows, metric, files, table.num_rows, {k: n for k, n in dropped.items() if n}, warnings)


def _metric(path: str, names: Sequence[str], metric: str | None) -> str:
    found = metrics_in(set(names))
    if not found:
        raise ValueError(
            f"{path} has neither gain_<metric> nor both quality_small_<metric> and quality_large_<metric>; its columns "
            f"are {', '.join(sorted(names)) or 'none'}"
        )
    if metric is None and len(found) > 1:
        raise ValueError(f"labels.metric is null, but {path} has gains by {', '.join(found)}; choose one")
    if metric is not None and metric not in found:
        raise ValueError(f"labels.metric is {metric!r}; {path} has gains by {', '.join(found)}")
    return metric or found[0]


def _gains(
    table: pa.Table, metric: str, path: str
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, list[str]]:
    """Reads the gain and both qualities; a gain that has no value is the difference of the qualities."""
    names = table.column_names
    warnings: list[str] = []
    small, large = (
        numbers(table, f"quality_{size}_{metric}") if f"quality_{size}_{metric}" in names else None
        for size in ("small", "large")
    )
    for size, values in (("small", small), ("large", large)):
        if values is not None and np.nanmax(np.abs(values), initial=0) > LARGEST_QUALITY:
            raise ValueError(
                f"{path}: quality_{size}_{metric} reaches {np.nanmax(np.abs(values)):g}; qualities must be on the 0-1 "
                "scale (divide percentages by 100)"
            )
    both = None if small is None or large is None else large - small
    if f"gain_{metric}" not in names:
        assert both is not None  # _metric found one or the other
        return both, small, large, warnings
    gain = numbers(table, f"gain_{metric}")
    if both is not None:
        off = int(np.count_nonzero(np.abs(gain - both) > 1e-3))
        if off:
            warnings.append(
                f"gain_{metric} differs from the difference of the qualities by more than .001 on {off:,} rows."
            )
        gain = np.where(np.isnan(gain), both, gain)
    if np.nanmax(np.abs(gain), initial=0) > LARGEST_QUALITY:
        raise ValueError(
            f"{path}: gain_{metric} reaches {np.nanmax(np.abs(gain)):g}; gains must be in units of the 0-1 scale"
        )
    return gain, small, large, warnings


def _named(values: list[str | None] | None) -> list[str] | None:
    return None if values is None else [v or _NO_NAME for v in values]
