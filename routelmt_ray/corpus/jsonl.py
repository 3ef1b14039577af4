"""JSON Lines staged to Parquet, so that every later stage can begin to read anywhere and can read single columns.

There are two passes over a file, both streaming: :func:`infer` finds the type of each column, :func:`stage` writes the
rows. A line that is not a JSON object costs only that row: all its columns are null and ``BAD_LINE`` holds its bytes. A
column whose values fit no common type is kept as JSON text. If a key occurs twice in an object, the last value counts,
as for most readers. Blank lines are not rows.
"""

import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from routelmt_ray import storage

BAD_LINE = "__routelmt_bad_line"
"""Column of a staged file: the bytes of a line that is no JSON object, else null."""
BLOCK_ROWS = 8_192
_MISFITS = (pa.ArrowException, OverflowError, TypeError, ValueError)
_TEXT_MARK = {b"routelmt": b"json_text"}
_BLOCK_BYTES = 16 << 20
LONGEST_LINE_BYTES = 256 << 20
MOST_COLUMNS = 10_000
"""Largest number of different keys of all lines; where keys are data, each line has new ones."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK_BYTES = 1 << 18
_STEP_BYTES = 1 << 9
"""Compressed bytes read at once, few because four bytes of zstd may hold 128 KiB."""
_MOST_DEPTH, _MOST_FIELDS = 16, 256
"""Largest depth, and number of fields of a struct, of a nested column; Arrow sends at most 64 levels between
processes."""


def _zstd() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()  # as `zstd --long=31` writes


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".zst": _zstd,
    ".zstd": _zstd,
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
}
_BROKEN = (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError)
"""Errors of decompressors on damage; that of bzip2 raises an OSError."""


def lines(path: str, damage: list[str], longest_bytes: int | None = None) -> Iterator[bytes]:
    """Yields the lines of a plain or compressed file; blank lines are left out.

    A line that is longer than allowed, by default :data:`LONGEST_LINE_BYTES`, comes in parts of about that size; such
    parts are lines without an object. `damage` receives a message where the file is damaged or cut short; the lines
    before that are still yielded.
    """
    longest_bytes = LONGEST_LINE_BYTES if longest_bytes is None else longest_bytes
    with storage.open_file(storage.path(path)) as raw:
        begun: list[bytes] = []
        size_bytes = 0
        for chunk in _without_mark(_decompressed(raw, path, damage)):
            first, *others = chunk.split(b"\n")
            begun.append(first)
            size_bytes += len(first)
            if others or size_bytes > longest_bytes:
                yield from _unless_blank(b"".join(begun))
                begun, size_bytes = others[-1:], sum(map(len, others[-1:]))
                for line in others[:-1]:
                    yield from _unless_blank(line)
        yield from _unless_blank(b"".join(begun))


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks without the byte order mark that some programs write first; a damaged file may give it in pieces."""
    begin = b""
    for chunk in chunks:
        begin += chunk
        if len(begin) >= len(_BYTE_ORDER_MARK):
            break
    yield begin.removeprefix(_BYTE_ORDER_MARK)
    yield from chunks


def _unless_blank(line: bytes) -> list[bytes]:
    return [line.rstrip(b"\r")] if line.strip() else []


def _decompressed(raw: Any, path: str, damage: list[str]) -> Iterator[bytes]:
    """Chunks of a file, decompressed up to the byte where it is damaged, so that all that is readable is read."""
    new = next((new for suffix, new in _DECOMPRESSORS.items() if path.lower().endswith(suffix)), None)
    if new is None:
        yield from iter(lambda: raw.read(_CHUNK_BYTES), b"")
        return
    stream = None
    start = at = 0  # place of the frame, and of the bytes that are decompressed next
    while step := raw.read(_STEP_BYTES):
        while step:  # a file may hold several frames, one after the other
            if stream is None:
                stream, start = new(), at
            try:
                yield stream.decompress(step)
            except _BROKEN as error:
                damage.append(f"{path}: damaged: {error}")
                yield from _until_damage(raw, start, at, len(step), new())
                return
            rest = stream.unused_data if stream.eof else b""
            at += len(step) - len(rest)
            stream, step = None if stream.eof else stream, rest
    if stream is not None:
        damage.append(f"{path}: cut short")


def _until_damage(raw: Any, start: int, at: int, length: int, stream: Any) -> Iterator[bytes]:
    """Decompresses a step that fails up to the damage: its frame is read again, and the step byte by byte."""
    raw.seek(start)
    while start < at:
        skipped = raw.read(min(_STEP_BYTES, at - start))
        stream.decompress(skipped)
        start += len(skipped)
    for byte in raw.read(length):
        try:
            yield stream.decompress(bytes([byte]))
        except _BROKEN:
            return


def parse(line: bytes) -> dict[str, Any] | None:
    """Parses the object on a line; None where there is none (bad JSON, bad UTF-8, lone surrogates, another type)."""
    try:
        # Parsed from text, because from bytes the module accepts UTF-16 and surrogates too. Concatenated files have
        # byte order marks inside.
        value = json.loads(line.decode().removeprefix("\ufeff"))
        if not isinstance(value, dict):
            return None
        if rb"\ud" in line.lower():
            json.dumps(value, ensure_ascii=False).encode()  # fails on a lone surrogate, which no column can hold
    except (ValueError, RecursionError):
        return None
    return value


def _blocks(path: str, damage: list[str]) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    size_bytes = 0
    for line in lines(path, damage):
        block.append(line)
        size_bytes += len(line)
        if len(block) == BLOCK_ROWS or size_bytes > _BLOCK_BYTES:
            yield block
            block, size_bytes = [], 0
    if block:
        yield block


def infer(path: str) -> tuple[int, pa.Schema, list[str]]:
    """Reads a file for the first pass, and returns its number of rows, schema and damage. Raises ValueError if there
    are more than :data:`MOST_COLUMNS` different keys."""
    rows, schema, damage = 0, pa.schema([]), []  # type: ignore[var-annotated]
    for block in _blocks(path, damage):
        rows += len(block)
        by_key = _by_key([parse(line) for line in block])
        schema = merge_schemas([schema, pa.schema([_field(key, values) for key, (_, values) in by_key.items()])])
    return rows, schema, damage


def _by_key(rows: Iterable[dict[str, Any] | None]) -> dict[str, tuple[list[int], list[Any]]]:
    """Numbers of the rows that have a key, and their values, so that missing keys cost no time."""
    found: dict[str, tuple[list[int], list[Any]]] = {}
    for number, row in enumerate(rows):
        for key, value in (row or {}).items():
            numbers, values = found.setdefault(key, ([], []))
            numbers.append(number)
            values.append(value)
    return found


def _text_field(key: str) -> pa.Field:
    return pa.field(key, pa.string(), metadata=_TEXT_MARK)


def _field(key: str, column: list[Any]) -> pa.Field:
    try:
        kind = pa.infer_type(column)
        pa.array(column, kind)
    except _MISFITS:
        return _text_field(key)
    return pa.field(key, kind) if _storable(kind) else _text_field(key)


def _storable(kind: pa.DataType, depth: int = 0) -> bool:
    if depth > _MOST_DEPTH:
        return False
    if pa.types.is_struct(kind):
        fields = [kind.field(i).type for i in range(kind.num_fields)]
        return 0 < len(fields) <= _MOST_FIELDS and all(_storable(field, depth + 1) for field in fields)
    return _storable(kind.value_type, depth + 1) if pa.types.is_list(kind) else True


def merge_schemas(schemas: list[pa.Schema]) -> pa.Schema:
    """Merges schemas to one: types are widened (null, integer, float); where none fits, a column becomes JSON text.
    Raises ValueError if there are more than :data:`MOST_COLUMNS` different keys."""
    fields: dict[str, pa.Field] = {}
    for field in (f for schema in schemas for f in schema):
        known = fields.setdefault(field.name, field)
        if known.type == field.type and known.metadata == field.metadata:
            continue
        both = _text_field(field.name)
        if _TEXT_MARK not in (known.metadata, field.metadata):
            with suppress(pa.ArrowException):
                both = pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive").field(0)
        fields[field.name] = both if _storable(both.type) else _text_field(field.name)
    if len(fields) > MOST_COLUMNS:
        names = ", ".join([*fields][-3:])
        raise ValueError(
            f"input.path: the JSON lines have more than {MOST_COLUMNS:,} different keys, {names} among them, and each becomes a "
            "column; put those that differ from line to line into one object under one key"
        )
    return pa.schema(list(fields.values()))


def as_text(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Changes the type of some columns of a schema to JSON text."""
    chosen = set(names)
    return pa.schema([_text_field(f.name) if f.name in chosen else f for f in schema])


def text_names(schema: pa.Schema) -> set[str]:
    """Finds the names of the columns that are kept as JSON text."""
    return {field.name for field in schema if field.metadata == _TEXT_MARK}


def stage(paths: Sequence[str], schema: pa.Schema, target: Path) -> list[str]:
    """Writes the rows of files in a given schema to one Parquet file, in the second pass.

    The caller publishes ``target``; writing it is not atomic. Returns columns whose values do not fit their type; if
    there are any, ``target`` must not be used.
    """
    full, unfit = schema.append(pa.field(BAD_LINE, pa.binary())), dict[str, None]()
    with pq.ParquetWriter(target, full, compression="zstd", write_page_checksum=True) as writer:
        for block in (block for path in paths for block in _blocks(path, [])):
            rows = [parse(line) for line in block]
            there = _by_key(rows)
            columns = []
            for field in schema:
                try:
                    columns.append(_column(field, *there.get(field.name, ([], [])), len(rows)))
                except _MISFITS:
                    unfit[field.name] = None
            if not unfit:
                bad = pa.array([line if row is None else None for line, row in zip(block, rows)], pa.binary())
                writer.write_table(pa.table([*columns, bad], schema=full))
    return list(unfit)


def _column(field: pa.Field, numbers: list[int], values: list[Any], rows: int) -> pa.Array:
    if not values:
        return pa.nulls(rows, field.type)
    if field.metadata == _TEXT_MARK:
        values = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    column = pa.array(values, field.type)
    if len(values) == rows:
        return column
    at = np.full(rows, -1)
    at[numbers] = np.arange(len(numbers))
    return column.take(pa.array(at, mask=at < 0))
