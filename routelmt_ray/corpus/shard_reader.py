"""Reads the rows of a shard in order and in the schema of the corpus, even where some are damaged."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray import storage
from routelmt_ray.corpus import column_paths, jsonl, salvage
from routelmt_ray.corpus.column_types import stored
from routelmt_ray.corpus.input_table import InputTable, open_input
from routelmt_ray.corpus.shards import Shard, Span


class InputChanged(RuntimeError):
    """A file of the corpus has changed since the job started."""


def read_shard(shard: Shard, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Reads columns of a shard, in order, in the schema of the corpus; see :func:`conform`.

    A field within a column is named by its path, see :mod:`routelmt_ray.corpus.column_paths`. ``jsonl.BAD_LINE`` and
    ``salvage.UNREADABLE`` may be named too: they are null in every row that was readable. Raises InputChanged if a file
    has changed since the corpus was opened.
    """
    own = {jsonl.BAD_LINE: pa.binary(), salvage.UNREADABLE: salvage.UNREADABLE_TYPE}
    names = list(dict.fromkeys(column_paths.column_of(schema, path) for path in columns))
    wanted = pa.schema([pa.field(c, own[c]) if c in own else schema.field(c) for c in names])
    parts = [conform(table, wanted) for span in shard.spans for table in _read_span(span, names)]
    return column_paths.pick(pa.concat_tables(parts) if parts else wanted.empty_table(), schema, columns)


def _read_span(span: Span, columns: Sequence[str]) -> Iterable[pa.Table]:
    path = storage.path(span.file)
    with _open_span(span) as table:
        here = [name for name in dict.fromkeys(columns) if name in table.names]
        start = 0
        for group, rows in enumerate(table.group_rows):
            stop = start + rows
            if stop > span.start and start < span.stop:
                first, last = max(span.start - start, 0), min(span.stop, stop) - start
                try:
                    found = list(table.read(group, first, last, here))
                except (pa.ArrowException, OSError) as error:
                    raise_system_error(error)
                    if jsonl.BAD_LINE in table.names:  # a staged file: a new start makes it again
                        raise storage.mark_damaged(path, storage.Damaged(f"{path} is damaged: {error}")) from None
                    found = []
                whole = sum(part.num_rows for part in found) == last - first
                yield from found if whole else [salvage.read_group(span.file, group, first, last, here)]
            start = stop


@contextmanager
def _open_span(span: Span) -> Iterator[InputTable]:
    with ExitStack() as stack:
        try:
            table = stack.enter_context(open_input(span.file))
        except FileNotFoundError:
            raise InputChanged(f"{span.file} is gone; it was there when the corpus was opened") from None
        except storage.Damaged as error:
            raise InputChanged(
                f"{span.file} was readable when the corpus was opened, and is not now: {error}"
            ) from None
        if (rows := sum(table.group_rows)) < span.stop:
            raise InputChanged(f"{span.file} has {rows} rows; it had {span.stop} or more")
        yield table


def raise_system_error(error: Exception) -> None:
    """Raises an error of the operating system, of S3 or of memory: it may be temporary, and does not mean damage."""
    if isinstance(error, (storage.StorageError, MemoryError)) or (
        isinstance(error, OSError) and error.errno is not None
    ):
        raise error


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Converts rows of a file to the schema of the corpus; a column that the file lacks is null. Raises
    pyarrow.ArrowInvalid if a type cannot hold a value unchanged."""
    here = {name: number for number, name in enumerate(table.column_names)}
    columns = []
    for field in schema:
        if field.name not in here:
            columns.append(pa.nulls(table.num_rows, field.type))
        else:
            column = table.column(here[field.name])
            if column.type != field.type:
                column = pc.cast(pc.cast(column, stored(column.type)), field.type)
            columns.append(column)
    return pa.table(columns, schema=schema)
