"""Finds the rows of a tranche: as many as fit with the empty places of their batches, and then those that fill these places."""

from collections.abc import Callable

from routelmt_ray.budget.closed_loop import Capacity
from routelmt_ray.budget.rule import Band

_TRIES = 7
"""Cuts that are tried."""
_NEAR = 0.02
"""Share of the range of a search at which it ends."""
_EMPTY = 0.4
"""Share of the cost that must be for empty places, so that rows are sought that fill them."""


def fit_rows(cut: Callable[[int], Band], cost: Callable[[Band], float], capacity: Capacity) -> Band:
    """Finds the largest cut, by bisection, whose rows fit with what they take beside; an empty cut if none fits.

    Then it adds rows as far as the cost does not rise. A batch with empty places may cost as much as a full one, and
    tells little about the cost of a full one.

    Args:
        cut: (weight) -> the largest cut whose rows weigh no more.
        cost: (cut) -> what its rows take, with what they take beside their own weight.
        capacity: the largest weight, and the limit for the cost.
    """
    found, cost_now = _largest(cut, cost, 0, capacity.weight, capacity.limit)
    if found is None:
        return cut(0)
    if cost_now - found.cut.weight > _EMPTY * cost_now:
        filled, _ = _largest(cut, cost, found.cut.weight, int(cost_now), cost_now)
        return filled or found
    return found


def _largest(
    cut: Callable[[int], Band], cost: Callable[[Band], float], low: int, high: int, limit: float
) -> tuple[Band | None, float]:
    """Searches the weights from `low` to `high` for the largest cut within a limit, and returns it with its cost."""
    near, tried = _NEAR * (high - low), high
    best, best_cost = None, 0.0
    for _ in range(_TRIES):
        routed = cut(tried)
        if (now := cost(routed)) <= limit:
            low, best, best_cost = tried, routed, now
        else:
            high = tried
        if high - low <= near:
            break
        tried = (low + high) // 2
    return best, best_cost
