"""A trial before any expensive work: some rows of a file go through all that later stages do with a user's columns."""

import contextlib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt_ray.corpus.input_table import InputTable, open_input
from routelmt_ray.corpus.shard_reader import conform, raise_system_error

_ROWS = 64


def try_rows(path: str, schema: pa.Schema) -> str | None:
    """Reads, casts, takes, filters, writes and reads back the first rows of a file, and rows that lack all columns.
    Returns what is wrong, with the column; None where all is well. Damaged rows are not reported here."""
    with open_input(path) as table:
        found = _first_rows(table, sorted(table.names.intersection(schema.names)))
        try:
            _try(found, schema)
        except (pa.ArrowException, _Changed) as error:
            for name in schema.names:
                if words := _tried_alone(found, schema.field(name)):
                    kind = table.schema.field(name).type if name in table.names else schema.field(name).type
                    return f"column {name!r} of {kind} cannot be kept: {words}"
            return str(error)
    return None


class _Changed(Exception):
    """The rows that were read back are not those that were written."""


def _first_rows(table: InputTable, columns: list[str]) -> pa.Table:
    """Reads some rows of the first row group; no rows where they are damaged, because later stages report damage."""
    for group, rows in enumerate(table.group_rows[:1]):
        with contextlib.suppress(StopIteration):
            try:
                return next(table.read(group, 0, min(rows, _ROWS), columns, _ROWS))
            except (pa.ArrowException, OSError) as error:
                raise_system_error(error)
    return table.file.schema_arrow.empty_table().select(columns)


def _tried_alone(found: pa.Table, field: pa.Field) -> str | None:
    try:
        _try(found, pa.schema([field]))
    except (pa.ArrowException, _Changed) as error:
        return str(error)
    return None


def _try(found: pa.Table, schema: pa.Schema) -> None:
    rows = conform(found, schema)
    absent = conform(pa.table({"": pa.nulls(2)}), schema)
    both = pa.concat_tables([rows, absent])
    n = both.num_rows
    parts = [both, both.take(list(range(n - 1, -1, -2))), both.filter(pc.equal(pa.array(range(n)), n - 1))]
    written = pa.concat_tables(parts)
    sink = pa.BufferOutputStream()
    pq.write_table(written, sink, compression="zstd", write_page_checksum=True)
    again = pq.read_table(pa.BufferReader(sink.getvalue()))
    if again.num_rows != written.num_rows or not again.schema.remove_metadata().equals(schema):
        raise _Changed(f"written as {schema}, and read back as {again.schema.remove_metadata()}")
