"""Translate: one model takes the rows of a shard that a leg gives it.

A leg is one model's share of a plan entry: ``large/000`` are the rows entry 0 routes, ``small/000`` the others, and
``small/000-fallback`` those of ``large/000`` that the large model failed on. Rows that the same model has translated in
an earlier leg are left out: a changed budget pays only for what is new.
"""

import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt_ray import schema
from routelmt_ray.budget import Cut
from routelmt_ray.corpus import read_shard
from routelmt_ray.engines import Completion, Prompt, open_engine
from routelmt_ray.shards import Shard
from routelmt_ray.stages import score
from routelmt_ray.stages.context import RunContext, from_item
from routelmt_ray.stages.validate import encode, needed_columns, validate

COLUMNS = pa.schema(
    [
        ("place", pa.int64()),
        ("translation", pa.string()),
        ("source_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
"""Columns of a translation shard; it has rows only for what its leg translated."""


@dataclass(frozen=True)
class Leg:
    """One model's share of a plan entry."""

    size: str
    """``small`` or ``large``."""
    name: str
    """Folder under the size, e.g. ``000``."""
    cut: Cut | None
    """What the plan entry routes; None gives the leg every row, and a row that cannot be translated its reason."""
    earlier: tuple[str, ...] = ()
    """Stages of earlier legs of the same model."""
    rescue: str | None = None
    """Stage of a large leg whose failures this small leg takes; None for the plan's own share."""

    @property
    def stage(self) -> str:
        """Where it commits."""
        return f"{self.size}/{self.name}"


def wanted_places(context: RunContext, leg: Leg, shard: Shard) -> np.ndarray:
    """Places of a shard that a leg has to translate, ascending, int64."""
    run = context.run
    if leg.rescue is not None:
        table = pq.read_table(run.shard_path(leg.rescue, shard.index), columns=["place", "status"])
        failed = pc.invert(pc.is_in(table["status"], pa.array(schema.TRANSLATED)))
        places = table.filter(failed)["place"].to_numpy()
    elif leg.cut is None:
        places = np.arange(shard.first_place, shard.first_place + shard.rows)
    else:
        scores = pq.read_table(run.shard_path(score.STAGE, shard.index), columns=["predicted_gain", "status"])
        routed = leg.cut.mask(scores["predicted_gain"].to_numpy(), shard.first_place)
        ok = pc.equal(scores["status"], schema.OK).to_numpy()
        places = shard.first_place + np.flatnonzero(ok & (routed if leg.size == schema.LARGE else ~routed))
    for stage in leg.earlier:
        path = run.shard_path(stage, shard.index)
        if path.exists():
            places = np.setdiff1d(places, pq.read_table(path, columns=["place"])["place"].to_numpy())
    return places.astype(np.int64)


class Prepare:
    """Reads the rows a leg wants from a shard and tokenises their prompts.

    A shard without such rows is committed here, as a block without rows would vanish on its way.
    Reads: an item of work. Writes: shard, place, text, source_tokens, prompt, room, refused.
    """

    def __init__(self, context: RunContext, leg: Leg) -> None:
        """Args: the run and the leg."""
        self._context, self._leg = context, leg

    def __call__(self, item: pa.Table) -> pa.Table:
        """One block of work in, the rows to translate out."""
        context, leg, shard = self._context, self._leg, from_item(item)
        places = wanted_places(context, leg, shard)
        model = context.model(leg.size)
        table = read_shard(shard, context.schema, needed_columns(context.input))
        table = table.take(places - shard.first_place)
        rows = validate(table, context.input, model.prompt)
        chosen = list(range(table.num_rows))
        encoded = encode(rows, chosen, model)
        refused = [None if status == schema.OK else status for status in rows.statuses]  # by this model's own prompt
        for i, too_long in enumerate(encoded.too_long):
            refused[i] = refused[i] or (schema.TOO_LONG if too_long else None)
        if not len(places):
            commit_translations(context, leg, shard.index, COLUMNS.empty_table(), 0.0)
        return pa.table(
            {
                "shard": np.full(len(places), shard.index, np.int32),
                "place": places,
                "text": pa.array(rows.texts, pa.string()),
                "source_tokens": pa.array(encoded.source_tokens, pa.int32()),
                "prompt": pa.array(encoded.prompts, pa.list_(pa.int32())),
                "room": pa.array(encoded.room, pa.int32()),
                "refused": pa.array(refused, pa.string()),
            }
        )


class Translate:
    """Translates the rows of a shard; holds one engine.

    Reads: text, prompt, room, refused. Writes: translation, output_tokens, status, error.
    """

    def __init__(self, context: RunContext, leg: Leg) -> None:
        """Loads the model."""
        self._engine = open_engine(context.model(leg.size))

    def __call__(self, table: pa.Table) -> pa.Table:
        """The rows of one shard, translated."""
        started = time.perf_counter()
        rows = table.select(["text", "prompt", "room", "refused"]).to_pylist()
        taken = [i for i, row in enumerate(rows) if row["refused"] is None]
        answers: list[Completion | None] = [None] * len(rows)
        prompts = [Prompt(rows[i]["prompt"], rows[i]["room"], rows[i]["text"]) for i in taken]
        for i, answer in zip(taken, self._engine.translate(prompts)):
            answers[i] = answer
        results = [_result(answer, row["refused"]) for answer, row in zip(answers, rows)]
        return pa.table(
            {
                "shard": table["shard"],
                "place": table["place"],
                "translation": pa.array([r[0] for r in results], pa.string()),
                "source_tokens": table["source_tokens"],
                "output_tokens": pa.array([a.tokens if a else 0 for a in answers], pa.int32()),
                "status": pa.array([r[1] for r in results], pa.string()),
                "error": pa.array([r[2] for r in results], pa.string()),
                "engine_s": np.full(table.num_rows, time.perf_counter() - started, np.float32),
            }
        )


def _result(answer: Completion | None, refused: str | None) -> tuple[str | None, str, str | None]:
    if answer is None:
        return None, str(refused), schema.STATUS_MEANING[str(refused)]
    if answer.finish == "error":
        return None, schema.ENGINE_ERROR, answer.error
    if not answer.text:
        return None, schema.EMPTY_OUTPUT, schema.STATUS_MEANING[schema.EMPTY_OUTPUT]
    if answer.finish == "length":
        return answer.text, schema.OUTPUT_LIMIT, f"cut at {answer.tokens} tokens"
    return answer.text, schema.OK, None


class Commit:
    """Publishes a translation shard, once. Writes: shard, rows (for the driver's progress)."""

    def __init__(self, context: RunContext, leg: Leg) -> None:
        """Args: the run and the leg."""
        self._context, self._leg = context, leg

    def __call__(self, table: pa.Table) -> pa.Table:
        """The rows of one shard in, one summary row out."""
        shard, seconds = table["shard"][0].as_py(), float(table["engine_s"][0].as_py())
        commit_translations(self._context, self._leg, shard, table.select(COLUMNS.names).cast(COLUMNS), seconds)
        return pa.table({"shard": [shard], "rows": [table.num_rows]})


def commit_translations(context: RunContext, leg: Leg, shard: int, table: pa.Table, engine_s: float) -> None:
    """Publishes the rows a leg translated of one shard, with the counts the driver wants."""
    statuses = Counter(table["status"].to_pylist())
    meta = {
        "rows": table.num_rows,
        "failed": sum(n for status, n in statuses.items() if status not in schema.TRANSLATED),
        "statuses": dict(statuses),
        "output_tokens": int(np.sum(table["output_tokens"].to_numpy(), dtype=np.int64)),
        "engine_s": engine_s,
    }
    context.run.commit(leg.stage, shard, table, meta, compression="zstd")
