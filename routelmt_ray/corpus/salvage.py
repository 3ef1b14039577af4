"""Reads the undamaged part of a Parquet row group: of each column, the rows before the damage.

Pages of a column are decoded one after the other. So the rows from a damaged page to the end of its row group are lost
in that column, but in no other. Lost values are null, and :data:`UNREADABLE` names the columns that a row lost. Only
bytes that cannot be decoded are damage: bytes that cannot be fetched are an error of the storage, which is raised.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray import storage
from routelmt_ray.corpus.input_table import BATCH_ROWS, TOO_LARGE, open_input
from routelmt_ray.storage.ranged import RangedFile

UNREADABLE = "__routelmt_unreadable"
"""Additional column: the file, and the columns that a row lost to damage; null where the row is whole."""
UNREADABLE_TYPE = pa.struct([("file", pa.string()), ("columns", pa.list_(pa.string()))])
_SMALL_BATCHES = (1024, 64, 4, 1)
"""Rows of a batch, one size after the other, where pyarrow cannot hold a batch of the usual size; each divides the one
before."""


def read_group(path: str, group: int, start: int, stop: int, columns: Sequence[str]) -> pa.Table:
    """Reads rows `start` to `stop` of a row group that cannot be read as a whole, in a file with a readable footer.
    Lost values are null, and the columns are followed by :data:`UNREADABLE`. Raises OSError if the bytes of the group
    cannot be fetched."""
    with open_input(path) as table:
        metadata, schema = table.file.metadata, table.file.schema_arrow
        rows = metadata.row_group(group).num_rows
        arrays, readable = [], []
        for name in columns:
            found = _leading_rows(_fetched(path, _ranges(metadata.row_group(group), name)), metadata, group, name, rows)
            arrays.append(_filled(found, rows, schema.field(name).type).slice(start, stop - start))
            readable.append(sum(map(len, found)))
        typed = table.typed(pa.table(arrays, list(columns)))
    at = np.arange(start, stop)
    lost = [[name for name, n in zip(columns, readable) if row >= n] for row in at.tolist()]
    lost_rows = pa.array([{"file": path, "columns": names} if names else None for names in lost], UNREADABLE_TYPE)
    return pa.table([*typed.columns, lost_rows], [*columns, UNREADABLE])


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
    """A file with some ranges in memory; all other bytes are read as zeros."""
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


def _leading_rows(source: RangedFile, metadata: pq.FileMetaData, group: int, name: str, rows: int) -> list[pa.Array]:
    """The rows of a column up to the first that cannot be decoded.

    Whole batches are read first, so that none is too large for the reader. Then bisection finds the largest n for which
    the first n rows decode. A batch that the reader cannot hold is not damaged: all is then read in small batches.
    """

    def batches(size: int) -> Iterator[pa.Array]:
        return _batches(source, metadata, group, name, size)

    try:
        found = list(batches(BATCH_ROWS))
        low = sum(map(len, found))
        high = min(rows, low + BATCH_ROWS - 1)
        while low < high:
            middle = (low + high + 1) // 2
            first = next(batches(middle), pa.nulls(0))
            if len(first) < middle:
                high = middle - 1
            else:
                low, found = middle, [first]
        return found
    except TOO_LARGE:
        return _in_small_batches(batches, rows)


def _in_small_batches(batches: Callable[[int], Iterator[pa.Array]], rows: int) -> list[pa.Array]:
    """The rows of a column up to the first that cannot be decoded or held: to the row, as the last batches have one."""
    found, done = list[pa.Array](), 0
    for size in _SMALL_BATCHES:
        if done == rows:
            break
        at = 0
        with suppress(*TOO_LARGE):
            for array in batches(size):
                if at == done:
                    found.append(array)
                    done += len(array)
                at += len(array)
    return found


def _batches(source: RangedFile, metadata: pq.FileMetaData, group: int, name: str, size: int) -> Iterator[pa.Array]:
    """The batches of a column up to the first that does not decode. Raises MemoryError if there is no memory for a
    batch, and pyarrow.ArrowException if one of `TOO_LARGE`: a batch is too large for the reader."""
    try:
        with pq.ParquetFile(source, metadata=metadata, **storage.READ_OPTIONS) as file:
            for batch in file.iter_batches(size, row_groups=[group], columns=[name], use_threads=False):
                array = batch.column(name)
                array.validate()
                yield array
    except (MemoryError, *TOO_LARGE):
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return


def _filled(found: list[pa.Array], rows: int, kind: pa.DataType) -> pa.ChunkedArray:
    lost = pa.nulls(rows - sum(map(len, found)), found[0].type if found else kind)
    return pa.chunked_array([*found, lost])
