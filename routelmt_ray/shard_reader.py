"""Reading the rows of a shard: under the schema of the corpus, in order, whatever is damaged in between."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray import column_paths, jsonl, salvage, storage
from routelmt_ray.shards import Shard, Span

_BATCH_ROWS = 16_384


class InputChanged(RuntimeError):
    """A file of the corpus is not what it was when the job started."""


def read_shard(shard: Shard, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Reads columns of a shard, in order, under the corpus schema; a column a file lacks is null there.

    A field within a column is named by its path, see :mod:`routelmt_ray.column_paths`. ``jsonl.BAD_LINE`` and
    ``salvage.UNREADABLE`` may be asked for too: they are null wherever a row was readable.

    Raises:
        InputChanged: a file is not what it was when the corpus was opened.
    """
    own = {jsonl.BAD_LINE: pa.binary(), salvage.UNREADABLE: salvage.UNREADABLE_TYPE}
    names = list(dict.fromkeys(column_paths.column_of(schema, path) for path in columns))
    wanted = pa.schema([pa.field(c, own[c]) if c in own else schema.field(c) for c in names])
    parts = [_conform(table, wanted) for span in shard.spans for table in _read_span(span, names)]
    return column_paths.pick(pa.concat_tables(parts) if parts else wanted.empty_table(), schema, columns)


def _read_span(span: Span, columns: Sequence[str]) -> Iterable[pa.Table]:
    path = storage.path(span.file)
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
                    raise_system_error(error)
                    if jsonl.BAD_LINE in file.schema_arrow.names:  # the run's own: a new start stages it anew
                        raise storage.mark_damaged(path, storage.Damaged(f"{path} is damaged: {error}")) from None
                    tables = []
                whole = sum(table.num_rows for table in tables) == last - first
                yield from tables if whole else [salvage.read_group(span.file, group, first, last, here)]
            start = stop


@contextmanager
def _open_span(span: Span) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(storage.open_table(storage.path(span.file)))
        except FileNotFoundError:
            raise InputChanged(f"{span.file} is gone; it was there when the corpus was opened") from None
        except storage.Damaged as error:
            raise InputChanged(
                f"{span.file} was readable when the corpus was opened, and is not now: {error}"
            ) from None
        if file.metadata.num_rows < span.stop:
            raise InputChanged(f"{span.file} has {file.metadata.num_rows} rows; it had {span.stop} or more")
        yield file


def raise_system_error(error: Exception) -> None:
    """Raises what the operating system or S3 reports: it may pass, and says nothing of what is in a file."""
    if isinstance(error, storage.StorageError) or (isinstance(error, OSError) and error.errno is not None):
        raise error


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
            # Not every integer is a float: there the nearest one has to do.
            safe = not pa.types.is_floating(field.type)
            columns.append(column if column.type == field.type else pc.cast(column, field.type, safe=safe))
    return pa.table(columns, schema=schema)
