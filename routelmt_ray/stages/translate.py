"""Translates the rows of a shard that belong to a leg, by one model.

A leg is the share of one model in a plan entry. ``large/000`` has the rows that entry 0 routes, ``small/000`` those
that it leaves to the small model, and ``small/000-fallback`` those on which the large model failed. A leg leaves out
the rows that the same model translated in an earlier leg, so a changed budget pays only for new rows. The actor of an
engine serves the legs of all plan entries of an execution, one after the other, and loads its model once.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray.budget.cost import CostModel
from routelmt_ray.budget.rule import Rule
from routelmt_ray.config import schema
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.engines import Completion, Engine, Prompt
from routelmt_ray.engines.warm_up import open_warm_engine
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.runtime.engine_host import CONVICTED, EngineHost
from routelmt_ray.stages.exchange import read_existing
from routelmt_ray.stages.pieces import Prompts, fold_translations, prompts_of
from routelmt_ray.stages.routes import ShardRows
from routelmt_ray.stages.validate import needed_columns, validate

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
"""Columns of a translation shard. It has only the rows that its leg translated."""
_PREPARED = pa.schema(
    [
        ("place", pa.int64()),
        ("text", pa.string()),
        ("source_tokens", pa.int32()),
        ("prompt", pa.list_(pa.int32())),
        ("content", pa.string()),
        ("room", pa.int32()),
        ("refused", pa.string()),
        ("joint", pa.string()),
        ("note", pa.string()),
    ]
)


Wanted = Callable[[RunContext, Shard], np.ndarray]
"""Gives the numbers of the rows of a shard that a leg translates, ascending."""


def everything(context: RunContext, shard: Shard) -> np.ndarray:
    """Gives the numbers of all rows. A row that cannot be translated gets a status with the reason."""
    return np.arange(shard.rows)


@dataclass(frozen=True)
class Leg:
    """The share of one model in a plan entry."""

    size: str
    """``small`` or ``large``."""
    name: str
    """Folder under the size, e.g. ``000``."""
    wanted: Wanted
    earlier: tuple[str, ...] = ()
    """Stages of earlier legs of the same model. Their rows are left out."""
    cost: CostModel | None = None
    """Predicts the cost of the rows, for a comparison with the measured cost."""

    @property
    def stage(self) -> str:
        return f"{self.size}/{self.name}"

    def places(self, context: RunContext, shard: Shard) -> np.ndarray:
        """Finds the places of a shard that the leg has to translate, ascending, int64."""
        return self.new(context, shard, self.wanted(context, shard))

    def new(self, context: RunContext, shard: Shard, rows: np.ndarray) -> np.ndarray:
        """Finds the places of those rows of a shard that no earlier leg translated, ascending, int64."""
        places = shard.first_place + rows
        for table in read_existing(context.run, self.earlier, shard.index, ["place"]):
            places = np.setdiff1d(places, table["place"].to_numpy())
        return places.astype(np.int64)

    def predicted_s(self, context: RunContext, shard: Shard, places: np.ndarray) -> float:
        """Predicts the device-seconds for rows of a shard from the profile; 0 without a profile."""
        if self.cost is None:
            return 0.0
        rows = ShardRows(context, Rule(cost=self.cost), shard)
        seconds = rows.small_s if self.size == schema.SMALL else rows.large_s
        return float(seconds[places - shard.first_place].sum())


@dataclass(frozen=True)
class Always:
    """Gives the same leg for every plan entry."""

    leg: Leg

    def __call__(self, context: RunContext, entry: int) -> Leg:
        return self.leg


class ReadPrompts:
    """Reads the rows of a shard that a leg needs, and tokenises their prompts.

    A shard without such rows becomes one row without a place, as a block without rows would be lost on its way. A row
    that is split becomes one row for each piece, see :mod:`routelmt_ray.stages.pieces`.
    Reads: an item of work. Writes: shard, stage, place, text, source_tokens, prompt, content, room, refused, joint, note, predicted_s.
    """

    def __init__(self, context: RunContext, size: str, leg_of: Callable[[RunContext, int], Leg]) -> None:
        self._context, self._size, self._leg_of = context, size, leg_of

    def __call__(self, item: pa.Table) -> pa.Table:
        context, shard = self._context, from_item(item)
        leg = self._leg_of(context, item["entry"][0].as_py() if "entry" in item.column_names else 0)
        places = leg.places(context, shard)
        predicted_s = leg.predicted_s(context, shard, places) if len(places) else 0.0
        prompts = self._prompts(shard, places) if len(places) else _NOTHING
        found = places[prompts.row].tolist() if len(places) else [None]
        columns, n = {"place": found, "prompt": prompts.ids, **vars(prompts)}, len(found)
        constants = pa.table(
            {
                "shard": np.full(n, shard.index, np.int32),
                "stage": pa.repeat(leg.stage, n),
                "predicted_s": np.full(n, predicted_s),
            }
        )
        for field in _PREPARED:
            constants = constants.append_column(field, pa.array(columns[field.name], field.type))
        return constants

    def _prompts(self, shard: Shard, places: np.ndarray) -> Prompts:
        context, model = self._context, self._context.model(self._size)
        table = read_shard(shard, context.schema, needed_columns(context.input)).take(places - shard.first_place)
        rows = validate(table, context.input, model.prompt)
        # This model may refuse other rows than the small one.
        return prompts_of(rows, model, context.input.too_long, context.glossary)


_CHARGED = ("charged_prompt_tokens", "charged_completion_tokens")
"""Tokens that a server charged for a shard."""
_NOTHING = Prompts([0], [None], [[]], [""], [0], [0], [""], [""], [None])
"""A shard of which a leg needs no row. Nothing is read for it."""


class Translate:
    """Translates the rows of a shard. Holds one engine.

    Reads: text, prompt, content, room, refused. Writes: translation, output_tokens, status, error, and of the
    whole shard engine_s, device_s, halved, charged_prompt_tokens, charged_completion_tokens.
    """

    def __init__(self, context: RunContext, size: str) -> None:
        model = context.model(size)

        def load() -> Engine:
            return open_warm_engine(model)

        self._host = EngineHost(context.run, size, model.pool, load, context.max_concurrency(size))

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.select(["text", "prompt", "content", "room", "refused"]).to_pylist()
        taken = [i for i, row in enumerate(rows) if row["refused"] is None]
        answers: list[Completion | None] = [None] * len(rows)
        prompts = [Prompt(*(rows[i][name] for name in ("prompt", "room", "text", "content"))) for i in taken]
        stage, shard = table["stage"][0].as_py(), table["shard"][0].as_py()
        halved = self._host.engine.halved
        found, took = self._host.answers(stage, shard, prompts, self._host.engine.translate)
        for i, answer in zip(taken, found):
            answers[i] = answer or Completion(None, 0, "error", CONVICTED)
        charged = [sum(tokens) for tokens in zip((0, 0), *(answer.charged for answer in found if answer))]
        results = [_result(answer, row["refused"]) for answer, row in zip(answers, rows)]
        return pa.table(
            {
                **{name: table[name] for name in ("shard", "stage", "place", "predicted_s", "joint", "note")},
                "translation": pa.array([r[0] for r in results], pa.string()),
                "source_tokens": table["source_tokens"],
                "output_tokens": pa.array([a.tokens if a else 0 for a in answers], pa.int32()),
                "status": pa.array([r[1] for r in results], pa.string()),
                "error": pa.array([r[2] for r in results], pa.string()),
                "engine_s": np.full(table.num_rows, took.wall_s),
                "device_s": np.full(table.num_rows, took.device_s),
                "halved": np.full(table.num_rows, self._host.engine.halved - halved),
                **{name: np.full(table.num_rows, tokens) for name, tokens in zip(_CHARGED, charged)},
            }
        )


_FAILED = {"error": schema.ENGINE_ERROR, "filtered": schema.CONTENT_FILTER}


def _result(answer: Completion | None, refused: str | None) -> tuple[str | None, str, str | None]:
    if answer is None:
        return None, str(refused), schema.STATUS_MEANING.get(str(refused))
    if answer.finish in _FAILED:
        return None, _FAILED[answer.finish], answer.error
    thinking = f"its reasoning, {answer.thinking} tokens, was left out" if answer.thinking else None
    if not answer.text:
        why = (
            f"still reasoning when it was cut at {answer.tokens} tokens"
            if answer.thinking and answer.finish == "length"
            else None
        )
        return None, schema.EMPTY_OUTPUT, why or schema.STATUS_MEANING[schema.EMPTY_OUTPUT]
    if answer.finish == "length":
        return answer.text, schema.OUTPUT_LIMIT, "; ".join(filter(None, (f"cut at {answer.tokens} tokens", thinking)))
    return answer.text, schema.OK, thinking


class CommitTranslations:
    """Joins pieces to rows and publishes a translation shard once. Writes: a summary for the driver."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def __call__(self, table: pa.Table) -> pa.Table:
        table = fold_translations(table)
        first = (
            table.select(["shard", "stage", "engine_s", "device_s", "predicted_s", "halved", *_CHARGED])
            .slice(0, 1)
            .to_pylist()[0]
        )
        shard, stage = first.pop("shard"), first.pop("stage")
        rows = table.filter(pc.is_valid(table["place"])).select(COLUMNS.names).cast(COLUMNS)
        statuses = Counter(rows["status"].to_pylist())
        meta = {
            "rows": rows.num_rows,
            "failed": sum(n for status, n in statuses.items() if status not in schema.TRANSLATED),
            "statuses": dict(statuses),
            "output_tokens": int(np.sum(rows["output_tokens"].to_numpy(), dtype=np.int64)),
            **first,
        }
        self._context.run.commit(stage, shard, rows, meta, compression="zstd")
        sums = {key: [meta[key]] for key in ("rows", "failed", "output_tokens", "device_s", "predicted_s", *_CHARGED)}
        return pa.table({"shard": [shard], "stage": [stage], **sums})
