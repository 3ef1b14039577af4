"""The corpus: which files it has, what is in them, and reading a shard of it.

Files are found, looked into (rows, schema, fingerprint) and, if JSON Lines, staged to Parquet once. What was found is
kept in the run directory, so that a resumed run can tell whether the corpus is still the same.
"""

import glob
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt_ray import jsonl, storage
from routelmt_ray.shards import Shard, ShardPlan, Span

log = logging.getLogger(__name__)

PARQUET = (".parquet", ".pq")
JSON_LINES = tuple(a + b for a in (".jsonl", ".ndjson") for b in ("", ".gz", ".zst"))
_EDGE_BYTES = 1 << 16
_BATCH_ROWS = 16_384


@dataclass(frozen=True)
class InputFile:
    """One file of the corpus."""

    path: str
    """Where it is."""
    name: str
    """Its path inside the corpus; the order of the files is the order of these."""
    size_bytes: int
    """Size."""
    edge_digest: str
    """SHA-256 over its first and last 64 KiB; the last hold a Parquet file's own statistics."""
    rows: int = -1
    """Rows; -1 until known."""
    staged: str | None = None
    """The Parquet file its rows are read from, where that is another one."""
    damage: str | None = None
    """Why some or all of its rows cannot be read."""


@dataclass(frozen=True)
class Corpus:
    """All files and the one schema they share."""

    files: tuple[InputFile, ...]
    """In corpus order."""
    schema: pa.Schema
    """The user's columns, as they will stand in the output."""

    def plan(self, shard_rows: int) -> ShardPlan:
        """Cuts the corpus into shards."""
        return ShardPlan([f.staged or f.path for f in self.files], [f.rows for f in self.files], shard_rows)

    def fingerprint(self) -> dict[str, Any]:
        """What identifies the corpus: files, bytes, rows and a hash over names, sizes and edges."""
        digest = hashlib.sha256()
        for f in self.files:
            digest.update(json.dumps([f.name, f.size_bytes, f.edge_digest]).encode())
        return {
            "files": len(self.files),
            "bytes": sum(f.size_bytes for f in self.files),
            "digest": digest.hexdigest()[:16],
        }


def find_files(path: str) -> list[InputFile]:
    """Files of a corpus in order, with size and fingerprint; nothing is parsed.

    Args:
        path: a file, a folder (read recursively; hidden names and names that begin with ``_`` are left out) or a glob.

    Raises:
        ValueError: nothing there, or a file of an unknown kind was named.
    """
    known = PARQUET + JSON_LINES
    if os.path.isdir(path):
        root, found = path, [name for name in _walk(path) if name.endswith(known)]
        if not found:
            raise ValueError(f"input.path {path}: the folder has no file that ends in {', '.join(known)}")
    else:
        found = (
            [path] if os.path.isfile(path) else sorted(n for n in glob.glob(path, recursive=True) if os.path.isfile(n))
        )
        if not found:
            raise ValueError(f"input.path {path}: no such file or folder, and nothing matches it as a glob")
        unknown = [name for name in found if not name.endswith(known)]
        if unknown:
            raise ValueError(f"input.path {unknown[0]}: unknown kind of file; the name must end in {', '.join(known)}")
        root = (
            os.path.dirname(found[0])
            if len(found) == 1
            else os.path.commonpath([os.path.dirname(n) or "." for n in found])
        )
    with ThreadPoolExecutor(16) as threads:
        files = threads.map(lambda name: _look(name, os.path.relpath(name, root or ".")), found)
        return sorted(files, key=lambda f: f.name)


def _walk(folder: str) -> Iterable[str]:
    # Links to folders are not followed, so a loop of links cannot trap the walk.
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith((".", "_")))
        yield from (os.path.join(root, n) for n in sorted(names) if not n.startswith((".", "_")))


def _look(path: str, name: str) -> InputFile:
    with open(path, "rb") as source:
        head = source.read(_EDGE_BYTES)
        size = source.seek(0, os.SEEK_END)
        source.seek(max(len(head), size - _EDGE_BYTES))
        tail = source.read()
    return InputFile(path, name, size, hashlib.sha256(head + tail).hexdigest()[:16])


def is_json_lines(file: InputFile) -> bool:
    """True for a file that has to be staged."""
    return file.path.endswith(JSON_LINES)


def check_columns(files: Sequence[InputFile], wanted: dict[str, str]) -> None:
    """Looks at the beginning of the first readable file, so that a wrong column mapping is refused at once.

    Args:
        files: the corpus.
        wanted: column name by the config key that names it.

    Raises:
        ValueError: a column is not there; the message lists those that are.
    """
    for file in files:
        if is_json_lines(file):
            head = (jsonl.parse(line) for _, line in zip(range(1_000), jsonl.lines(file.path, [])))
            names = sorted({key for value in head if value is not None for key in value})
        else:
            try:
                names = pq.read_schema(file.path).names
            except (pa.ArrowException, OSError):
                continue
        if names:
            require_columns(names, wanted, file.path)
            return


def require_columns(names: Sequence[str], wanted: dict[str, str], where: str) -> None:
    """Refuses a column mapping that names columns which do not exist.

    Raises:
        ValueError: naming the config key, the column, and those that exist.
    """
    for key, column in wanted.items():
        if column not in names:
            raise ValueError(f"{key} is {column!r}, but {where} has no such column; it has: {', '.join(names)}")


def open_corpus(
    files: Sequence[InputFile],
    folder: Path,
    each: Callable[[Callable[..., Any], list[tuple[Any, ...]]], list[Any]],
) -> Corpus:
    """Looks into every file, stages JSON Lines, and keeps what was found in ``folder``.

    Args:
        files: from :func:`find_files`.
        folder: the run directory's ``input/``.
        each: runs a function over argument tuples, in order; on workers where there are any.

    Raises:
        ValueError: columns of Parquet files have types that do not fit together.
    """
    done = folder / "files.json"
    if done.exists():
        kept = {f["name"]: InputFile(**f) for f in storage.read_json(done)}
        return Corpus(
            tuple(replace(kept[f.name], path=f.path) for f in files),
            pq.read_schema(folder / "schema.parquet"),
        )
    lines = [i for i, f in enumerate(files) if is_json_lines(f)]
    found: list[tuple[int, pa.Schema, str | None]] = [(0, pa.schema([]), None)] * len(files)
    with ThreadPoolExecutor(16) as threads:
        tables = [i for i in range(len(files)) if not is_json_lines(files[i])]
        for i, result in zip(tables, threads.map(lambda i: _inspect_parquet(files[i].path), tables)):
            found[i] = result
    inferred = each(jsonl.infer, [(files[i].path,) for i in lines])
    line_schema = jsonl.merge_schemas([schema for _, schema, _ in inferred])
    staged = [folder / "staged" / f"{i:06d}.parquet" for i in lines]
    each(_stage, [(files[i].path, line_schema, target) for i, target in zip(lines, staged)])
    new = list(files)
    for i, (rows, _, damage), target in zip(lines, inferred, staged):
        found[i] = (rows, line_schema, damage[0] if damage else None)
        new[i] = replace(files[i], staged=str(target))
    new = [replace(f, rows=rows, damage=damage) for f, (rows, _, damage) in zip(new, found)]
    schema = _unify(new, [schema for _, schema, _ in found])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.parquet").unlink(missing_ok=True)
    storage.publish_table(folder / "schema.parquet", schema.empty_table(), {})
    storage.write_json(done, [asdict(f) for f in new])
    return Corpus(tuple(new), pq.read_schema(folder / "schema.parquet"))


def _inspect_parquet(path: str) -> tuple[int, pa.Schema, str | None]:
    try:
        with pq.ParquetFile(path) as file:
            return file.metadata.num_rows, file.schema_arrow.remove_metadata(), None
    except (pa.ArrowException, OSError) as error:
        return 0, pa.schema([]), f"{path}: not readable as Parquet: {error}"


def _stage(path: str, schema: pa.Schema, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}{storage.TEMPORARY}")
    jsonl.stage(path, schema, temporary)
    os.replace(temporary, target)


def _unify(files: Sequence[InputFile], schemas: Sequence[pa.Schema]) -> pa.Schema:
    merged = pa.schema([])
    for file, schema in zip(files, schemas):
        if schema.equals(merged):
            continue
        try:
            merged = pa.unify_schemas([merged, schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise ValueError(
                f"input.path: the columns of {file.path} do not fit those of the files before it: {error}"
            ) from None
    return pa.schema([pa.field(f.name, f.type) for f in merged])


def read_shard(shard: Shard, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Reads columns of a shard, in order, under the corpus schema; a column a file lacks is null there.

    ``jsonl.BAD_LINE`` may be asked for too: it is null wherever a row was readable.
    """
    fields = [pa.field(jsonl.BAD_LINE, pa.binary()) if c == jsonl.BAD_LINE else schema.field(c) for c in columns]
    wanted = pa.schema(fields)
    parts = [_conform(table, wanted) for span in shard.spans for table in _read_span(span, columns)]
    return pa.concat_tables(parts) if parts else wanted.empty_table()


def _read_span(span: Span, columns: Sequence[str]) -> Iterable[pa.Table]:
    with pq.ParquetFile(span.file) as file:
        here = [c for c in dict.fromkeys(columns) if c in file.schema_arrow.names]
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if stop > span.start and start < span.stop:
                yield from _read_group(file, group, max(span.start - start, 0), min(span.stop, stop) - start, here)
            start = stop


def _read_group(file: pq.ParquetFile, group: int, start: int, stop: int, columns: list[str]) -> Iterable[pa.Table]:
    rows = file.metadata.row_group(group).num_rows
    if start == 0 and stop == rows:
        yield file.read_row_group(group, columns, use_threads=False)
        return
    at = 0  # rows of a group cannot be entered in the middle: decode in small batches and stop early
    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
        low, high = max(start - at, 0), min(stop - at, batch.num_rows)
        if low < high:
            yield pa.Table.from_batches([batch.slice(low, high - low)])
        at += batch.num_rows
        if at >= stop:
            return


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
        else:
            column = table[field.name]
            columns.append(column if column.type == field.type else pc.cast(column, field.type))
    return pa.table(columns, schema=schema)
