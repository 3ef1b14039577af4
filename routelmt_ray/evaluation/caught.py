"""Measures how many of the rows whose small translation fails a check a scorer routes: caught@p."""

from collections.abc import Mapping, Sequence

import numpy as np

from routelmt_ray.budget.fraction import rows_of_each
from routelmt_ray.evaluation.bootstrap import BLOCK, Ranking
from routelmt_ray.metrics.ties import Array


def caught_weighted(
    scores: Mapping[str, Array], failing: Array, weights: Array, fractions: Sequence[float]
) -> dict[str, dict[str, Array]]:
    """Computes the share of the failing rows that each scorer routes, under each row of weights.

    Args:
        scores: scores by scorer, shape (rows,), finite.
        failing: 1 where the small translation of a row fails a check, else 0, shape (rows,).
        weights: shape (resamples, rows), integers >= 0.
        fractions: budgets p, as shares of the rows.

    Returns:
        By scorer and `caught@p`, shape (resamples,). NaN where a resample has no failing row.
    """
    block = max(1, BLOCK // len(failing))
    parts: dict[str, dict[str, list[Array]]] = {name: {f"caught@{p:g}": [] for p in fractions} for name in scores}
    for start in range(0, max(len(weights), 1), block):
        some = np.ascontiguousarray(weights[start : start + block].T)
        all_failing, n = failing @ some, some.sum(axis=0)
        whole = np.where(all_failing > 0, all_failing, np.nan)
        for name, score in scores.items():
            ranking = Ranking(score, some)
            for p in fractions:
                taken = failing[ranking.order] @ ranking.taken(rows_of_each(p, n).astype(float))
                parts[name][f"caught@{p:g}"].append(taken / whole)
    return {name: {key: np.concatenate(found) for key, found in by.items()} for name, by in parts.items()}
