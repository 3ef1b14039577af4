"""The part of report.json on segments that occur more than once."""

from collections.abc import Mapping
from typing import Any

from routelmt_ray.config.common import ONCE
from routelmt_ray.corpus.languages import pair_label
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.evaluation.formats import shortened
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages.repeats import count_repeats
from routelmt_ray.stages.validate import language_codes, needed_columns, strings

_SHOWN_CHARS = 160


def repeat_facts(
    context: RunContext, plan: ShardPlan, forecast: Mapping[str, Any] | None = None, *, texts: bool = True
) -> dict[str, Any] | None:
    """Collects how much of a corpus repeats, and its most frequent segments; None where no repeats were looked for.

    Args:
        context: the run.
        plan: its corpus.
        forecast: what the budget was estimated to buy; it knows what the repeats would take.
        texts: False to leave out the sources.

    Returns:
        ``rows`` that can be translated, ``segments`` among them, ``repeated`` segments, ``saved`` rows that need no model,
        ``saved_s`` device-seconds that these would take, and ``frequent``: occurrences, place, pair and source of each.
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
