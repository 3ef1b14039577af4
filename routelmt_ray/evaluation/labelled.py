"""Labelled rows: sources, results of both models and the gain; read from Parquet and checked.

The columns are those that a label job writes (``quality_small_<metric>``, ``quality_large_<metric>``,
``gain_<metric>``, hypotheses, tokens, seconds); any Parquet files with these columns can be read. All rows are held in
memory: an evaluation set has thousands of rows, not millions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray import storage
from routelmt_ray.config.evaluate import LabelledConfig
from routelmt_ray.config.loader import to_dict
from routelmt_ray.corpus.input_files import PARQUET, find_files
from routelmt_ray.corpus.splits import document_keys
from routelmt_ray.metrics.columns import metrics_in

NUMBERS = ("source_tokens", "small_tokens", "large_tokens", "small_s", "large_s")
TEXTS = ("small_translation", "large_translation")
_LARGEST_QUALITY = 2.0
_NO_NAME = "(none)"


@dataclass(frozen=True)
class Labelled:
    """Rows of one labelled set; every sequence has one entry for each row."""

    sources: list[str]
    """Source texts, never empty."""
    source_langs: list[str | None]
    """Language codes."""
    target_langs: list[str | None]
    """Language codes."""
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
    """The columns of `TEXTS` that the set has."""
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    """The columns of `NUMBERS` that the set has, and the user's own scores, float64; NaN where null."""

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def lengths(self) -> np.ndarray:
        """Characters of each source, shape (rows,), float64."""
        return np.array([len(source) for source in self.sources], np.float64)

    def take(self, rows: np.ndarray) -> "Labelled":
        """Selects the rows at these positions."""

        def some(values: Any) -> Any:
            return None if values is None else [values[i] for i in rows]

        return replace(
            self,
            sources=some(self.sources),
            source_langs=some(self.source_langs),
            target_langs=some(self.target_langs),
            documents=some(self.documents),
            gain=self.gain[rows],
            quality_small=None if self.quality_small is None else self.quality_small[rows],
            quality_large=None if self.quality_large is None else self.quality_large[rows],
            places=self.places[rows],
            domains=some(self.domains),
            folds=some(self.folds),
            texts={name: some(values) for name, values in self.texts.items()},
            numbers={name: values[rows] for name, values in self.numbers.items()},
        )

    def plus(self, other: "Labelled") -> "Labelled":
        """Joins these rows and the other's, in this order; columns that only the other has are left out.

        A column that only these rows have is null in the other's rows.
        """
        n = len(other)

        def texts(mine: list[Any] | None, its: list[Any] | None, missing: Any = None) -> Any:
            return None if mine is None else [*mine, *(its or [missing] * n)]

        def numbers(mine: np.ndarray | None, its: np.ndarray | None) -> Any:
            return None if mine is None else np.concatenate((mine, np.full(n, np.nan) if its is None else its))

        return replace(
            self,
            sources=[*self.sources, *other.sources],
            source_langs=[*self.source_langs, *other.source_langs],
            target_langs=[*self.target_langs, *other.target_langs],
            documents=[*self.documents, *other.documents],
            gain=np.concatenate((self.gain, other.gain)),
            quality_small=numbers(self.quality_small, other.quality_small),
            quality_large=numbers(self.quality_large, other.quality_large),
            places=np.concatenate((self.places, other.places)),
            domains=texts(self.domains, other.domains, _NO_NAME),
            folds=texts(self.folds, other.folds, _NO_NAME),
            texts={name: texts(values, other.texts.get(name)) for name, values in self.texts.items()},
            numbers={name: numbers(values, other.numbers.get(name)) for name, values in self.numbers.items()},
        )


@dataclass(frozen=True)
class Reading:
    """A labelled set as it was read, with what was left out."""

    rows: Labelled
    """Rows with a gain."""
    metric: str
    """Metric of the gain."""
    files: int
    """Files read."""
    rows_read: int
    """Rows in them."""
    dropped: dict[str, int]
    """Rows left out, by reason."""
    warnings: list[str]
    """Warnings for readers of the report."""


def read_labelled(config: LabelledConfig, extra: Sequence[str] = (), fit: bool = False) -> Reading:
    """Reads a labelled set and keeps the rows that have a source and a measured gain.

    Args:
        config: path, metric, column names and languages.
        extra: numeric columns of the user to read as well; one that is absent is left out.
        fit: reads `labels.fit_path` in place of `labels.path`.

    Raises:
        ValueError: there is nothing to read, no such metric or column (the message lists the existing ones), no row
            with a gain, or a quality that is not on the 0-1 scale.
    """
    key, path = ("labels.fit_path", config.fit_path or "") if fit else ("labels.path", config.path)
    table, files = _read(path, key)
    names = set(table.column_names)
    for column, name in to_dict(config.columns).items():
        if name is not None and name not in names:
            raise ValueError(f"labels.columns.{column} is {name!r}; {path} has no such column, only {_listed(names)}")
    metric = _metric(path, names, config.metric)
    gain, small, large, warnings = _gains(table, metric, path)
    columns = config.columns
    sources = [s or "" for s in _strings(table, columns.source) or []]
    documents, domains, folds, *langs = (
        _strings(table, name)
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
            f"{key} {path}: none of its {table.num_rows} rows has a source and a measured gain_{metric}: nothing to do"
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
        texts={name: values for name in TEXTS if name in names and (values := _strings(table, name)) is not None},
        numbers={name: _numbers(table, name) for name in (*NUMBERS, *extra) if name in names},
    ).take(kept)
    return Reading(rows, metric, files, table.num_rows, {k: n for k, n in dropped.items() if n}, warnings)


def _read(path: str, key: str) -> tuple[pa.Table, int]:
    try:
        files = find_files(path)
    except ValueError as error:
        raise ValueError(str(error).replace("input.path", key)) from None
    if other := [f.path for f in files if not f.path.endswith(PARQUET)]:
        raise ValueError(f"{key} {other[0]}: a labelled set is Parquet; the name must end in {' or '.join(PARQUET)}")
    try:
        tables = [_table(f.path) for f in files]
        return pa.concat_tables(tables, promote_options="permissive"), len(files)
    except storage.StorageError:
        raise
    except (pa.ArrowException, OSError, storage.Damaged) as error:
        raise ValueError(f"{key} {path}: not readable as one Parquet table: {error}") from None


def _table(path: str) -> pa.Table:
    with storage.open_table(storage.path(path), whole=True) as file:
        return file.read()


def _metric(path: str, names: set[str], metric: str | None) -> str:
    found = metrics_in(names)
    if not found:
        raise ValueError(
            f"{path} has neither gain_<metric> nor both quality_small_<metric> and quality_large_<metric>; its columns "
            f"are {_listed(names)}"
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
    names = set(table.column_names)
    warnings: list[str] = []
    small, large = (
        _numbers(table, f"quality_{size}_{metric}") if f"quality_{size}_{metric}" in names else None
        for size in ("small", "large")
    )
    for size, values in (("small", small), ("large", large)):
        if values is not None and np.nanmax(np.abs(values), initial=0) > _LARGEST_QUALITY:
            raise ValueError(
                f"{path}: quality_{size}_{metric} reaches {np.nanmax(np.abs(values)):g}; qualities must be on the 0-1 "
                "scale (divide percentages by 100)"
            )
    both = None if small is None or large is None else large - small
    if f"gain_{metric}" not in names:
        assert both is not None  # _metric found one or the other
        return both, small, large, warnings
    gain = _numbers(table, f"gain_{metric}")
    if both is not None:
        off = int(np.count_nonzero(np.abs(gain - both) > 1e-3))
        if off:
            warnings.append(
                f"gain_{metric} differs from the difference of the qualities by more than .001 on {off:,} rows."
            )
        gain = np.where(np.isnan(gain), both, gain)
    if np.nanmax(np.abs(gain), initial=0) > _LARGEST_QUALITY:
        raise ValueError(
            f"{path}: gain_{metric} reaches {np.nanmax(np.abs(gain)):g}; gains must be in units of the 0-1 scale"
        )
    return gain, small, large, warnings


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    try:
        values = pc.fill_null(pc.cast(table[name], pa.float64()), float("nan"))
    except pa.ArrowException as error:
        raise ValueError(f"column {name!r} must hold numbers: {error}") from None
    return np.asarray(values.to_numpy(), np.float64)


def _strings(table: pa.Table, name: str | None) -> list[str | None] | None:
    if name is None:
        return None
    values: list[str | None] = pc.cast(table[name], pa.string()).to_pylist()
    return values


def _named(values: list[str | None] | None) -> list[str] | None:
    return None if values is None else [v or _NO_NAME for v in values]


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
