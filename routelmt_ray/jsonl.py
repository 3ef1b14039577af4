"""JSON Lines staged to Parquet: typed once, so that every later stage can enter it anywhere and read single columns.

Two passes over a file, both streaming: :func:`infer` finds the type of each column, :func:`stage` writes the rows. A
line that is not a JSON object costs that row alone: all its columns are null and ``BAD_LINE`` holds its bytes. A column
whose values fit no common type is kept as JSON text. Blank lines are not rows.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from routelmt_ray import storage

BAD_LINE = "__routelmt_bad_line"
"""Column of a staged file: the bytes of a line that is no JSON object, else null."""
BLOCK_ROWS = 8_192
_TEXT_MARK = {b"routelmt": b"json_text"}
_CHUNK_BYTES = 1 << 18
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}


def lines(path: str, damage: list[str]) -> Iterator[bytes]:
    """Lines of a plain or compressed file, blank ones left out.

    Args:
        path: a file; ``.gz`` and ``.zst`` are decompressed.
        damage: receives a message where the file ends in the middle; the lines before it are still given.
    """
    with storage.open_file(storage.path(path)) as raw:
        rest = b""
        for number, chunk in enumerate(_decompressed(raw, path, damage)):
            if number == 0:
                chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.rstrip(b"\r") for line in whole if line.strip())
        if rest.strip():
            yield rest.rstrip(b"\r")


def _decompressed(raw: Any, path: str, damage: list[str]) -> Iterator[bytes]:
    """Chunks of a file, decompressed up to the very byte where it is damaged: what is readable is not lost."""
    new = next((new for suffix, new in _DECOMPRESSORS.items() if path.endswith(suffix)), None)
    if new is None:
        yield from iter(lambda: raw.read(_CHUNK_BYTES), b"")
        return
    stream = None
    while chunk := raw.read(_CHUNK_BYTES):
        while chunk:  # a file may hold several frames, one after the other
            stream = stream or new()
            try:
                yield stream.decompress(chunk)
            except (zlib.error, zstandard.ZstdError) as error:
                damage.append(f"{path}: damaged: {error}")
                return
            chunk = stream.unused_data if stream.eof else b""
            stream = None if stream.eof else stream
    if stream is not None:
        damage.append(f"{path}: cut short")


def parse(line: bytes) -> dict[str, Any] | None:
    """The object on a line, or None where there is none (bad JSON, bad UTF-8, lone surrogates, another type)."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict):
            return None
        if rb"\ud" in line.lower():
            json.dumps(value, ensure_ascii=False).encode()  # fails on a lone surrogate, which no column can hold
    except (ValueError, RecursionError):
        return None
    return value


def _blocks(path: str, damage: list[str]) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    for line in lines(path, damage):
        block.append(line)
        if len(block) == BLOCK_ROWS:
            yield block
            block = []
    if block:
        yield block


def infer(path: str) -> tuple[int, pa.Schema, list[str]]:
    """First pass: rows, schema and damage of a file."""
    rows, schema, damage = 0, pa.schema([]), []  # type: ignore[var-annotated]
    for block in _blocks(path, damage):
        rows += len(block)
        schema = merge_schemas([schema, _block_schema([value for line in block if (value := parse(line)) is not None])])
    return rows, schema, damage


def _block_schema(values: list[dict[str, Any]]) -> pa.Schema:
    keys = dict.fromkeys(key for value in values for key in value)
    return pa.schema([_field(key, [value.get(key) for value in values]) for key in keys])


def _field(key: str, column: list[Any]) -> pa.Field:
    try:
        kind = pa.infer_type(column)
        if not _storable(kind):
            return pa.field(key, pa.string(), metadata=_TEXT_MARK)
        pa.array(column, kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.field(key, pa.string(), metadata=_TEXT_MARK)
    return pa.field(key, kind)


def _storable(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_storable(kind.field(i).type) for i in range(kind.num_fields))
    return _storable(kind.value_type) if pa.types.is_list(kind) else True


def merge_schemas(schemas: list[pa.Schema]) -> pa.Schema:
    """One schema for all: types are widened (null, integer, float); where none fits, the column becomes JSON text."""
    fields: dict[str, pa.Field] = {}
    for field in (f for schema in schemas for f in schema):
        known = fields.setdefault(field.name, field)
        if known.type == field.type and known.metadata == field.metadata:
            continue
        if _TEXT_MARK in (known.metadata, field.metadata):
            fields[field.name] = pa.field(field.name, pa.string(), metadata=_TEXT_MARK)
            continue
        try:
            both = pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive")
            fields[field.name] = both.field(0)
        except pa.ArrowException:
            fields[field.name] = pa.field(field.name, pa.string(), metadata=_TEXT_MARK)
    return pa.schema(list(fields.values()))


def stage(paths: Sequence[str], schema: pa.Schema, target: Path) -> int:
    """Second pass: writes the rows of files under a schema to one Parquet file; returns how many.

    The caller publishes ``target``; it is not atomic by itself.
    """
    full, rows = schema.append(pa.field(BAD_LINE, pa.binary())), 0
    with pq.ParquetWriter(target, full, compression="zstd", write_page_checksum=True) as writer:
        for block in (block for path in paths for block in _blocks(path, [])):
            values = [parse(line) for line in block]
            columns = [_column(f, [None if v is None else v.get(f.name) for v in values]) for f in schema]
            bad = pa.array([line if v is None else None for line, v in zip(block, values)], pa.binary())
            writer.write_table(pa.table([*columns, bad], schema=full))
            rows += len(block)
    return rows


def _column(field: pa.Field, values: list[Any]) -> pa.Array:
    if field.metadata == _TEXT_MARK:
        values = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    return pa.array(values, field.type)
