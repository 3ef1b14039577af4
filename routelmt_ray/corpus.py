"""The corpus: which files it has, what is in them, and reading a shard of it.

Files are found, looked into (rows, schema, fingerprint) and, if JSON Lines, staged to Parquet once. What was found is
kept in the run directory, so that a resumed run can tell whether the corpus is still the same.
"""

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt_ray import jsonl, salvage, storage
from routelmt_ray.shards import Shard, ShardPlan, Span

PARQUET = (".parquet", ".pq")
JSON_LINES = tuple(a + b for a in (".jsonl", ".ndjson") for b in ("", ".gz", ".zst"))
_EDGE_BYTES = 1 << 16
_BATCH_ROWS = 16_384
_GROUP_BYTES = 64 << 20
_GROUP_FILES = 2_000


class InputChanged(RuntimeError):
    """A file of the corpus is not what it was when the job started."""


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
    """SHA-256 over its first and last 64 KiB; the last hold a Parquet file's own statistics."""


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
    return sorted(look_at([(name, os.path.relpath(name, root or ".")) for name in found]), key=lambda f: f.name)


def look_at(paths: Sequence[tuple[str, str]]) -> list[InputFile]:
    """Size and fingerprint of files, given as path and name inside the corpus.

    Raises:
        ValueError: one is no file, or cannot be read.
    """
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(lambda path: _look(*path), paths))


def _walk(folder: str) -> Iterable[str]:
    # Links to folders are not followed, so a loop of links cannot trap the walk.
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith((".", "_")))
        yield from (os.path.join(root, n) for n in sorted(names) if not n.startswith((".", "_")))


def _look(path: str, name: str) -> InputFile:
    if not os.path.isfile(path):
        raise ValueError(f"input.path: {path!r} is no file, or a link to none; remove it or name the files by a glob")
    try:
        path.encode()
        with open(path, "rb") as source:
            head = source.read(_EDGE_BYTES)
            size = source.seek(0, os.SEEK_END)
            source.seek(max(len(head), size - _EDGE_BYTES))
            tail = source.read()
    except UnicodeEncodeError:
        raise ValueError(f"input.path: the name {path!r} is not valid UTF-8; rename it") from None
    except OSError as error:
        raise ValueError(f"input.path: {path!r} cannot be read: {error.strerror}") from None
    # Absolute: a worker may run in another folder than the driver.
    return InputFile(os.path.abspath(path), name, size, hashlib.sha256(head + tail).hexdigest()[:16])


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
        ValueError: columns have types that do not fit together, or names that this job needs.
        OSError: a file is gone, or may not be read.
    """
    done = folder / "corpus.json"
    if not done.exists():
        groups = list(_groups(files))
        tables = [group[0].path for group in groups if not is_json_lines(group[0])]
        with ThreadPoolExecutor(16) as threads:
            looked = list(threads.map(_inspect_parquet, tables))
        lines = [[file.path for file in group] for group in groups if is_json_lines(group[0])]
        inferred = each(_infer, [(paths,) for paths in lines])
        line_schema = jsonl.merge_schemas([schema for _, schema, _ in inferred])
        staged = [str(folder / "staged" / f"{i:06d}.parquet") for i in range(len(lines))]
        while unfit := {
            name
            for names in each(_stage, [(paths, line_schema, target) for paths, target in zip(lines, staged)])
            for name in names
        }:  # values of one file may not fit a type that another one asks for
            line_schema = jsonl.as_text(line_schema, unfit)
        found, written = iter(zip(tables, looked)), iter(zip(staged, inferred))
        parts: list[Part] = []
        schemas: list[tuple[str, pa.Schema]] = []
        damage: list[str] = []
        for group in groups:
            path, (rows, schema, broken) = next(written) if is_json_lines(group[0]) else next(found)
            parts.append(Part(path, rows))
            schemas.append((group[-1].path, line_schema if is_json_lines(group[0]) else schema))
            damage += broken
        schema = _unify(schemas)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "schema.parquet").unlink(missing_ok=True)
        storage.publish_table(folder / "schema.parquet", schema.empty_table(), {})
        storage.write_json(done, {"parts": [[p.path, p.rows] for p in parts], "damage": damage})
    kept = storage.read_json(done)
    schema = pq.read_schema(folder / "schema.parquet").remove_metadata()
    return Corpus(tuple(Part(*part) for part in kept["parts"]), tuple(kept["damage"]), schema)


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
        with pq.ParquetFile(path) as file:
            rows, schema = _rows(file.metadata), file.schema_arrow.remove_metadata()
            return rows, schema, []
    except (pa.ArrowException, OSError, ValueError) as error:
        _raise_system_error(error)
        return 0, pa.schema([]), [f"{path}: not readable as Parquet: {error}"]


def _rows(metadata: pq.FileMetaData) -> int:
    """Rows of a file, where all parts of its footer agree on them."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    flat = [i for i in range(metadata.num_columns) if not metadata.schema.column(i).max_repetition_level][:1]
    values = [group.column(i).num_values for group in groups for i in flat]
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows or (flat and values != rows):
        raise ValueError("its footer contradicts itself")
    return metadata.num_rows


def _infer(paths: list[str]) -> tuple[int, pa.Schema, list[str]]:
    looked = [jsonl.infer(path) for path in paths]
    damage = [message for _, _, messages in looked for message in messages]
    return sum(rows for rows, _, _ in looked), jsonl.merge_schemas([schema for _, schema, _ in looked]), damage


def _stage(paths: list[str], schema: pa.Schema, target: str) -> list[str]:
    """Stages files, or says which columns of the schema do not hold their values."""
    final = Path(target)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}{storage.TEMPORARY}")
    unfit = jsonl.stage(paths, schema, temporary)
    if unfit:
        storage.remove(temporary)
    else:
        os.replace(temporary, final)
    return unfit


def _unify(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    fields: dict[str, pa.Field] = {}
    for path, schema in schemas:
        if doubled := sorted({name for name in schema.names if schema.names.count(name) > 1}):
            raise ValueError(f"input.path: {path} has several columns called {', '.join(doubled)}; rename them")
        if taken := {jsonl.BAD_LINE, salvage.UNREADABLE}.intersection(schema.names):
            raise ValueError(f"input.path: {path} has a column {taken.pop()}, a name this job needs; rename it")
        for field in schema:
            known = fields.setdefault(field.name, field)
            if known.type == field.type:
                continue
            try:
                fields[field.name] = pa.field(field.name, _common_type(known.type, field.type))
            except pa.ArrowException:
                raise ValueError(
                    f"input.path: the columns of {path} do not fit those of the files before it: {field.name} is "
                    f"{field.type}, and {known.type} there; convert the files to one type"
                ) from None
    return pa.schema([pa.field(f.name, f.type) for f in fields.values()])


def _common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds the values of two.

    Raises:
        pyarrow.ArrowException: there is none.
    """
    if is_text(one) and is_text(other):
        return pa.large_string()
    if pa.uint64() in (one, other) and pa.types.is_signed_integer(one) != pa.types.is_signed_integer(other):
        raise pa.ArrowTypeError("no integer type holds both")
    both = [pa.schema([pa.field("", kind)]) for kind in (one, other)]
    return pa.unify_schemas(both, promote_options="permissive").field(0).type


def is_text(kind: pa.DataType) -> bool:
    """True for a type of strings, dictionary-encoded ones too."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)


def read_shard(shard: Shard, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Reads columns of a shard, in order, under the corpus schema; a column a file lacks is null there.

    ``jsonl.BAD_LINE`` and ``salvage.UNREADABLE`` may be asked for too: they are null wherever a row was readable.

    Raises:
        InputChanged: a file is not what it was when the corpus was opened.
    """
    own = {jsonl.BAD_LINE: pa.binary(), salvage.UNREADABLE: salvage.UNREADABLE_TYPE}
    wanted = pa.schema([pa.field(c, own[c]) if c in own else schema.field(c) for c in columns])
    parts = [_conform(table, wanted) for span in shard.spans for table in _read_span(span, columns)]
    return pa.concat_tables(parts) if parts else wanted.empty_table()


def _read_span(span: Span, columns: Sequence[str]) -> Iterable[pa.Table]:
    with _open_span(span) as file:
        here = [c for c in dict.fromkeys(columns) if c in file.schema_arrow.names]
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if stop > span.start and start < span.stop:
                first, last = max(span.start - start, 0), min(span.stop, stop) - start
                try:
                    tables = list(_read_group(file, group, first, last, here))
                except (pa.ArrowException, OSError) as error:
                    _raise_system_error(error)
                    tables = []
                whole = sum(table.num_rows for table in tables) == last - first
                yield from tables if whole else [salvage.read_group(span.file, group, first, last, here)]
            start = stop


def _open_span(span: Span) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(span.file, page_checksum_verification=True)
    except FileNotFoundError:
        raise InputChanged(f"{span.file} is gone; it was there when the corpus was opened") from None
    except (pa.ArrowException, OSError) as error:
        _raise_system_error(error)
        raise InputChanged(f"{span.file} was readable when the corpus was opened, and is not now: {error}") from None
    if file.metadata.num_rows < span.stop:
        raise InputChanged(f"{span.file} has {file.metadata.num_rows} rows; it had {span.stop} or more")
    return file


def _raise_system_error(error: Exception) -> None:
    """Raises what the operating system reports: it may pass, and says nothing of what is in a file."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


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
            # Not every integer is a float: there the nearest one has to do.
            safe = not pa.types.is_floating(field.type)
            columns.append(column if column.type == field.type else pc.cast(column, field.type, safe=safe))
    return pa.table(columns, schema=schema)
