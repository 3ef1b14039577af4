"""The Parquet files of a labelled set: found, read into one table, and their columns as numbers."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray import storage
from routelmt_ray.config.loader import to_dict
from routelmt_ray.corpus.input_files import PARQUET, find_files

LARGEST_QUALITY = 2.0
"""A quality or gain beyond this is not on the 0-1 scale."""

Pick = Callable[[Sequence[str], str], dict[str, pa.DataType] | None]
"""Maps the columns of a file and its path to the columns that are read, with the type of each; None reads all as they are."""


def read_label_files(key: str, path: str, pick: Pick = lambda names, file: None) -> tuple[pa.Table, int]:
    """Reads a labelled set, a file, a folder or a glob, into one table, and counts its files.

    `pick` chooses the columns of each file; where all are read, one that a file lacks is null there. Raises ValueError where
    there is no file, one is not readable Parquet, or their columns do not go together.
    """
    try:
        files = find_files(path)
    except ValueError as error:
        raise ValueError(str(error).replace("input.path", key)) from None
    if other := [f.path for f in files if not f.path.endswith(PARQUET)]:
        raise ValueError(f"{key} {other[0]}: labels are Parquet; the name must end in {' or '.join(PARQUET)}")
    tables, promote = [], "permissive"
    for file in files:
        try:
            with storage.open_table(storage.path(file.path), whole=True) as source:
                picked = pick(source.schema_arrow.names, file.path)
                table = source.read(None if picked is None else list(picked))
        except storage.StorageError:
            raise
        except (storage.Damaged, pa.ArrowException, OSError) as error:
            raise ValueError(f"{key} {file.path}: not readable as Parquet: {error}") from None
        if picked is not None:  # files may have other types of text or numbers, but not other columns
            table, promote = (
                pa.table({name: _cast(table, name, kind, file.path) for name, kind in picked.items()}),
                "none",
            )
        tables.append(table)
    try:
        return pa.concat_tables(tables, promote_options=promote), len(files)
    except pa.ArrowException as error:
        raise ValueError(f"{key} {path}: its files do not have the same label columns: {error}") from None


def metrics_in(names: set[str]) -> list[str]:
    """Finds the metrics that have a gain: a column of gains, or both columns of qualities."""
    gains = {match[1] for name in names if (match := re.fullmatch(r"gain_(.+)", name))}
    both = {
        match[1]
        for name in names
        if (match := re.fullmatch(r"quality_small_(.+)", name)) and f"quality_large_{match[1]}" in names
    }
    return sorted(gains | both)


def named_columns(columns: Any) -> dict[str, str]:
    """Lists the columns that a configuration names, by their configuration keys."""
    return {f"labels.columns.{key}": name for key, name in to_dict(columns).items() if name is not None}


def _cast(table: pa.Table, name: str, kind: pa.DataType, where: str = "") -> pa.ChunkedArray:
    try:
        return pc.cast(table[name], kind)
    except pa.ArrowException as error:
        what = "text" if pa.types.is_string(kind) else "numbers"
        raise ValueError(f"{where and where + ': '}column {name!r} must hold {what}: {error}") from None


def strings(table: pa.Table, name: str) -> list[str | None]:
    """Reads a column as text, None where null; raises ValueError where it does not hold text."""
    values: list[str | None] = _cast(table, name, pa.string()).to_pylist()
    return values


def numbers(table: pa.Table, name: str) -> np.ndarray:
    """Reads a column as numbers, shape (rows,), float64, NaN where null; raises ValueError where it does not hold numbers."""
    values = pc.fill_null(_cast(table, name, pa.float64()), float("nan"))
    return np.asarray(values.to_numpy(), np.float64)
