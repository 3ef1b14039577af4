"""Gives every row of a shard a status and, where it can be translated, a predicted gain."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.config import schema
from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.corpus.ids import id_keys
from routelmt_ray.corpus.languages import pair_labels
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.engines import EveryRowFailed, ProbeEngine, Prompt
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.engines.batching import MANY
from routelmt_ray.engines.warm_up import open_warm_probe
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.runtime.engine_host import EngineHost
from routelmt_ray.stages.memory import remembered_rows, stage_of
from routelmt_ray.stages.pieces import fold_scores, prompts_of
from routelmt_ray.stages.repeats import read_repeats
from routelmt_ray.stages.scorers import Unscored, finite, scaled
from routelmt_ray.stages.validate import needed_columns, validate
from routelmt_ray.storage.rundir import RunDir

STAGE = "scores"
COLUMNS = pa.schema(
    [
        ("place", pa.int64()),
        ("predicted_gain", pa.float32()),
        ("predicted_quality", pa.float32()),
        ("prompt_tokens", pa.int32()),
        ("source_tokens", pa.int32()),
        ("pair", pa.string()),
        ("status", pa.string()),
        ("id_key", pa.uint64()),
    ]
)
"""Columns of a score shard. Numbers are stored plain and uncompressed, as the allocator reads them several times."""
OCCURRENCES = pa.field("occurrences", pa.int64())
"""A further column where repeated segments are translated once: how often the row's segment occurs; 0 for a repeat."""
_PLAIN = ("predicted_gain", "predicted_quality", "prompt_tokens", "source_tokens", "id_key", "occurrences")
_WRITE = {
    "compression": "none",
    "use_dictionary": ["pair", "status"],
    "column_encoding": {"place": "DELTA_BINARY_PACKED"} | dict.fromkeys(_PLAIN, "PLAIN"),
}


_REMEMBERED = "remembered"
"""Status of a row while prompts are made, where the memory has its large translation."""


class ReadAndScore:
    """Reads and checks the rows of a shard, tokenises their prompts, and computes the scores that need no model.

    A row that is split becomes one row for each piece, see :mod:`routelmt_ray.stages.pieces`.
    Reads: an item of work. Writes: shard, place, predicted_gain, predicted_quality, prompt_tokens, source_tokens, pair,
    status, id_key, prompt, words where a router with a table of them is asked, and occurrences where repeats are known.
    """

    def __init__(
        self, context: RunContext, router: RouterConfig, sections: Sections | None = None, memory: bool = False
    ) -> None:
        self._context, self._router, self._sections, self._memory = context, router, sections, memory
        # Read once, here: the machines of the tasks need not have the router's folder.
        self._trained = load_router(str(router.path)) if router.scorer.trained else None

    def __call__(self, item: pa.Table) -> pa.Table:
        context, router, shard = self._context, self._router, from_item(item)
        small, id_column = context.models.small, context.input.columns.id
        brings = list(dict.fromkeys(router.scorer.columns(router).values()))
        extra = [*brings, *([id_column] if id_column else [])]
        table = read_shard(shard, context.schema, list(dict.fromkeys([*needed_columns(context.input), *extra])))
        rows = validate(table, context.input, small.prompt)
        repeats = read_repeats(context.run, self._sections, shard) if self._sections is not None else None
        for i in repeats.rows if repeats is not None else ():
            rows.statuses[i] = schema.REPEAT
        remembered = remembered_rows(context.run, stage_of(schema.LARGE), shard).tolist() if self._memory else []
        for i in remembered:
            rows.statuses[i] = _REMEMBERED
        prompts = prompts_of(rows, small, context.input.too_long, context.glossary)
        for i, refused in zip(prompts.row, prompts.refused):
            rows.statuses[i] = refused or schema.OK
        ok = np.array(rows.ok(), np.int64)  # a type also where no row can be translated
        for i in remembered:
            rows.statuses[i] = schema.OK
        places = np.arange(shard.first_place, shard.first_place + table.num_rows, dtype=np.int64)
        gains = np.full(table.num_rows, np.nan, np.float32)
        if router.scorer.scores is not None:
            texts, languages = [rows.texts[i] or "" for i in ok], [rows.target_langs[i] for i in ok]
            tokens = defaultdict[int, list[int]](list)  # of all pieces of a row
            for i, ids in zip(prompts.row, prompts.ids) if self._trained is not None else ():
                tokens[i] += ids
            unscored = Unscored(
                texts,
                places[ok],
                table.select(brings).take(ok),
                context.seed,
                languages,
                self._trained,
                [tokens[i] for i in ok],
            )
            gains[ok] = finite(resolve_name(router.scorer.scores)(unscored, router))
        if router.scale is not None:
            gains = scaled(gains, router.scale, router.intercept)
        asked = [ids if router.probes and not out else None for ids, out in zip(prompts.ids, prompts.refused)]
        scored = pa.table(
            {
                "shard": np.full(table.num_rows, shard.index, np.int32),
                "place": places,
                "predicted_gain": gains,
                "predicted_quality": np.full(table.num_rows, np.nan, np.float32),
                "pair": pa.array(pair_labels(rows.source_langs, rows.target_langs), pa.string()),
                "status": pa.array(rows.statuses, pa.string()),
                "id_key": id_keys(table[id_column]) if id_column else pa.nulls(table.num_rows, pa.uint64()),
                "engine_s": np.zeros(table.num_rows),
                "device_s": np.zeros(table.num_rows),
                "halved": np.zeros(table.num_rows, np.int64),
                **({OCCURRENCES.name: repeats.occurrences} if repeats is not None else {}),
            }
        ).take(prompts.row)
        for name, values, kind in (
            ("prompt_tokens", [len(tokens) for tokens in prompts.ids], pa.int32()),
            ("source_tokens", prompts.source_tokens, pa.int32()),
            ("prompt", asked, pa.list_(pa.int32())),
        ):
            scored = scored.append_column(name, pa.array(values, kind))
        if router.probes and self._trained is not None and self._trained.words is not None:
            texts, languages = [text or "" for text in prompts.text], [rows.target_langs[i] for i in prompts.row]
            scored = scored.append_column("words", pa.array(self._trained.words(texts, languages, prompts.ids)))
        return scored


class Probe:
    """Predicts the gain of each row from the prompt state of the small model. Holds one engine.

    Reads: prompt, and words where the router has a table of them. Writes: predicted_gain and, where the router has a head
    for it, predicted_quality.
    """

    def __init__(self, context: RunContext, router: RouterConfig) -> None:
        model = context.models.small

        def load() -> ProbeEngine:
            self._router = load_router(str(router.path))
            return open_warm_probe(model, self._router)

        self._host = EngineHost(context.run, "probe", model.pool, load, context.max_concurrency(schema.SMALL))

    def __call__(self, table: pa.Table) -> pa.Table:
        prompts = table["prompt"].to_pylist()
        chosen = [i for i, ids in enumerate(prompts) if ids is not None]
        predicted = {name: np.full(table.num_rows, np.nan, np.float32) for name in ("gain", "quality")}
        asked, halved = [Prompt(prompts[i], 0, "") for i in chosen], self._host.engine.halved
        found, took = self._host.answers(STAGE, table["shard"][0].as_py(), asked, self._probe)
        check_numbers(found)
        nothing = np.full(len(self._router.heads), np.nan, np.float32)
        raw = np.array([nothing if outputs is None else outputs for outputs in found]).reshape(-1, len(nothing))
        words = table["words"].to_numpy()[chosen] if "words" in table.column_names else None
        for head in predicted.keys() & set(self._router.heads):
            predicted[head][chosen] = self._router.predict(raw, head, words)
            # A model that overflows gives inf or NaN. Such a row is translated, but cannot be routed.
            predicted[head][~np.isfinite(predicted[head])] = np.nan
        written = {"predicted_gain", "predicted_quality", "engine_s", "device_s", "halved"}
        table = table.drop_columns([name for name in table.column_names if name in {"prompt", "words"} | written])
        for name, values in predicted.items():
            table = table.append_column(f"predicted_{name}", pa.array(values))
        halved = self._host.engine.halved - halved
        for name, value in (("engine_s", took.wall_s), ("device_s", took.device_s), ("halved", halved)):
            table = table.append_column(name, pa.array(np.full(table.num_rows, value)))
        return table

    def _probe(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        return list(self._host.engine.probe(prompts))


def check_numbers(outputs: Sequence[np.ndarray | None]) -> None:
    """Raises EveryRowFailed where the outputs of a shard are many, and the model overflows on each, so that no row is the cause."""
    given = [output for output in outputs if output is not None]
    if len(given) >= MANY and not any(np.isfinite(output).all() for output in given):
        raise EveryRowFailed(
            f"the small model's states of all {len(given)} rows are not finite numbers; try another models.small.dtype, such as "
            "bfloat16 or float32"
        )


class CommitScores:
    """Joins pieces to rows and publishes a score shard once.

    Writes: shard, rows, prompt_tokens, device_s (for the driver).
    """

    def __init__(self, context: RunContext, memory: bool = False) -> None:
        self._context, self._memory = context, memory

    def __call__(self, table: pa.Table) -> pa.Table:
        table = fold_scores(table)
        shard = table["shard"][0].as_py()
        gains = table["predicted_gain"].to_numpy()
        scored = gains[~np.isnan(gains)]
        meta: dict[str, Any] = {
            "rows": table.num_rows,
            "eligible": len(scored),
            "statuses": dict(Counter(table["status"].to_pylist())),
            "source_tokens": int(np.sum(table["source_tokens"].to_numpy(), dtype=np.int64)),
            "prompt_tokens": int(np.sum(table["prompt_tokens"].to_numpy(), dtype=np.int64)),
            "min_gain": float(scored.min()) if len(scored) else None,
            "max_gain": float(scored.max()) if len(scored) else None,
            "bulk": np.quantile(scored, (0.001, 0.999)).tolist() if len(scored) else None,
            "engine_s": float(table["engine_s"][0].as_py()),
            "device_s": float(table["device_s"][0].as_py()),
            "halved": table["halved"][0].as_py(),
        }
        columns = COLUMNS
        if OCCURRENCES.name in table.column_names:
            columns = columns.append(OCCURRENCES)
            counts = table[OCCURRENCES.name].to_numpy()
            meta["eligible_rows"] = int(counts[~np.isnan(gains)].sum())
        if self._memory:
            places = table["place"].to_numpy()
            of = Shard(shard, int(places[0]), len(places), ())
            meta["new"] = len(scored) - int(
                (~np.isnan(gains[remembered_rows(self._context.run, stage_of(schema.SMALL), of)])).sum()
            )
        self._context.run.commit(STAGE, shard, table.select(columns.names).cast(columns), meta, **_WRITE)
        return pa.table({"shard": [shard], **{key: [meta[key]] for key in ("rows", "prompt_tokens", "device_s")}})


def id_columns(run: RunDir) -> Iterator[pa.ChunkedArray]:
    """Reads the hashed ids of each score shard, one column after the other."""
    for shard in sorted(run.committed(STAGE)):
        yield storage.read_table(run.shard_path(STAGE, shard), ["id_key"])["id_key"]
