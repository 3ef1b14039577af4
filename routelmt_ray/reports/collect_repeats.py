"""The parts of report.json on segments that occur more than once, and on those that earlier runs have translated."""

from collections.abc import Mapping, Sequence
from typing import Any

from routelmt_ray.config.common import ONCE
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.languages import pair_label
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.evaluation.formats import shortened
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import memory
from routelmt_ray.stages.repeats import count_repeats
from routelmt_ray.stages.validate import language_codes, needed_columns, strings
from routelmt_ray.storage.rundir import RunDir

_SHOWN_CHARS = 160


def repeat_facts(
    context: RunContext, plan: ShardPlan, forecast: Mapping[str, Any] | None = None, *, texts: bool = True
) -> dict[str, Any] | None:
    """Collects how much of a corpus repeats, and its most frequent segments; None where no repeats were looked for.

    ``rows`` can be translated, ``segments`` of them are different, ``repeated`` of these occur again; ``saved`` rows need no
    model, and would take ``saved_s`` device-seconds. ``frequent`` segments have their source only with `texts`.
    """
    if context.input.duplicates != ONCE:
        return None
    found = count_repeats(context.run)
    frequent = []
    for occurrences, place in found["frequent"]:
        row = read_shard(plan.stretch(place, place + 1, 0), context.schema, needed_columns(context.input))
        pair = pair_label(*(codes[0] for codes in language_codes(row, context.input)))
        source = shortened(strings(row[context.input.columns.source])[0] or "", _SHOWN_CHARS) if texts else None
        frequent.append({"occurrences": occurrences, "place": place, "pair": pair, "source": source})
    saved = found["rows"] - found["segments"]
    return found | {"saved": saved, "saved_s": (forecast or {}).get("saved_s"), "frequent": frequent}


def memory_facts(
    config: TranslateConfig, run: RunDir, series: int, merged: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Collects what a run took from the memory of earlier runs, and what it added; None without a memory.

    ``path``; segments the memory ``had`` by model; ``rows`` of the output with a translation from it, and their segments,
    ``used`` by model; ``added`` segments, and their ``bytes``.
    """
    if config.memory.path is None:
        return None
    metas, added = run.metas(memory.STAGE).values(), run.metas(memory.added_stage(series)).values()
    rows, small, large = (sum(meta["from_memory"][at] for meta in merged) for at in range(3))
    return {
        "path": config.memory.path,
        "had": {size: sum(meta[size] for meta in metas) for size in (SMALL, LARGE)},
        "rows": rows,
        "used": {SMALL: small, LARGE: large},
        "added": sum(meta["entries"] for meta in added),
        "bytes": sum(meta["bytes"] for meta in added),
    }
