"""Candidates: rows whose small translation is judged before they may go to the large model."""

from collections.abc import Callable
from dataclasses import replace

from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan.plan import CANDIDATES
from routelmt_ray.plan.planning import ALL, Planner

_JUDGE_SAMPLE = 256
"""Rows whose translation is judged to learn the cost of judging."""
_SPARE = 1.25
"""Candidates are named for this many times the budget, because the small translations of some will be good enough."""
_LEAST_NEW = 0.1
"""Least share of what is left to the large model for which more candidates are named, of a budget in hours or money."""


def name_candidates(planner: Planner, room_left: Callable[[], int | None]) -> bool:
    """Selects rows whose small translation must be judged, until enough of them may be routed.

    With a guard that judges first no other row is routed. With `keep_better` alone and a budget in hours, a few rows are
    judged to learn the cost of judging. `room_left` gives what the large model may add, None for a budget in rows. Returns
    True where the newest entry names candidates that must be translated and judged now.
    """
    judges_first = planner.rule.judges_first
    if not judges_first and (planner.config.guard.keep_better is None or planner.k is not None):
        return False
    entries, run = planner.series.entries, planner.corpus.context.run
    if entries and entries[-1]["kind"] != CANDIDATES:
        return False
    if entries and len(run.committed(f"judge/{entries[-1]['entry']:03d}")) < len(planner.corpus.plan):
        return True
    room = room_left() or 0
    if entries and (not judges_first or _enough(planner, room)):
        return False
    rule = replace(planner.rule, candidates=None)
    if not judges_first:
        named = planner.cut(rule, k=_JUDGE_SAMPLE)
    elif planner.k is not None:
        named = planner.cut(rule, k=int(_SPARE * planner.k) + 16)
    else:
        named = planner.cut(rule, capacity=sum(_weights(planner, room)) + 1)
    planner.write(CANDIDATES, candidates=named.to_dict())
    return True


def _enough(planner: Planner, room_left: int) -> bool:
    named = planner.series.last["candidates"]["cut"]
    if planner.k is not None:
        enough = planner.cut(planner.rule, k=ALL).cut.k >= planner.k
    else:
        enough = _weights(planner, room_left)[1] <= _LEAST_NEW * room_left
    return enough or named["k"] == named["n_eligible"]


def _weights(planner: Planner, room_left: int) -> tuple[int, int]:
    """Computes the weight of the candidates that may be routed, and of those to add, of a budget in hours or money.

    A new one costs its small translation and a judgement besides. Before judgements are measured, one is as dear as both
    translations.
    """
    cost, within = planner.rule.cost, 0
    assert cost is not None
    small, large = cost.mean_row_s[SMALL], cost.mean_row_s[LARGE]
    if planner.series.of(CANDIDATES):
        within = planner.cut(planner.rule, k=ALL).cut.weight
    extra = small + (planner.judgement_cost() or small + large)
    share = max(0.0, large - small) / max(large - small + extra, 1e-12)  # weights are the extra cost of the large model
    return within, int(_SPARE * share * max(0, room_left - within))
