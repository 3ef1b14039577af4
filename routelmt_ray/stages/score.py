"""Score: every row of a shard gets a status and, where it can be translated, a predicted gain."""

import time
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt_ray import schema
from routelmt_ray.config_translate import RouterConfig
from routelmt_ray.corpus import read_shard
from routelmt_ray.engines import Prompt, open_probe
from routelmt_ray.router.artifact import load_router
from routelmt_ray.router.scorers import column_scores, length_scores, random_scores
from routelmt_ray.stages.context import RunContext, from_item
from routelmt_ray.stages.validate import encode, needed_columns, validate

STAGE = "scores"
COLUMNS = pa.schema(
    [
        ("place", pa.int64()),
        ("predicted_gain", pa.float32()),
        ("source_tokens", pa.int32()),
        ("status", pa.string()),
    ]
)
"""Columns of a score shard. Gains are kept plain and uncompressed: the allocator reads them several times."""
_WRITE = {
    "compression": "none",
    "use_dictionary": ["status"],
    "column_encoding": {"place": "DELTA_BINARY_PACKED", "predicted_gain": "PLAIN", "source_tokens": "PLAIN"},
}


class Prepare:
    """Reads and checks the rows of a shard, tokenises prompts, and scores them where that needs no model.

    Reads: an item of work. Writes: shard, place, predicted_gain, source_tokens, status, prompt.
    """

    def __init__(self, context: RunContext, router: RouterConfig) -> None:
        """Args: the run and what predicts the gain."""
        self._context, self._router = context, router

    def __call__(self, item: pa.Table) -> pa.Table:
        """One block of work in, the rows of its shard out."""
        context, router, shard = self._context, self._router, from_item(item)
        small = context.models.small
        columns = needed_columns(context.input)
        brings = [router.column] if router.kind == "column" and router.column else []
        table = read_shard(shard, context.schema, [*columns, *brings])
        rows = validate(table, context.input, small.prompt)
        chosen = rows.ok()
        encoded = encode(rows, chosen, small)
        source_tokens = np.zeros(table.num_rows, np.int32)
        source_tokens[chosen] = encoded.source_tokens
        prompts: list[list[int] | None] = [None] * table.num_rows
        for i, ids, too_long in zip(chosen, encoded.prompts, encoded.too_long):
            if too_long:
                rows.statuses[i] = schema.TOO_LONG
            else:
                prompts[i] = ids
        places = np.arange(shard.first_place, shard.first_place + table.num_rows, dtype=np.int64)
        gains = np.full(table.num_rows, np.nan, np.float32)
        ok = rows.ok()
        if router.kind == "length":
            gains[ok] = length_scores([rows.texts[i] or "" for i in ok])
        elif router.kind == "random":
            gains[ok] = random_scores(places[ok], context.seed)
        elif router.kind == "column":
            gains[ok] = column_scores(table[brings[0]])[ok]
        if router.kind != "probe":
            prompts = [None] * table.num_rows
        return pa.table(
            {
                "shard": np.full(table.num_rows, shard.index, np.int32),
                "place": places,
                "predicted_gain": gains,
                "source_tokens": source_tokens,
                "status": pa.array(rows.statuses, pa.string()),
                "prompt": pa.array(prompts, pa.list_(pa.int32())),
                "engine_s": np.zeros(table.num_rows, np.float32),
            }
        )


class Probe:
    """Predicts the gain of each row from the small model's prompt state; holds one engine.

    Reads: prompt. Writes: predicted_gain.
    """

    def __init__(self, context: RunContext, router: RouterConfig) -> None:
        """Loads the small model and the router."""
        self._router = load_router(str(router.path))
        self._engine = open_probe(context.models.small, self._router)

    def __call__(self, table: pa.Table) -> pa.Table:
        """The rows of one shard, with their gains."""
        started = time.perf_counter()
        prompts = table["prompt"].to_pylist()
        chosen = [i for i, ids in enumerate(prompts) if ids is not None]
        gains = np.full(table.num_rows, np.nan, np.float32)
        if chosen:
            raw = self._engine.probe([Prompt(prompts[i], 0, "") for i in chosen])
            gains[chosen] = self._router.predict(raw)
        # A model that overflows gives inf or NaN: such a row is translated, but cannot be routed.
        gains[~np.isfinite(gains)] = np.nan
        seconds = np.full(table.num_rows, time.perf_counter() - started, np.float32)
        table = table.set_column(table.column_names.index("predicted_gain"), "predicted_gain", pa.array(gains))
        return table.drop_columns(["prompt", "engine_s"]).append_column("engine_s", pa.array(seconds))


class Commit:
    """Publishes a score shard, once. Writes: shard, rows (for the driver's progress)."""

    def __init__(self, context: RunContext) -> None:
        """Args: the run."""
        self._context = context

    def __call__(self, table: pa.Table) -> pa.Table:
        """The rows of one shard in, one summary row out."""
        shard = table["shard"][0].as_py()
        gains = table["predicted_gain"].to_numpy()
        scored = gains[~np.isnan(gains)]
        meta: dict[str, Any] = {
            "rows": table.num_rows,
            "eligible": len(scored),
            "statuses": dict(Counter(table["status"].to_pylist())),
            "source_tokens": int(np.sum(table["source_tokens"].to_numpy(), dtype=np.int64)),
            "min_gain": float(scored.min()) if len(scored) else None,
            "max_gain": float(scored.max()) if len(scored) else None,
            "bulk": np.quantile(scored, (0.001, 0.999)).tolist() if len(scored) else None,
            "engine_s": float(table["engine_s"][0].as_py()),
        }
        self._context.run.commit(STAGE, shard, table.select(COLUMNS.names).cast(COLUMNS), meta, **_WRITE)
        return pa.table({"shard": [shard], "rows": [table.num_rows]})
