"""What can still be read of a Parquet row group with damaged pages: of each column, the rows before the damage.

Pages of a column are decoded one after the other, so the rows from a damaged page to the end of its row group are lost in
that column, and in no other. Lost values are null, and :data:`UNREADABLE` says which columns a row lost. Only what fails
to decode is damage: bytes that cannot be fetched are the storage's error and are raised.
"""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray import storage
from routelmt_ray.storage.ranged import RangedFile

UNREADABLE = "__routelmt_unreadable"
"""Column beside those of a corpus: the file and the columns a row lost to damage; null where it is whole."""
UNREADABLE_TYPE = pa.struct([("file", pa.string()), ("columns", pa.list_(pa.string()))])


def read_group(path: str, group: int, start: int, stop: int, columns: Sequence[str]) -> pa.Table:
    """Rows `start` to `stop` of a row group that cannot be read as a whole.

    Args:
        path: the file; its footer is readable.
        group: number of the row group.
        start: first row, counted inside the group.
        stop: row after the last.
        columns: which columns.

    Raises:
        OSError: the bytes of the group cannot be fetched.
    """
    with storage.open_table(storage.path(path)) as file:
        metadata, schema = file.metadata, file.schema_arrow
    rows = metadata.row_group(group).num_rows
    arrays, readable = [], []
    for name in columns:
        found = _leading_rows(_fetched(path, _ranges(metadata.row_group(group), name)), metadata, group, name, rows)
        arrays.append(_filled(found, rows, schema.field(name).type).slice(start, stop - start))
        readable.append(len(found))
    at = np.arange(start, stop)
    lost = [[name for name, n in zip(columns, readable) if row >= n] for row in at.tolist()]
    lost_rows = pa.array([{"file": path, "columns": names} if names else None for names in lost], UNREADABLE_TYPE)
    return pa.table([*arrays, lost_rows], [*columns, UNREADABLE])


def _ranges(group: pq.RowGroupMetaData, name: str) -> list[tuple[int, int]]:
    """Start and length of the bytes of a column in a row group; a nested column has several."""
    found = []
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema == name or column.path_in_schema.startswith(name + "."):
            starts = [at for at in (column.dictionary_page_offset, column.data_page_offset) if at is not None]
            found.append((min(starts), column.total_compressed_size))
    return found


def _fetched(path: str, ranges: Sequence[tuple[int, int]]) -> RangedFile:
    """A file of which some ranges are in memory; the rest reads as zeros."""
    parts = []
    with storage.open_file(storage.path(path)) as source:
        size = source.seek(0, io.SEEK_END)
        for start, length in ranges:
            if 0 <= start <= size and length > 0:
                source.seek(start)
                parts.append((start, source.read(min(length, size - start))))

    def fetch(first: int, last: int) -> bytes:
        found = bytearray(last - first)
        for start, content in parts:
            low, high = max(first, start), min(last, start + len(content))
            if low < high:
                found[low - first : high - first] = content[low - start : high - start]
        return bytes(found)

    return RangedFile(size, fetch)


def _leading_rows(source: RangedFile, metadata: pq.FileMetaData, group: int, name: str, rows: int) -> pa.Array:
    """The rows of a column up to the first that cannot be decoded, by bisection: the first n decode, or they do not."""
    low, high, found = 0, rows, pa.nulls(0)
    while low < high:
        middle = (low + high + 1) // 2
        batch = _first_rows(source, metadata, group, name, middle)
        if batch is None:
            high = middle - 1
        else:
            low, found = middle, batch
    return found


def _first_rows(source: RangedFile, metadata: pq.FileMetaData, group: int, name: str, rows: int) -> pa.Array | None:
    try:
        with pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True) as file:
            batches = file.iter_batches(rows, row_groups=[group], columns=[name], use_threads=False)
            array = next(batches).column(name)
            array.validate()
    except (pa.ArrowException, OSError, ValueError, StopIteration, KeyError):
        return None
    return array if len(array) == rows else None


def _filled(found: pa.Array, rows: int, kind: pa.DataType) -> pa.ChunkedArray:
    if not len(found):
        return pa.chunked_array([pa.nulls(rows, kind)])
    return pa.chunked_array([found, pa.nulls(rows - len(found), found.type)])
