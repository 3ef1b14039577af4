"""Chooses the translation of each row of a shard, from those of both models."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routelmt_ray import storage
from routelmt_ray.budget.rule import BELOW_CUT, KEPT, NO_ROUTE, Rule, reasons
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.checks.terms import Glossary
from routelmt_ray.config import schema
from routelmt_ray.config.guards import GUARDS
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import score
from routelmt_ray.stages.exchange import read_existing
from routelmt_ray.stages.judge import judged
from routelmt_ray.stages.memory import remembered_rows, stage_of
from routelmt_ray.stages.routes import Routes, ShardRows, decide

KEPT_SMALL = GUARDS["keep_better"].reason
"""Reason of a routed row whose small translation the judge preferred."""
_OF_BUDGET = re.compile(r"(?:small|large)/(\d+)(?:-both|-fallback)?")
"""Stages of the rows that a budget gives to a model; an audit does not depend on scores."""
Translation = tuple[str | None, str, str | None]
"""Text, status and error."""
Translations = dict[int, Translation]
"""Translations by row number of a shard."""
NO_TRANSLATION: Translation = (None, "", None)


Translated = Callable[[RunContext, Shard], dict[str, list[Any]]]
"""Reads translation, model and status of each row of a shard, and maybe more."""


@dataclass(frozen=True)
class MergePlan:
    """The decisions of a series of plan entries, and the stages with the translations."""

    rule: Rule
    """The rule that says which rows are routed, and why."""
    small: tuple[str, ...]
    large: tuple[str, ...]
    keep_better: float | None
    """Margin by which the judge must prefer a small translation to keep it. None keeps that of the routed model."""
    judged: tuple[str, ...]
    """Stages with judgements of routed rows."""
    audit: str | None
    """Measure of the gain of the audited rows, `chrf` or `judge`; None without an audit."""
    gain_edges: tuple[float, ...]
    """Edges of the histogram of predicted gain in the report."""
    checks: CheckPlan = field(default_factory=CheckPlan)
    glossary: Glossary | None = None
    """Terms to count in the chosen translations."""
    sections: Sections | None = None
    """The cut of the corpus, where a repeated segment is translated once."""

    @property
    def memory(self) -> bool:
        """True where translations may come from the memory of earlier runs."""
        return bool(self.rule.remembered)

    def columns(self, context: RunContext, shard: Shard) -> dict[str, list[Any]]:
        """Chooses the translation of each row of a shard; returns columns of the output, as :class:`ChosenRows` has them."""
        return choose_rows(context, self, shard).columns


def of_model(rule: Rule, size: str, stages: tuple[str, ...], context: RunContext, shard: Shard) -> dict[str, list[Any]]:
    """Reads translation, model and status of each row of a shard that a rule gives to one model; empty for the others."""
    mine = decide(ShardRows(context, rule, shard), rule).of(size)
    found = translations(context, stages, shard.index, shard.first_place)
    rows = [found.get(row, NO_TRANSLATION) if own else NO_TRANSLATION for row, own in enumerate(mine.tolist())]
    return {
        "translation": [text for text, _, _ in rows],
        "model": [size] * len(rows),
        "status": [status for _, status, _ in rows],
    }


@dataclass(frozen=True)
class ChosenRows:
    """The chosen translations of the rows of a shard, before they are checked."""

    rows: ShardRows
    statuses: list[str]
    """Statuses from the stage `score`."""
    routed: np.ndarray
    """True where the plan routes a row, shape ``(rows,)``."""
    small: Translations
    large: Translations
    columns: dict[str, list[Any]]
    """Columns of the output: translation, model, route, route_reason, status, error; and from_memory where there is one."""


def choose_rows(context: RunContext, plan: MergePlan, shard: Shard) -> ChosenRows:
    """Chooses the translation of each row of a shard."""
    scores = storage.read_table(context.run.shard_path(score.STAGE, shard.index), columns=["status"])
    rows = ShardRows(context, plan.rule, shard)
    routes, names = decide(rows, plan.rule), reasons()
    small, large = (
        translations(context, stages, shard.index, shard.first_place) for stages in (plan.small, plan.large)
    )
    _give_back(routes, plan.rule, large)
    whys = [None if code == NO_ROUTE else names[code] for code in routes.reason.tolist()]
    statuses = scores["status"].to_pylist()
    if lacking := _lacking(statuses, routes.routed.tolist(), small, large):
        raise _translated_by_other_scores(context, plan, shard, lacking)
    columns = _choose(statuses, routes.routed.tolist(), whys, _preferred(context, plan, shard), small, large)
    if plan.memory:
        known = {
            size: set(remembered_rows(context.run, stage_of(size), shard).tolist())
            for size in (schema.SMALL, schema.LARGE)
        }
        columns[schema.FROM_MEMORY.name] = [
            model is not None and row in known[model] for row, model in enumerate(columns["model"])
        ]
    return ChosenRows(rows, statuses, routes.routed, small, large, columns)


def _give_back(routes: Routes, rule: Rule, large: Translations) -> None:
    """Leaves rows with the small model that were taken back from it, and that the large one was not asked for.

    An engine that dies over such rows is not loaded again.
    """
    taken_back = [number for number, decision in enumerate(rule.decisions) if decision.again == KEPT]
    for row in np.flatnonzero(np.isin(routes.by, taken_back)).tolist() if taken_back else ():
        if row not in large:
            routes.routed[row], routes.small[row], routes.reason[row] = False, True, BELOW_CUT


def _lacking(statuses: list[str], routed: list[bool], small: Translations, large: Translations) -> list[int]:
    """The rows that have no answer of the model that a plan gives them to."""
    return [
        row
        for row, (status, to_large) in enumerate(zip(statuses, routed))
        if status == schema.OK and row not in (large if to_large else small)
    ]


def _translated_by_other_scores(
    context: RunContext, plan: MergePlan, shard: Shard, lacking: list[int]
) -> storage.Damaged:
    """Marks what the newest budget translated of a shard, so that the next start makes it again; gives the error to raise.

    Scores that are lost are made again. On a GPU they may differ, and rows near the cut then change sides.
    """
    run = context.run
    newest = run.plans()[-1]["series"]
    error = storage.Damaged(
        f"shard {shard.index}: {len(lacking)} rows have no answer of the model that they are given to: their scores were made again, and "
        "differ"
    )
    for stage in (*plan.small, *plan.large):
        match, path = _OF_BUDGET.fullmatch(stage), run.shard_path(stage, shard.index)
        if match and int(match[1]) >= newest and storage.exists(path):
            error = storage.mark_damaged(path, error)
    return error


def _preferred(context: RunContext, plan: MergePlan, shard: Shard) -> np.ndarray:
    """True where the judge prefers the small translation of a row, shape ``(rows,)``."""
    if plan.keep_better is None:
        return np.zeros(shard.rows, bool)
    found = judged(context.run, plan.judged, shard.index, shard.first_place, shard.rows)
    # A row that was not judged is NaN, and compares as false.
    preferred: np.ndarray = found[schema.SMALL] > found[schema.LARGE] + plan.keep_better
    return preferred


def translations(context: RunContext, stages: tuple[str, ...], shard: int, first_place: int) -> Translations:
    """Reads (translation, status, error) by row number of the shard. Of several legs, the later one counts."""
    found: Translations = {}
    for table in read_existing(context.run, stages, shard):
        rows = zip(*(table[name].to_pylist() for name in ("place", "translation", "status", "error")))
        found.update((place - first_place, (text, status, error)) for place, text, status, error in rows)
    return found


def _choose(
    statuses: list[str],
    routed: list[bool],
    whys: list[str | None],
    small_preferred: np.ndarray,
    small: Translations,
    large: Translations,
) -> dict[str, list[Any]]:
    """The columns of the output. The translation is that of the routed model. If the large model failed, or the judge
    prefers the small translation, it is that of the small model."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("translation", "model", "route", "route_reason", "status", "error")
    }
    for row, status in enumerate(statuses):
        text = model = route = error = None
        reason = whys[row]
        if status != schema.OK:
            error = schema.STATUS_MEANING.get(status)
        else:
            route = schema.LARGE if routed[row] else schema.SMALL
            text, status, error = (large if routed[row] else small)[row]
            model = route
            if routed[row] and text is None:
                text, status, small_error = small[row]
                error = f"large: {error}" + (f"; small: {small_error}" if small_error else "")
                model = schema.SMALL
            elif routed[row] and small_preferred[row]:
                text, status, error = small[row]
                model, reason = schema.SMALL, KEPT_SMALL
            if text is None:
                model = None
        for name, value in zip(columns, (text, model, route, reason, status, error)):
            columns[name].append(value)
    return columns
