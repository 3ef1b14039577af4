"""The offer of a scored corpus to an account, and the cost of its job if no row is routed."""

from __future__ import annotations

from typing import Any

from routelmt_ray.account.offer import Offer
from routelmt_ray.budget.rule import Decision
from routelmt_ray.plan.closed_loop import ClosedLoop
from routelmt_ray.plan.forecast import count_curve
from routelmt_ray.plan.planning import Planner

_UNPLANNED = 0.005
"""Share of a budget in hours that is never planned with; see budget/closed_loop.py."""
_MARGIN = 1.07
"""Seconds that a budget needs for each second that a row is profiled to take more on the large model: its rate is never
known better than this."""


def tonight(planner: Planner) -> tuple[Offer, float]:
    """Sums up what the scored rows of a job offer; all rows must be scored.

    Args:
        planner: of the job, before it has decided anything. Its budget may be any; that in hours needs a cost model.

    Returns:
        The offer, and the device-seconds that the job wants beside, for engines that die: 0 for a budget in rows.
    """
    floors = planner.rule.then(Decision(None, None, final=False))
    rows, gain, extra_s = count_curve(planner.corpus, floors)
    if planner.k is not None:
        return Offer.of_bins(planner.n_eligible, float(planner.outlook().routed), gain, rows), 0.0
    position = ClosedLoop(planner, _no_work, _no_work).position()
    cost = planner.rule.cost
    assert cost is not None
    need_s = position.committed_s + position.small_todo_s * (cost.small.relative_error or 0.0)
    base_s, reserve_s = (seconds / (1 - _UNPLANNED) for seconds in (need_s, position.reserve_s))
    return Offer.of_bins(planner.n_eligible, base_s, gain, _MARGIN * extra_s), reserve_s


def _no_work(*_: Any, **__: Any) -> Any:
    raise AssertionError("only its position is asked for")
