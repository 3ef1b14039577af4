"""The corpus: which files it has, what is in them, and reading a shard of it.

Files are found, looked into (rows, schema, fingerprint) and, if JSON Lines, staged to Parquet once. What was found is
kept in the run directory, so that a resumed run can tell whether the corpus is still the same.
"""

import glob
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray import jsonl, s3_inputs, storage
from routelmt_ray.shards import Shard, ShardPlan, Span

log = logging.getLogger(__name__)

PARQUET = (".parquet", ".pq")
JSON_LINES = tuple(a + b for a in (".jsonl", ".ndjson") for b in ("", ".gz", ".zst"))
_EDGE_BYTES = 1 << 16
_BATCH_ROWS = 16_384
_GROUP_BYTES = 64 << 20
_GROUP_FILES = 2_000


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the corpus."""

    path: str
    """Where it is."""
    name: str
    """Its path inside the corpus; the order of the files is the order of these."""
    size_bytes: int
    """Size."""
    edge_digest: str
    """SHA-256 over its first and last 64 KiB; the last hold a Parquet file's own statistics. On S3 over its ETag."""


@dataclass(frozen=True, slots=True)
class Part:
    """A Parquet file rows are read from: one of the corpus, or staged from JSON Lines files that follow one another."""

    path: str
    """Where it is."""
    rows: int
    """Rows."""


@dataclass(frozen=True)
class Corpus:
    """The rows of all files and the one schema they share."""

    parts: tuple[Part, ...]
    """In corpus order."""
    damage: tuple[str, ...]
    """Why some or all rows of a file cannot be read, a message a file."""
    schema: pa.Schema
    """The user's columns, as they will stand in the output."""

    def plan(self, shard_rows: int) -> ShardPlan:
        """Cuts the corpus into shards."""
        return ShardPlan([part.path for part in self.parts], [part.rows for part in self.parts], shard_rows)


def fingerprint(files: Sequence[InputFile]) -> dict[str, Any]:
    """What identifies a corpus: files, bytes, and a hash over names, sizes and edges."""
    digest = hashlib.sha256()
    for f in files:
        digest.update(json.dumps([f.name, f.size_bytes, f.edge_digest]).encode())
    return {"files": len(files), "bytes": sum(f.size_bytes for f in files), "digest": digest.hexdigest()[:16]}


def find_files(path: str) -> list[InputFile]:
    """Files of a corpus in order, with size and fingerprint; nothing is parsed.

    Args:
        path: a file, a folder (read recursively; hidden names and names that begin with ``_`` are left out) or a glob;
            of this machine or of S3.

    Raises:
        ValueError: nothing there, or a file of an unknown kind was named.
        StorageError: S3 cannot be listed.
    """
    if storage.is_s3(path):
        return _find_on_s3(path)
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
        _check_kinds(found)
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
    # Absolute: a worker may run in another folder than the driver.
    return InputFile(os.path.abspath(path), name, size, hashlib.sha256(head + tail).hexdigest()[:16])


def _check_kinds(paths: Iterable[str]) -> None:
    known = PARQUET + JSON_LINES
    unknown = [name for name in paths if not name.endswith(known)]
    if unknown:
        raise ValueError(f"input.path {unknown[0]}: unknown kind of file; the name must end in {', '.join(known)}")


def _find_on_s3(path: str) -> list[InputFile]:
    found = s3_inputs.find(path, PARQUET + JSON_LINES)
    _check_kinds(address for address, _, _ in found)
    digests = (hashlib.sha256(file.tag.encode()).hexdigest()[:16] for _, _, file in found)
    files = [InputFile(at, name, file.size_bytes, digest) for (at, name, file), digest in zip(found, digests)]
    return sorted(files, key=lambda f: f.name)


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
                names = storage.read_schema(storage.path(file.path)).names
            except (storage.Damaged, FileNotFoundError, PermissionError):
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
    folder: storage.Location,
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
    done, groups = folder / "corpus.json", list(_groups(files))
    paths = list(_part_paths(groups, folder))
    if not (storage.exists(done) and _is_whole(groups, folder)):
        tables = [group[0].path for group in groups if not is_json_lines(group[0])]
        with ThreadPoolExecutor(16) as threads:
            looked = list(threads.map(_inspect_parquet, tables))
        lines = [[file.path for file in group] for group in groups if is_json_lines(group[0])]
        inferred = each(_infer, [(paths,) for paths in lines])
        line_schema = jsonl.merge_schemas([schema for _, schema, _ in inferred])
        staged = [path for path, group in zip(paths, groups) if is_json_lines(group[0])]
        each(_stage, [(names, line_schema, target) for names, target in zip(lines, staged)])
        found, written = iter(looked), iter(inferred)
        rows_of: list[int] = []
        schemas: list[tuple[str, pa.Schema]] = []
        damage: list[str] = []
        for group in groups:
            rows, schema, broken = next(written) if is_json_lines(group[0]) else next(found)
            rows_of.append(rows)
            schemas.append((group[-1].path, line_schema if is_json_lines(group[0]) else schema))
            damage += broken
        schema = _unify(schemas)
        storage.remove(folder / "schema.parquet")
        storage.publish_table(folder / "schema.parquet", schema.empty_table(), {})
        storage.write_json(done, {"rows": rows_of, "damage": damage})
    kept = storage.read_json(done)
    if not isinstance(kept, dict) or len(kept.get("rows", ())) != len(paths):
        raise ValueError(f"{done} is not of the files of input.path; use a new run_dir")
    schema = storage.read_schema(folder / "schema.parquet").remove_metadata()
    return Corpus(tuple(map(Part, paths, kept["rows"])), tuple(kept["damage"]), schema)


def _part_paths(groups: Sequence[Sequence[InputFile]], folder: storage.Location) -> Iterator[str]:
    """Where the parts are. No path is kept in the run directory: nothing in it leads a reader elsewhere, and the corpus
    and the run directory may be moved."""
    staged = 0
    for group in groups:
        if is_json_lines(group[0]):
            yield str(folder / "staged" / f"{staged:06d}.parquet")
            staged += 1
        else:
            yield group[0].path


def _is_whole(groups: Sequence[Sequence[InputFile]], folder: storage.Location) -> bool:
    """False where what was kept of the corpus is missing or was cut short: all of it is made anew then."""
    wanted = 1 + sum(is_json_lines(group[0]) for group in groups)  # the schema, and what is staged
    listed = storage.entries(folder)
    found = [file for file in listed if file.name.endswith(".parquet")]
    marks = [file.name for file in listed if file.name.endswith(storage.DAMAGED_MARK)]
    with ThreadPoolExecutor(16) as threads:
        looked = threads.map(lambda file: storage.damage(folder / file.name, file.size_bytes), found)
    broken = [f"{file.name}: {wrong}" for file, wrong in zip(found, looked) if wrong] + marks
    for name in marks:
        storage.remove(folder / name)
    if broken or len(found) < wanted:
        log.warning("%s: files are missing or damaged (%s); they are made anew", folder, "; ".join(broken) or "missing")
        return False
    return True


def _groups(files: Sequence[InputFile]) -> Iterator[list[InputFile]]:
    """Files that become one part: a Parquet file alone; JSON Lines files together up to a bound, so that a million
    small ones give neither a million tasks nor a million staged files."""
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
        with storage.open_table(storage.path(path)) as file:
            return file.metadata.num_rows, file.schema_arrow.remove_metadata(), []
    except storage.StorageError:
        raise
    except (storage.Damaged, OSError) as error:
        return 0, pa.schema([]), [f"{path}: not readable as Parquet: {error}"]


def _infer(paths: list[str]) -> tuple[int, pa.Schema, list[str]]:
    looked = [jsonl.infer(path) for path in paths]
    damage = [message for _, _, messages in looked for message in messages]
    return sum(rows for rows, _, _ in looked), jsonl.merge_schemas([schema for _, schema, _ in looked]), damage


def _stage(paths: list[str], schema: pa.Schema, target: str) -> None:
    with storage.new_file(storage.path(target)) as temporary:
        jsonl.stage(paths, schema, temporary)


def _unify(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    merged = pa.schema([])
    for path, schema in schemas:
        if schema.equals(merged):
            continue
        try:
            merged = pa.unify_schemas([merged, schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise ValueError(
                f"input.path: the columns of {path} do not fit those of the files before it: {error}"
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
    path, staged = storage.path(span.file), False
    try:
        with storage.open_table(path) as file:
            staged = jsonl.BAD_LINE in file.schema_arrow.names
            here = [c for c in dict.fromkeys(columns) if c in file.schema_arrow.names]
            start = 0
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                if stop > span.start and start < span.stop:
                    yield from _read_group(file, group, max(span.start - start, 0), min(span.stop, stop) - start, here)
                start = stop
    except storage.Damaged as error:
        if staged:  # the run's own: a new start stages it anew
            raise storage.mark_damaged(path, error) from None
        raise


def _read_group(file: Any, group: int, start: int, stop: int, columns: list[str]) -> Iterable[pa.Table]:
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
