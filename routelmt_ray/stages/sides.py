"""Gives each row of a label run the translations of both models, also where a repeated segment is translated once."""

import numpy as np
import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.config import schema
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages.repeats import read_repeats
from routelmt_ray.stages.shared import Answers, read_answers

HYPOTHESES = {"small": "small/all", "large": "large/all"}
"""Stages to which the translations of both models are committed."""
COLUMNS = pa.schema(
    [
        ("translation", pa.large_string()),  # of many rows together, more than 2 GiB
        ("source_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("status", pa.string()),
        ("error", pa.large_string()),
        ("seconds", pa.float32()),
    ]
)
"""Columns of one side: a model's results for each row, and their device-seconds."""


def without_repeats(sections: Sections, context: RunContext, shard: Shard) -> np.ndarray:
    """Chooses all rows of a shard but the repeats. A row that cannot be translated gets a status with the reason."""
    return np.delete(np.arange(shard.rows), read_repeats(context.run, sections, shard).rows)


def both_sides(sections: Sections) -> Answers:
    """Gives the translations of both models for the first rows of a shard, for their repeats."""
    columns = pa.schema([field.with_name(f"{size}_{field.name}") for size in HYPOTHESES for field in COLUMNS])

    def read(context: RunContext, shard: Shard, rows: np.ndarray) -> pa.Table:
        sides = read_sides(context, sections, shard, shared=False)
        found = [column for size in HYPOTHESES for column in sides[size].take(rows).columns]
        return pa.Table.from_arrays(found, schema=columns)

    return Answers(columns, read)


def read_sides(
    context: RunContext, sections: Sections | None, shard: Shard, *, shared: bool = True
) -> dict[str, pa.Table]:
    """Reads what both models made of each row of a shard: a table of :data:`COLUMNS` by size of the model.

    With `shared`, repeats have what was shared with them; else their status is `repeat`, and they have no text.
    """
    sides = {size: _own(context, stage, shard.index) for size, stage in HYPOTHESES.items()}
    if sections is None:
        return sides
    repeats = read_repeats(context.run, sections, shard).rows
    if shared:
        answers = read_answers(context.run, sections, shard)
        names = {size: [f"{size}_{name}" for name in COLUMNS.names] for size in HYPOTHESES}
        theirs = {size: answers.select(names[size]).rename_columns(COLUMNS.names) for size in HYPOTHESES}
    else:
        theirs = dict.fromkeys(HYPOTHESES, _no_side(len(repeats)))
    order = np.argsort(np.concatenate([np.delete(np.arange(shard.rows), repeats), repeats]))
    return {size: pa.concat_tables([mine, theirs[size].cast(COLUMNS)]).take(order) for size, mine in sides.items()}


def _own(context: RunContext, stage: str, shard: int) -> pa.Table:
    """The side of the rows that a model translated itself, in order."""
    path = context.run.shard_path(stage, shard)
    table, meta = storage.read_table(path, COLUMNS.names[:-1]), storage.read_meta(path)
    reached = np.isin(table["status"].to_numpy(), (*schema.TRANSLATED, schema.EMPTY_OUTPUT))
    here = context.model(stage.partition("/")[0]).kind.runs_here
    seconds = apportion(meta["device_s"] if here else np.nan, table["output_tokens"].to_numpy(), reached)
    return table.append_column("seconds", pa.array(seconds)).cast(COLUMNS)


def _no_side(rows: int) -> pa.Table:
    columns = {field.name: pa.nulls(rows, field.type) for field in COLUMNS}
    none = np.zeros(rows, np.int32)
    return pa.table(columns | {"source_tokens": none, "output_tokens": none, "status": pa.repeat(schema.REPEAT, rows)})


def apportion(seconds: float, tokens: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Divides the device-seconds of a shard among its rows, in proportion to the tokens generated for each.

    A shard is translated in batches, so the time of a single row is not known. Where no tokens were counted, every row
    that reached the engine gets an equal share. The seconds are NaN where a server runs the model. Returns the shape
    ``(rows,)``, float32, which adds up to ``seconds`` if any row reached the engine.
    """
    weights = tokens.astype(np.float64) if tokens.any() else reached.astype(np.float64)
    total = weights.sum()
    return (weights * (seconds / total if total else 0.0)).astype(np.float32)
