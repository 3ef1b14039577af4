"""Columns by name, and fields within them by dotted paths: ``translation.en`` of ``{"translation": {"en": …}}``.

A column whose name itself contains the dots has priority.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_MOST_DEPTH = 4


def resolve(schema: pa.Schema, path: str) -> tuple[pa.Field, list[str]] | None:
    """Finds the column that a path names, and the fields within it; None where there is none."""
    parts = path.split(".")
    for n in range(len(parts), 0, -1):
        number = schema.get_field_index(".".join(parts[:n]))
        if number < 0:
            continue
        column = kind = schema.field(number)
        for name in parts[n:]:
            at = kind.type.get_field_index(name) if pa.types.is_struct(kind.type) else -1
            if at < 0:
                break
            kind = kind.type.field(at)
        else:
            return column, parts[n:]
    return None


def type_of(schema: pa.Schema, path: str) -> pa.DataType:
    """Finds the type of the column or field that a path names. Raises KeyError if the path names nothing."""
    found = resolve(schema, path)
    if found is None:
        raise KeyError(path)
    kind = found[0].type
    for name in found[1]:
        kind = kind.field(name).type
    return kind


def column_of(schema: pa.Schema, path: str) -> str:
    """Finds the name of the column that a path leads into; the path itself where it names nothing."""
    found = resolve(schema, path)
    return path if found is None else str(found[0].name)


def pick(table: pa.Table, schema: pa.Schema, paths: Sequence[str]) -> pa.Table:
    """Selects the columns and fields that paths name, each under its path. A path that names nothing in the schema is
    the name of a column of the table."""
    if all(path in table.column_names for path in paths):
        return table.select(paths)
    arrays = []
    for path in paths:
        column, fields = resolve(schema, path) or (None, [])
        values = table[path if column is None else column.name]
        arrays.append(pc.struct_field(values, fields) if fields else values)
    return pa.table(arrays, list(paths))


def known_paths(schema: pa.Schema) -> list[str]:
    """Lists the paths of all columns and, within structs, of all fields, to a depth of 4."""
    return [path for field in schema for path in _within(field, 1)]


def _within(field: pa.Field, depth: int) -> Iterator[str]:
    yield field.name
    if pa.types.is_struct(field.type) and depth < _MOST_DEPTH:
        for inner in field.type:
            yield from (f"{field.name}.{path}" for path in _within(inner, depth + 1))


def paths_of_values(values: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lists the paths of all keys of JSON objects, to a depth of 4; each path once."""
    return list(dict.fromkeys(path for value in values for path in _keys(value, 1)))


def _keys(value: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key, inner in value.items():
        yield key
        if isinstance(inner, dict) and depth < _MOST_DEPTH:
            yield from (f"{key}.{path}" for path in _keys(inner, depth + 1))
