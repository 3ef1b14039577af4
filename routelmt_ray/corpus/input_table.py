"""A Parquet file of the corpus: its types, and its rows in batches that the reader can hold."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt_ray import storage
from routelmt_ray.corpus.column_types import needs_plain_reading, stored

BATCH_ROWS = 16_384
_SMALLER = 16
"""A batch that is too large is tried again with this many times fewer rows."""
TOO_LARGE = (pa.ArrowCapacityError, pa.ArrowNotImplementedError)
"""Errors of pyarrow where a batch is too large for it (for example 2 GiB of text inside lists)."""


class InputTable:
    """An open Parquet file of the corpus."""

    def __init__(self, file: pq.ParquetFile, schema: pa.Schema) -> None:
        """Args: the file, and the types of its writer, which may say more than those it was opened with."""
        self.file, self.schema = file, schema

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the columns of the file."""
        return frozenset(self.schema.names)

    @cached_property
    def group_rows(self) -> list[int]:
        """Rows of each row group."""
        metadata = self.file.metadata
        return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def read(
        self, group: int, start: int, stop: int, columns: Sequence[str], batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.Table]:
        """Reads some rows of a row group, in order, in the types of the writer or the types in which they are kept.

        A group that is not read whole comes in batches of at most `batch_rows`. Raises pyarrow.ArrowException or
        OSError if a page is damaged, uses a feature that pyarrow does not support, or cannot be fetched.
        """
        size, done = batch_rows, start
        if start == 0 and stop == self.group_rows[group]:
            try:
                yield self.typed(self.file.read_row_group(group, list(columns), use_threads=False))
                return
            except TOO_LARGE:
                pass
        while done < stop:
            try:
                for table in self._batches(group, done, stop, columns, size):
                    done += table.num_rows
                    yield self.typed(table)
                return
            except TOO_LARGE:
                if size == 1:
                    raise
                size = max(1, size // _SMALLER)

    def typed(self, table: pa.Table) -> pa.Table:
        """Casts columns that were read as plain Parquet types to the stored types of the writer, e.g. a duration."""
        if self._as_written:
            return table
        kinds = [stored(self.schema.field(name).type) for name in table.column_names]
        columns = [
            pc.cast(column, kind) if column.type != kind else column for column, kind in zip(table.columns, kinds)
        ]
        return pa.table(columns, table.column_names)

    @cached_property
    def _as_written(self) -> bool:
        return bool(self.file.schema_arrow.equals(self.schema))

    def _batches(self, group: int, start: int, stop: int, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        """Batches of some rows. Rows before them in the group have to be decoded too; rows after them are not."""
        at = 0
        for batch in self.file.iter_batches(size, row_groups=[group], columns=list(columns), use_threads=False):
            low, high = max(start - at, 0), min(stop - at, batch.num_rows)
            if low < high:
                yield pa.Table.from_batches([batch.slice(low, high - low)])
            at += batch.num_rows
            if at >= stop:
                return


@contextmanager
def open_input(path: str) -> Iterator[InputTable]:
    """Opens a Parquet file of the corpus, and closes it at the end of the ``with`` block. Raises storage.Damaged if the
    file is not Parquet."""
    location = storage.path(path)
    with ExitStack() as stack:
        file = stack.enter_context(storage.open_table(location))
        schema = file.schema_arrow
        if any(map(needs_plain_reading, schema.types)):
            file = stack.enter_context(storage.open_table(location, plain=True))
        yield InputTable(file, schema)
