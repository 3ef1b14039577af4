"""Reads the rows of a shard whole, and commits what stages make of them: output, quarantine, or columns with a summary."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from routelmt_ray.corpus.jsonl import BAD_LINE
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages.validate import needed_columns
from routelmt_ray.storage.rundir import RunDir

STAGE = "output"
QUARANTINE = "quarantine"


class Commit:
    """Publishes columns of a shard once, with the number of rows and a summary. Writes: shard, rows (for the progress)."""

    def __init__(
        self,
        run: RunDir,
        stage: str,
        columns: pa.Schema | None,
        summary: Callable[[pa.Table], dict[str, Any]],
        **how: Any,
    ) -> None:
        """Keeps where and how to commit; without `columns` all are committed but `shard`."""
        self._run, self._stage, self._columns, self._summary, self._how = run, stage, columns, summary, how

    def __call__(self, table: pa.Table) -> pa.Table:
        shard, columns = table["shard"][0].as_py(), self._columns
        rows = table.drop_columns(["shard"]) if columns is None else table.select(columns.names).cast(columns)
        self._run.commit(self._stage, shard, rows, {"rows": table.num_rows, **self._summary(table)}, **self._how)
        return pa.table({"shard": [shard], "rows": [table.num_rows]})


def read_whole(context: RunContext, shard: Shard) -> pa.Table:
    """Reads the rows of a shard, with all columns of the corpus and all that a job needs."""
    reference = context.input.columns.reference
    columns = [*context.schema.names, *needed_columns(context.input), *([reference] if reference else [])]
    return read_shard(shard, context.schema, list(dict.fromkeys(columns)))


def commit_output(context: RunContext, shard: int, table: pa.Table, added: pa.Table, meta: dict[str, Any]) -> None:
    """Commits the rows of a shard with the columns that the job adds."""
    context.run.commit(STAGE, shard, _with_prefix(context, table, added), meta, compression="zstd")


def commit_empty(context: RunContext, added: pa.Schema) -> None:
    """Commits the output of a corpus without rows, which still has the right columns."""
    table = _with_prefix(context, context.schema.empty_table(), added.empty_table())
    context.run.commit(STAGE, 0, table, {"rows": 0})


def commit_quarantine(
    context: RunContext, shard: int, table: pa.Table, added: pa.Table, lost: pa.Array | pa.ChunkedArray
) -> None:
    """Commits the rows of a shard that are lost, and the line of each that is no JSON object in `raw_line`."""
    rows, raw = _with_prefix(context, table, added).filter(lost), table[BAD_LINE].filter(lost)
    if raw.null_count < len(raw):
        rows = rows.append_column(context.prefix + "raw_line", raw)
    context.run.commit(QUARANTINE, shard, rows, {"rows": rows.num_rows}, compression="zstd")


def _with_prefix(context: RunContext, table: pa.Table, added: pa.Table) -> pa.Table:
    output = table.select(context.schema.names)
    for name in added.column_names:
        output = output.append_column(context.prefix + name, added[name])
    return output
