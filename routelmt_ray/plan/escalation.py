"""Rows whose small translation fails a check go to the large model, with the part of the budget that was held for them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan.closed_loop import ClosedLoop
from routelmt_ray.plan.planning import Planner
from routelmt_ray.stages import lengths
from routelmt_ray.stages.check import FindFailing
from routelmt_ray.stages.chosen import of_model

Tasks = Callable[[str, str, Callable[..., Any]], None]
"""(title, stage, function) -> None: runs a function on every shard, as CPU tasks that commit to a stage."""


def escalate(
    planner: Planner, checks: CheckPlan, on_tasks: Tasks, translate: Callable[[], None], loop: ClosedLoop
) -> None:
    """Checks the small translations, routes the rows that fail, translates them, and checks the large translations.

    Every step is committed, so that a later start goes on with the next one. For a budget in rows `translate` carries out the
    large model's leg of the newest entry. For one in hours or money the loop takes rows back; large translations are then not
    checked here, because the budget pays for no other translation of theirs.
    """
    in_rows = not planner.config.budget.by_cost
    for size in (SMALL, LARGE) if in_rows else (SMALL,):
        series, context = planner.series, planner.corpus.context
        stage, plan = series.checked_stage(size), checks
        translated = partial(of_model, series.current_rule(), size, series.stages(size))
        if "length" in checks.actions:
            tallied = f"{stage}-lengths"
            on_tasks("lengths", tallied, lengths.TallyLengths(context, translated, tallied))
            plan = checks.with_lengths(lengths.read_limits(context.run, checks.config.length.min_rows, tallied))
        on_tasks("check", stage, FindFailing(context, translated, plan, stage))
        if not in_rows:
            loop.escalate()
        elif size == SMALL:
            while planner.take_back():
                pass
            translate()
