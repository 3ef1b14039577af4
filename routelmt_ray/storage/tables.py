"""Writes and reads the Parquet files of a run, and detects damage to them.

Every page has a checksum, and the footer is sealed. The seal is a checksum of the footer and the size of the file. It
stands between the data and the footer, where readers of Parquet ignore it. So the last 64 KiB show whether a file was
cut short or its footer altered. Reading the file shows whether a page was altered.
"""

import itertools
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray.storage import files
from routelmt_ray.storage.errors import Damaged, StorageError
from routelmt_ray.storage.paths import Location, S3Path

DAMAGED_MARK = ".damaged"
"""Suffix of the file name of a mark, which says that the file beside it is damaged."""
_META = b"routelmt"
_MAGIC = b"PAR1"
_SEAL = struct.Struct("<4sIQ")  # mark, CRC-32 of all bytes after the seal, bytes of the whole file
_SEAL_MARK = b"RLMT"
_TAIL_BYTES = 1 << 16
_GROUP_BYTES = 1 << 30
"""About the largest size of a row group: pyarrow cannot read one that holds 2 GiB of text inside lists."""
_ARROW_SCHEMA = b"ARROW:schema"
"""Key in a footer under which Arrow notes the types a table had in memory."""
READ_OPTIONS: dict[str, Any] = {
    "page_checksum_verification": True,
    "coerce_int96_timestamp_unit": "us",  # nanoseconds end in the year 2262: later times would turn into earlier ones
    "thrift_string_size_limit": 2**31 - 1,  # a large footer is not damage
    "thrift_container_size_limit": 2**31 - 1,
}
"""Options with which a Parquet file is opened."""


def publish_table(
    path: Location, table: pa.Table, meta: dict[str, Any], groups: Sequence[int] | None = None, **parquet_options: Any
) -> bool:
    """Writes a table as a new Parquet file, durably.

    Args:
        meta: summary of this commit for the driver; kept as JSON in the footer, see :func:`read_meta`.
        groups: rows of each row group, in order; 0 gives an empty one. None: as large as is good to read.
        parquet_options: passed to ``pyarrow.parquet.write_table``.

    Returns:
        False where a file of that name exists; it is left as it is.
    """
    footer = {**(table.schema.metadata or {}), _META: json.dumps(meta).encode()}
    if table.nbytes > _GROUP_BYTES and groups is None:
        parquet_options.setdefault("row_group_size", max(1, table.num_rows * _GROUP_BYTES // table.nbytes))
    sink, table = pa.BufferOutputStream(), table.replace_schema_metadata(footer)
    if groups is None:
        pq.write_table(table, sink, write_page_checksum=True, **parquet_options)
    else:
        with pq.ParquetWriter(sink, table.schema, write_page_checksum=True, **parquet_options) as writer:
            for stop, rows in zip(itertools.accumulate(groups), groups):
                writer.write_table(table.slice(stop - rows, rows), row_group_size=max(1, rows))
    return files.create(path, _sealed(sink.getvalue().to_pybytes()))


def _sealed(content: bytes) -> bytes:
    footer = _footer_start(content)
    seal = _SEAL.pack(_SEAL_MARK, zlib.crc32(content[footer:]), len(content) + _SEAL.size)
    return content[:footer] + seal + content[footer:]


def _footer_start(tail: bytes) -> int:
    """Finds where the footer begins in the given end of a file; negative where it begins before that."""
    return len(tail) - 8 - int.from_bytes(tail[-8:-4], "little")


@dataclass(frozen=True, slots=True)
class Look:
    """The findings at the end of a Parquet file."""

    wrong: str | None
    """Fault of the file; None where nothing is found."""
    summary: bytes | None = None
    """Summary of its commit (:func:`read_meta`), as JSON; None where the file has none."""


def look(path: Location, size_bytes: int) -> Look:
    """Checks the end of a Parquet file for damage; without a seal, only its footer. Its present size comes from a
    listing. On S3 this takes one request, or two where the footer is large."""
    if size_bytes < 12:
        return Look("cut short")
    tail = files.read_bytes(path, max(0, size_bytes - _TAIL_BYTES), size_bytes)
    if not tail.endswith(_MAGIC):
        return Look("cut short")
    start = _footer_start(tail) - _SEAL.size
    if start < 0 and size_bytes > len(tail):
        tail = files.read_bytes(path, max(0, size_bytes - len(tail) + start), size_bytes)
        start = _footer_start(tail) - _SEAL.size
    if start >= 0 and tail[start:].startswith(_SEAL_MARK):
        _, checksum, sealed_bytes = _SEAL.unpack_from(tail, start)
        if sealed_bytes != size_bytes:
            return Look(f"{size_bytes} bytes instead of {sealed_bytes}")
        if zlib.crc32(tail[start + _SEAL.size :]) != checksum:
            return Look("its footer was altered")
    try:
        return Look(None, (pq.read_metadata(pa.BufferReader(tail)).metadata or {}).get(_META))
    except (pa.ArrowException, OSError) as error:
        return Look(str(error))


def read_table(
    path: Location, columns: Sequence[str] | None = None, dictionaries: Sequence[str] = (), group: int | None = None
) -> pa.Table:
    """Reads a file of a run, or some of its columns, and marks the file if it is damaged.

    A damaged file stays until the next start, so that a task that is tried again fails for the same reason.

    Args:
        path: a file that :func:`publish_table` made.
        columns: names of the columns, in the wanted order; None for all.
        group: number of the row group to read; None for all rows.

    Raises:
        Damaged: the file was altered after it was written. A new start of the job makes it again.
    """
    try:
        with open_table(path, whole=group is None, dictionaries=dictionaries) as file:
            wanted = list(columns) if columns is not None else None
            # Without threads: most tables are small, and a task of Ray has one CPU.
            if group is None:
                table = file.read(wanted, use_threads=False)
            else:
                table = file.read_row_group(group, wanted, use_threads=False)
    except Damaged as error:
        raise mark_damaged(path, error) from None
    return table if columns is None else table.select(list(columns))


def mark_damaged(path: Location, error: Damaged) -> Damaged:
    """Leaves a mark beside a file for the next start of the job; returns the error to raise."""
    files.write_text(path.with_name(path.name + DAMAGED_MARK), str(error))
    return Damaged(f"{error}. Start the job again, and it is made again")


@contextmanager
def open_table(
    path: Location, whole: bool = False, dictionaries: Sequence[str] = (), plain: bool = False
) -> Iterator[pq.ParquetFile]:
    """Opens any Parquet file, of a run or of a user. Raises Damaged, also while the body reads, if it is not Parquet,
    or a checksum does not match.

    With `whole` all of it is fetched at once; otherwise only the parts that are read, by row group. With `plain` the
    types are those of Parquet alone, not of the schema that Arrow stored in the footer.
    """
    options = READ_OPTIONS | {"read_dictionary": list(dictionaries)}
    with _words(path):
        if plain:
            options |= {"metadata": _plain(_footer_bytes(path)), "arrow_extensions_enabled": False}
        if isinstance(path, S3Path):
            source = pa.BufferReader(files.read_bytes(path)) if whole else files.module_of(path).ranged(path)
            options["pre_buffer"] = not whole
        else:
            source = path
        with pq.ParquetFile(source, **options) as file:
            yield file


@contextmanager
def _words(path: Location) -> Iterator[None]:
    try:
        yield
    except (StorageError, FileNotFoundError, MemoryError):
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # an error of the disk, not of the content
            raise
        raise Damaged(f"{path} is damaged: {error}") from None


def read_meta(path: Location) -> dict[str, Any]:
    """Reads the JSON that :func:`publish_table` put into the footer of a Parquet file. Raises Damaged if there is
    none."""
    return parse_meta(path, (_footer(path).metadata or {}).get(_META))


def parse_meta(path: Location, summary: bytes | None) -> dict[str, Any]:
    """Parses the summary of a :class:`Look`. Raises Damaged if there is none."""
    meta = json.loads(summary or b"null")
    if not isinstance(meta, dict):
        raise Damaged(f"{path} is damaged: its footer has no summary")
    return meta


def read_schema(path: Location) -> pa.Schema:
    """Reads the schema of a Parquet file, with its metadata."""
    return _footer(path).schema.to_arrow_schema()


def count_rows(path: Location) -> int:
    """Counts the rows of a Parquet file, by its footer."""
    return int(_footer(path).num_rows)


def _footer(path: Location) -> pq.FileMetaData:
    """The footer of a Parquet file."""
    with _words(path):
        return pq.read_metadata(pa.BufferReader(_footer_bytes(path)) if isinstance(path, S3Path) else path)


def _footer_bytes(path: Location) -> bytes:
    """The end of a file from where its footer begins, or before: one request on S3, or two where the footer is large."""
    tail = files.read_bytes(path, -_TAIL_BYTES)
    if tail.endswith(_MAGIC) and (start := _footer_start(tail)) < 0:
        tail = files.read_bytes(path, start - len(tail))
    return tail


def _plain(footer: bytes) -> pq.FileMetaData:
    """A footer without the schema that Arrow stored. The last match is the key, as no column name comes after it."""
    before, key, after = footer.rpartition(_ARROW_SCHEMA)
    return pq.read_metadata(pa.BufferReader(before + key.lower() + after))
