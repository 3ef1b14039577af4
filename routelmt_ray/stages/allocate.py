"""Allocate: the exact cut over all score shards, by a few histogram passes as plain Ray tasks.

The passes are those of :class:`routelmt_ray.budget.Search`; a task counts a run of shards and the driver adds up.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow.parquet as pq

from routelmt_ray import cluster
from routelmt_ray.budget import Cut, Histogram, Search, rows_for_fraction
from routelmt_ray.config_translate import BudgetConfig
from routelmt_ray.rundir import RunDir
from routelmt_ray.stages import score

_TASK_ROWS = 8_000_000
"""Rows a task counts: about a second's work, so that what Ray adds does not show."""


def asked_rows(budget: BudgetConfig, n_eligible: int) -> int:
    """How many rows a budget allows, before there are fewer to give."""
    if budget.rows is not None:
        return budget.rows
    assert budget.fraction is not None
    return rows_for_fraction(budget.fraction, n_eligible)


def find_cut(run: RunDir, shards: Sequence[tuple[int, int, int]], k: int, seed: int) -> Cut:
    """Finds the cut that routes exactly the k best rows of the corpus.

    Args:
        run: the run directory, all of its scores committed.
        shards: (number, first place, rows) of every shard.
        k: rows to route.
        seed: of the order among equal gains.
    """
    parts_of_corpus = list(groups(shards))
    state: Search | Cut = Search(k=k, seed=seed)
    while isinstance(state, Search):
        work = [(run, group, state) for group in parts_of_corpus]
        # A handful of shards is counted here: it takes less than a task's start.
        parts = cluster.stream(count, work) if len(parts_of_corpus) > 1 else (count(*words) for words in work)
        state = state.advance(sum(parts, Histogram()))
    return state


def count(run: RunDir, shards: Sequence[tuple[int, int, int]], search: Search) -> Histogram:
    """One pass over some shards."""
    return sum((search.histogram(gains(run, shard), first_place) for shard, first_place, _ in shards), Histogram())


def gains(run: RunDir, shard: int) -> np.ndarray:
    """Predicted gains of a shard, shape (rows,), float32, NaN where not eligible."""
    column = pq.read_table(run.shard_path(score.STAGE, shard), columns=["predicted_gain"])["predicted_gain"]
    values: np.ndarray = column.combine_chunks().to_numpy(zero_copy_only=False)
    return values


def groups(shards: Sequence[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    """Runs of neighbouring shards, each about one task's work."""
    group: list[tuple[int, int, int]] = []
    for shard in shards:
        group.append(shard)
        if _rows(group) >= _TASK_ROWS:
            yield group
            group = []
    if group:
        yield group


def _rows(group: list[tuple[int, int, int]]) -> int:
    return group[-1][1] + group[-1][2] - group[0][1]
