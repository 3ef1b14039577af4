"""The findings of the checks in a run: rates by check, model and language pair, and examples from the output."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from routelmt_ray import storage
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config.checks import CHECKS, QUARANTINE
from routelmt_ray.evaluation.formats import shortened
from routelmt_ray.reports.collect_samples import read_rows
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import output

MOST_EXAMPLES = 5
"""Examples of each check."""
_MOST_CHARS = 160


def check_facts(context: RunContext, plan: CheckPlan, metas: Mapping[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums up rows that failed each check and rows with a verdict, by model, and by pair with the highest rates first."""
    return [_facts_of(context, name, action, metas) for name, action in plan.actions.items()]


def term_facts(merged: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sums up the terms of the glossary that the sources have, and those that are kept, by language pair and model."""
    sums = _sums(meta.get("terms", {}) for meta in merged)
    return [
        {"pair": pair, "model": model, "kept": kept, "terms": there}
        for (model, pair), (kept, there) in sorted(sums.items(), key=lambda item: (-item[1][1], item[0][::-1]))
    ]


def _sums(counted: Iterable[Mapping[str, Mapping[str, Sequence[int]]]]) -> dict[tuple[str, str], tuple[int, int]]:
    """Adds up two counts by model and language pair."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for models in counted:
        for model, pairs in models.items():
            for pair, (some, of) in pairs.items():
                before = sums.get((model, pair), (0, 0))
                sums[model, pair] = (before[0] + some, before[1] + of)
    return sums


def _facts_of(context: RunContext, name: str, action: str, metas: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    kind = CHECKS[name]
    sums = _sums(meta["checks"].get(name, {}) for meta in metas.values())
    models: dict[str, dict[str, int]] = {}
    for (model, _), (failed, judged) in sorted(sums.items()):
        count = models.setdefault(model, {"failed": 0, "judged": 0})
        count["failed"] += failed
        count["judged"] += judged
    listed = sorted(sums.items(), key=lambda item: (-item[1][0] / item[1][1], -item[1][1], item[0]))
    shards = [shard for shard, meta in metas.items() if meta["statuses"].get(kind.status)]
    return {
        "name": name,
        "status": kind.status,
        "help": kind.help,
        "measure": kind.measure,
        "action": action,
        "models": models,
        "pairs": [
            {"pair": pair, "model": model, "failed": failed, "judged": judged}
            for (model, pair), (failed, judged) in listed
            if failed
        ],
        "examples": _examples(context, kind.status, action, shards),
    }


def _examples(context: RunContext, status: str, action: str, shards: Sequence[int]) -> list[dict[str, Any]]:
    """Rows with a status, spread over the shards that have some."""
    found: list[dict[str, Any]] = []
    chosen = _spread(len(shards), MOST_EXAMPLES)
    for number, at in enumerate(chosen):
        most = -(-(MOST_EXAMPLES - len(found)) // (len(chosen) - number))
        stage = output.QUARANTINE if action == QUARANTINE else output.STAGE
        found += _examples_of(context, status, stage, shards[at], most)
    return found[:MOST_EXAMPLES]


def _examples_of(context: RunContext, status: str, stage: str, shard: int, most: int) -> list[dict[str, Any]]:
    column = context.prefix + "status"
    found = storage.read_table(context.run.shard_path(stage, shard), [column])[column].to_pylist()
    rows = np.flatnonzero([value == status for value in found])
    chosen = rows[_spread(len(rows), most)].tolist()
    return [
        {"pair": row["pair"], "model": row["model"]}
        | {name: shortened(row[name] or "", _MOST_CHARS) for name in ("source", "translation", "error")}
        for row in read_rows(context, stage, shard, chosen, ("model", "translation", "error"))
    ]


def _spread(n: int, most: int) -> list[int]:
    """Picks up to `most` numbers below n, evenly spread."""
    return sorted({int(at) for at in np.linspace(0, n - 1, min(n, most))}) if n else []
