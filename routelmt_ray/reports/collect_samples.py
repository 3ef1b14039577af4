"""Rows of a run to read: a seeded sample, spread over the predicted gain, with what both models made of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from routelmt_ray import storage
from routelmt_ray.budget.keys import mix
from routelmt_ray.config.common import ONCE
from routelmt_ray.config.schema import DUPLICATE_OF, LARGE, SMALL
from routelmt_ray.corpus import column_paths
from routelmt_ray.corpus.languages import pair_label
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.evaluation.samples import short, spread
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import output
from routelmt_ray.stages.chosen import Translations, translations
from routelmt_ray.stages.validate import language_codes, strings

_ADDED = ("route", "route_reason", "model", "status")


def sample_rows(
    context: RunContext, plan: ShardPlan, stages: Mapping[str, Sequence[str]], rows: int
) -> list[dict[str, Any]]:
    """Draws rows of the output to read, highest predicted gain first.

    Few shards are read: at most as many as rows are drawn. Each row has its language pair, source, reference, score (the
    predicted gain), route, reason, model and status, and of each model the translation and its quality (chrF), or None.
    """
    numbers = np.argsort(mix(np.arange(len(plan), dtype=np.uint64), context.seed), kind="stable")[:rows].tolist()
    gains = [_gains(context, shard) for shard in numbers]
    scored = [np.flatnonzero(~np.isnan(found)) for found in gains]
    gain = np.concatenate([np.zeros(0, np.float32), *(found[at] for found, at in zip(gains, scored))])
    shard_of = np.repeat(np.array(numbers, np.int64), [len(at) for at in scored])
    row_of = np.concatenate([np.zeros(0, np.int64), *scored])
    first = np.array([plan[shard].first_place for shard in numbers], np.int64)
    draw = mix((row_of + np.repeat(first, [len(at) for at in scored])).astype(np.uint64), context.seed)
    chosen = spread(gain, draw, rows)
    found: dict[int, dict[str, Any]] = {}
    for shard in sorted({int(shard_of[at]) for at in chosen}):
        here = [at for at in chosen if shard_of[at] == shard]
        made = {
            size: translations(context, tuple(stages[size]), shard, plan[shard].first_place) for size in (SMALL, LARGE)
        }
        found |= zip(here, _described(context, shard, [int(row_of[at]) for at in here], made))
    return [found[at] for at in chosen]


def _gains(context: RunContext, shard: int) -> np.ndarray:
    """Predicted gains of a shard, float32; NaN where there is none, and for a repeat, which no model has translated."""
    names = ["predicted_gain", *([DUPLICATE_OF.name] if context.input.duplicates == ONCE else [])]
    columns = storage.read_table(
        context.run.shard_path(output.STAGE, shard), [context.prefix + name for name in names]
    ).columns
    gains: np.ndarray = columns[0].to_numpy(zero_copy_only=False).astype(np.float32)
    for repeated in columns[1:]:
        gains[repeated.is_valid().to_numpy()] = np.nan
    return gains


def read_rows(
    context: RunContext, stage: str, shard: int, rows: Sequence[int], added: Sequence[str]
) -> list[dict[str, Any]]:
    """Reads rows of a shard of the output: language pair, source and reference, and columns that the job added."""
    columns, prefix = context.input.columns, context.prefix
    texts = (columns.source, columns.source_lang, columns.target_lang, columns.reference)
    paths = list(dict.fromkeys(path for path in texts if path is not None))
    names = [column_paths.column_of(context.schema, path) for path in paths]
    wanted = dict.fromkeys([*names, *(prefix + name for name in added)])
    table = storage.read_table(context.run.shard_path(stage, shard), list(wanted)).take(list(rows))
    picked = column_paths.pick(table, context.schema, paths)
    references = [None] * len(rows) if columns.reference is None else strings(picked[columns.reference])
    pairs = [pair_label(*pair) for pair in zip(*language_codes(picked, context.input))]
    return [
        {"pair": pair, "source": source, "reference": reference}
        | {name: table[prefix + name][i].as_py() for name in added}
        for i, (pair, source, reference) in enumerate(zip(pairs, strings(picked[columns.source]), references))
    ]


def _described(
    context: RunContext, shard: int, rows: Sequence[int], made: Mapping[str, Translations]
) -> list[dict[str, Any]]:
    found = read_rows(context, output.STAGE, shard, rows, ("predicted_gain", *_ADDED))
    references = [row["reference"] for row in found]
    described = [
        {"pair": row["pair"], "source": short(row["source"]), "reference": short(row["reference"])}
        | {"score": row["predicted_gain"], **{name: row[name] for name in _ADDED}}
        for row in found
    ]
    for size, said in made.items():
        answers = [said[row][0] if row in said else None for row in rows]
        quality = ChrF().segment_scores([None] * len(rows), answers, references)
        for row, answer, value in zip(described, answers, quality):
            row[size] = {"translation": short(answer), "quality": None if np.isnan(value) else round(float(value), 3)}
    return described
