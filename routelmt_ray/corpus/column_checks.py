"""Refuses a corpus that lacks the columns which the configuration names."""

from collections.abc import Sequence

import pyarrow.compute as pc

from routelmt_ray import storage
from routelmt_ray.config.errors import first_of_many
from routelmt_ray.corpus import column_paths, jsonl, sniff
from routelmt_ray.corpus.corpus import Corpus
from routelmt_ray.corpus.input_files import InputFile, is_json_lines
from routelmt_ray.corpus.unify import Each

_MOST_NAMED = 50


def check_columns(files: Sequence[InputFile], wanted: dict[str, str]) -> None:
    """Reads the beginning of the first readable file, so that a wrong column mapping is refused at once. `wanted` has
    the column name by the config key that names it. Raises ValueError if a column does not exist, and lists those that
    do; or if no file is what its name says."""
    reasons = []
    for file in files:
        if is_json_lines(file):
            head = (jsonl.parse(line) for _, line in zip(range(1_000), jsonl.lines(file.path, [])))
            names = sorted(column_paths.paths_of_values(value for value in head if value is not None))
            if not names and (reason := sniff.why_no_lines(file.path)) is not None:
                reasons.append(f"{file.path}: {reason}")
        else:
            try:
                names = column_paths.known_paths(storage.read_schema(storage.path(file.path)))
            except (storage.Damaged, FileNotFoundError, PermissionError):
                continue
        if names:
            require_columns(names, wanted, file.path)
            return
    if reasons and len(reasons) == len(files):
        raise ValueError(f"input.path: no file has one JSON object per line; {reasons[0]}")


def check_spelling(corpus: Corpus, wanted: dict[str, str], each: Each) -> None:
    """Refuses a corpus in which the name of a needed column differs between files in capital letters. `wanted` has the
    column name by the config key that names it."""
    for key, path in wanted.items():
        column = column_paths.column_of(corpus.schema, path)
        for alike in sorted(name for name in corpus.schema.names if name.lower() == column.lower() and name != column):
            counts = each(_rows_with_other, [(part.path, column, alike) for part in corpus.parts if part.rows])
            if rows := sum(counts):
                raise ValueError(
                    f"{key} is {path!r}, but {rows} rows have the column {alike!r} in place of {column!r}, and its values would be lost; "
                    "use one name in all files"
                )


def _rows_with_other(path: str, column: str, alike: str) -> int:
    """Number of rows of a part that have no value in one column, but have one in another."""
    with storage.open_table(storage.path(path)) as file:
        names = file.schema_arrow.names
        if alike not in names or column not in names:
            return file.metadata.num_rows if alike in names else 0
        if jsonl.BAD_LINE not in names:  # a Parquet file has a column or not, an object of JSON Lines too
            return 0
        rows = 0
        for batch in file.iter_batches(columns=[column, alike]):
            others = pc.and_(batch.column(column).is_null(), batch.column(alike).is_valid())
            rows += pc.sum(others).as_py() or 0
        return rows


def require_columns(names: Sequence[str], wanted: dict[str, str], where: str) -> None:
    """Refuses a column mapping that names columns which do not exist."""
    for key, column in wanted.items():
        if column not in names:
            known = f"it has: {first_of_many(names, _MOST_NAMED)}" if names else "it has none"
            raise ValueError(f"{key} is {column!r}, but {where} has no such column; {known}")
