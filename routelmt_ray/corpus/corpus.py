"""The corpus: the content of its files, and their common schema.

The rows and the schema of each file are read once, and JSON Lines are staged to Parquet. The result is kept in the run
directory, so that a resumed run can tell whether the corpus is still the same.
"""

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.corpus import edits, jsonl
from routelmt_ray.corpus.input_files import InputFile, is_json_lines
from routelmt_ray.corpus.input_table import open_input
from routelmt_ray.corpus.shard_reader import raise_system_error
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.corpus.trial import try_rows
from routelmt_ray.corpus.unify import Each, first_of_each, unify

log = logging.getLogger(__name__)

_GROUP_BYTES = 64 << 20
_GROUP_FILES = 2_000
_MOST_TRIALS = 64
"""Largest number of different schemas for which a trial with some rows is made."""


@dataclass(frozen=True, slots=True)
class Part:
    """A Parquet file with rows: a file of the corpus, or staged from JSON Lines files that follow one another."""

    path: str
    rows: int


@dataclass(frozen=True)
class Corpus:
    """The rows of all files and the one schema they share."""

    parts: tuple[Part, ...]
    """The Parquet files, in corpus order."""
    damage: tuple[str, ...]
    """Reasons why some or all rows of a file cannot be read, one message for each file."""
    schema: pa.Schema
    """The user's columns, as they will be in the output."""

    def plan(self, shard_rows: int) -> ShardPlan:
        """Cuts the corpus into shards of a given number of rows."""
        return ShardPlan([part.path for part in self.parts], [part.rows for part in self.parts], shard_rows)


def open_corpus(files: Sequence[InputFile], folder: storage.Location, each: Each) -> Corpus:
    """Reads rows and schema of every file, stages JSON Lines, and keeps the result in the run directory's ``input/``.

    `each` runs a function over argument tuples, in order; on workers where there are any. Raises ValueError if columns
    have types that do not fit together, or names that this job needs itself, and OSError if a file is gone, or may not
    be read.
    """
    done, groups = folder / edits.CORPUS, list(_groups(files))
    paths = list(_part_paths(groups, folder))
    if not (storage.exists(done) and _is_whole(groups, folder)):
        tables = [group[0].path for group in groups if not is_json_lines(group[0])]
        looked = storage.in_threads(_inspect_parquet, tables)
        lines = [[file.path for file in group] for group in groups if is_json_lines(group[0])]
        inferred = each(_infer, [(paths,) for paths in lines])
        line_schema = jsonl.merge_schemas([schema for _, schema, _, _ in inferred])
        staged = [path for path, group in zip(paths, groups) if is_json_lines(group[0])]
        line_schema = _stage_all(lines, line_schema, staged, each)
        found, written = iter(looked), iter(inferred)
        digests: dict[str, str | None] = {}
        rows_of: list[int] = []
        schemas: list[pa.Schema] = []
        damage: list[str] = []
        for group in groups:
            rows, schema, broken, of = next(written) if is_json_lines(group[0]) else (*next(found), ())
            digests |= {file.name: value for file, value in zip(group, of)}
            rows_of.append(rows)
            schemas.append(line_schema if is_json_lines(group[0]) else schema)
            damage += broken
        schema = unify(schemas, [group[-1].path for group in groups], paths, each)
        tried = [number for number, rows in enumerate(rows_of) if rows]
        first = [paths[tried[n]] for n in first_of_each([schemas[number] for number in tried])[:_MOST_TRIALS]]
        for path, wrong in zip(first, each(try_rows, [(path, schema) for path in first])):
            if wrong:
                raise ValueError(f"input.path: {path}: {wrong}")
        storage.remove(folder / "schema.parquet")
        storage.publish_table(folder / "schema.parquet", schema.empty_table(), {})
        storage.write_json(done, {"rows": rows_of, "damage": damage, "digests": digests})
    kept = storage.read_json(done)
    if not isinstance(kept, dict) or len(kept.get("rows", ())) != len(paths):
        raise ValueError(f"{done} does not describe the files of input.path; use a new run_dir")
    schema = storage.read_schema(folder / "schema.parquet").remove_metadata()
    return Corpus(tuple(map(Part, paths, kept["rows"])), tuple(kept["damage"]), schema)


def _stage_all(lines: list[list[str]], schema: pa.Schema, staged: list[str], each: Each) -> pa.Schema:
    """Stages JSON Lines files; returns the schema of the staged files.

    Values of one file may not fit the type that another file needs. Such a column becomes text, and all files are
    staged again; the loop ends because each turn makes at least one more column text.
    """
    while True:
        found = each(_stage, [(names, schema, target) for names, target in zip(lines, staged)])
        unfit = {name for names in found for name in names}
        if not unfit:
            return schema
        if stuck := unfit.intersection(jsonl.text_names(schema)):
            raise ValueError(
                f"input.path: values of {', '.join(sorted(map(repr, stuck)))} cannot be kept, not even as text; repair or remove them"
            )
        schema = jsonl.as_text(schema, unfit)


def _part_paths(groups: Sequence[Sequence[InputFile]], folder: storage.Location) -> Iterator[str]:
    """Paths of the parts.

    They are not kept in the run directory, so that nothing in it leads a reader elsewhere, and so that the corpus and
    the run directory may be moved.
    """
    staged = 0
    for group in groups:
        if is_json_lines(group[0]):
            yield str(folder / "staged" / f"{staged:06d}.parquet")
            staged += 1
        else:
            yield group[0].path


def _is_whole(groups: Sequence[Sequence[InputFile]], folder: storage.Location) -> bool:
    """False where a kept file is missing or damaged: all of them are then made again."""
    wanted = 1 + sum(is_json_lines(group[0]) for group in groups)  # the schema, and what is staged
    listed = storage.entries(folder)
    found = [file for file in listed if file.name.endswith(".parquet")]
    marks = [file.name for file in listed if file.name.endswith(storage.DAMAGED_MARK)]
    looks = storage.in_threads(lambda file: storage.look(folder / file.name, file.size_bytes), found)
    broken = [f"{file.name}: {look.wrong}" for file, look in zip(found, looks) if look.wrong] + marks
    for name in marks:
        storage.remove(folder / name)
    if broken or len(found) < wanted:
        log.warning(
            "%s: files are missing or damaged (%s); they are made again", folder, "; ".join(broken) or "missing"
        )
        return False
    return True


def _groups(files: Sequence[InputFile]) -> Iterator[list[InputFile]]:
    """Groups of files that become one part: a Parquet file alone, JSON Lines files together up to a bound.

    So a million small files give neither a million tasks nor a million staged files.
    """
    group: list[InputFile] = []
    size_bytes = 0
    for file in files:
        size_bytes += file.size_bytes
        fits = size_bytes <= _GROUP_BYTES and len(group) < _GROUP_FILES
        if group and not (is_json_lines(group[0]) and is_json_lines(file) and fits):
            yield group
            group, size_bytes = [], file.size_bytes
        group.append(file)
    if group:
        yield group


def _inspect_parquet(path: str) -> tuple[int, pa.Schema, list[str]]:
    try:
        with open_input(path) as table:
            return _rows(table.file.metadata), table.schema.remove_metadata(), []
    except storage.StorageError:
        raise
    except (storage.Damaged, pa.ArrowException, OSError, ValueError) as error:
        raise_system_error(error)
        return 0, pa.schema([]), [f"{path}: not readable as Parquet: {error}"]


def _rows(metadata: Any) -> int:
    """Number of rows of a file; refuses a footer whose parts do not agree on it."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    columns, some = metadata.schema, range(metadata.num_columns)
    flat = list(itertools.islice((i for i in some if not columns.column(i).max_repetition_level), 1))
    values = [group.column(i).num_values for group in groups for i in flat]
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows or (flat and values != rows):
        raise ValueError("its footer contradicts itself")
    return metadata.num_rows


def _infer(paths: list[str]) -> tuple[int, pa.Schema, list[str], list[str | None]]:
    looked = [jsonl.infer(path) for path in paths]
    damage = [message for _, _, messages in looked for message in messages]
    schema = jsonl.merge_schemas([schema for _, schema, _ in looked])
    return sum(rows for rows, _, _ in looked), schema, damage, [edits.digest(path) for path in paths]


def _stage(paths: list[str], schema: pa.Schema, target: str) -> list[str]:
    """Stages files, or says which columns of the schema do not hold their values."""
    try:
        with storage.new_file(storage.path(target)) as temporary:
            if unfit := jsonl.stage(paths, schema, temporary):
                raise _Unfit(unfit)
    except _Unfit as found:
        return found.columns
    return []


class _Unfit(Exception):
    """Columns that do not fit, so that nothing must be published."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns
