"""One schema for the files of a corpus: types that hold every value of every file, found before any expensive work."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from routelmt_ray.corpus import jsonl, salvage
from routelmt_ray.corpus.column_types import common, holds, stored
from routelmt_ray.corpus.input_table import open_input
from routelmt_ray.corpus.shard_reader import conform

Each = Callable[[Callable[..., Any], list[tuple[Any, ...]]], list[Any]]
"""(function, argument tuples) -> results in order; it runs on workers where there are any."""


def unify(schemas: Sequence[pa.Schema], names: Sequence[str], parts: Sequence[str], each: Each) -> pa.Schema:
    """Finds the schema of the corpus, with the type of each column that holds the values of all files.

    `names` has the name of each file that the user knows, and `parts` the Parquet file from which its rows are read.
    Raises ValueError if types do not fit together; the message names the file, the column, both types and what to do.
    """
    columns: dict[str, dict[pa.DataType, list[int]]] = {}  # by name, the numbers of the files by their stored type
    for schema, files in _alike(schemas):
        _check_names(schema, names[files[0]])
        for at in schema:
            columns.setdefault(at.name, {}).setdefault(stored(at.type), []).extend(files)
    return pa.schema([(name, _type(name, kinds, names, parts, each)) for name, kinds in columns.items()])


def _alike(schemas: Sequence[pa.Schema]) -> list[tuple[pa.Schema, list[int]]]:
    """The different schemas with the numbers of their files, in the order of the first file."""
    found: dict[bytes, tuple[pa.Schema, list[int]]] = {}
    for number, schema in enumerate(schemas):
        found.setdefault(schema.serialize().to_pybytes(), (schema, []))[1].append(number)
    return list(found.values())


def first_of_each(schemas: Sequence[pa.Schema]) -> list[int]:
    """Finds the numbers of the files with a schema that no file before them has."""
    return [files[0] for _, files in _alike(schemas)]


def _check_names(schema: pa.Schema, path: str) -> None:
    names = schema.names
    if len(set(names)) < len(names):
        doubled = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"input.path: {path} has several columns called {', '.join(doubled)}; rename them")
    if taken := {jsonl.BAD_LINE, salvage.UNREADABLE}.intersection(names):
        raise ValueError(
            f"input.path: {path} has a column {taken.pop()}, a name that the job itself needs; rename the column"
        )


def _type(
    name: str, kinds: dict[pa.DataType, list[int]], names: Sequence[str], parts: Sequence[str], each: Each
) -> pa.DataType:
    """The type of a column; of two candidates, the first that holds the values of all files."""
    in_order = sorted(kinds, key=lambda kind: kinds[kind][0])
    lost = ""
    for fine in (True, False):
        target = in_order[0]
        for kind in in_order[1:]:
            try:
                target = common(target, kind, fine)
            except pa.ArrowTypeError:
                raise _do_not_fit(name, names[kinds[kind][0]], kind, target) from None
        doubtful = [number for kind in in_order if not holds(target, kind) for number in kinds[kind]]
        found = each(find_lost_value, [(parts[number], name, target) for number in doubtful]) if doubtful else []
        lost = next((f"{names[number]}: {words}" for number, words in zip(doubtful, found) if words), "")
        if not lost:
            return target
    kind = in_order[1]
    raise _do_not_fit(name, names[kinds[kind][0]], kind, in_order[0], f" (no type holds the values of all: {lost})")


def _do_not_fit(name: str, path: str, kind: pa.DataType, known: pa.DataType, more: str = "") -> ValueError:
    return ValueError(
        f"input.path: the columns of {path} do not fit those of the files before it: {name} is {kind}, and {known} "
        f"there{more}; convert the files to one type"
    )


def find_lost_value(path: str, name: str, kind: pa.DataType) -> str | None:
    """Finds the first value of a column that a type does not hold unchanged, and describes it; None without one."""
    with open_input(path) as file:
        for group, rows in enumerate(file.group_rows):
            try:
                for table in file.read(group, 0, rows, [name]):
                    try:
                        conform(table, pa.schema([(name, kind)]))
                    except pa.ArrowInvalid as error:
                        return str(error)
            except pa.ArrowException:
                continue  # values that cannot be read are lost with any type
    return None
