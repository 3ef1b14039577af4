"""Rows of a tranche fit with the empty places of their batches, and more rows fill these where that costs nothing."""

from collections.abc import Callable

import pytest

from routelmt_ray.budget import Cut
from routelmt_ray.budget.closed_loop import Capacity
from routelmt_ray.budget.rule import Band
from routelmt_ray.plan.fitting import fit_rows

ROWS, ROW, BATCH_ROWS = 500, 10, 16


def cut(weight: int) -> Band:
    k = min(ROWS, weight // ROW)
    return Band(Cut(k, k * ROW, ROWS, 0.5 if k else None), (1.0, 1.0))


def in_batches(shards: int) -> Callable[[Band], float]:
    """Costs of full batches only; neighbouring rows lie in different shards."""

    def cost(routed: Band) -> float:
        counts = [len(range(shard, routed.cut.k, shards)) for shard in range(shards)]
        return float(sum(-(-count // BATCH_ROWS) * BATCH_ROWS * ROW for count in counts))

    return cost


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_rows_that_only_fill_batches_are_added(shards: int) -> None:
    cost = in_batches(shards)
    found = fit_rows(cut, cost, Capacity(50, 1.0, 1.0, limit=1000))
    assert cost(cut(50)) == cost(found) == shards * BATCH_ROWS * ROW
    assert found.cut.k == shards * BATCH_ROWS


def test_nothing_is_added_where_a_row_costs_the_same_in_any_batch() -> None:
    assert fit_rows(cut, lambda routed: float(routed.cut.weight), Capacity(55, 1.0, 1.0, limit=1000)).cut.k == 5
    assert fit_rows(cut, lambda routed: routed.cut.weight + 400.0, Capacity(55, 1.0, 1.0, limit=1000)).cut.k == 5


def test_batches_beyond_the_limit_are_not_begun() -> None:
    cost = in_batches(2)
    assert 60 <= fit_rows(cut, cost, Capacity(800, 1.0, 1.0, limit=700)).cut.k <= 4 * BATCH_ROWS
    assert fit_rows(cut, cost, Capacity(50, 1.0, 1.0, limit=100)).cut.k == 0
