"""Selects the rows of a shard that a leg of a plan has to translate; each function gives their numbers inside the shard."""

import numpy as np

from routelmt_ray.budget.rule import Rule
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages.routes import ShardRows, decide


def nothing(context: RunContext, shard: Shard) -> np.ndarray:
    """Selects no row."""
    return np.arange(0)


def settled(rule: Rule, size: str, by: int | None, context: RunContext, shard: Shard) -> np.ndarray:
    """Selects the rows that a rule, or only its decision `by`, has given to one model, without those of the audit, which both
    translate."""
    rows = ShardRows(context, rule, shard)
    routes = decide(rows, rule)
    mine = routes.of(size) & ~rows.audit
    return np.flatnonzero(mine if by is None else mine & (routes.by == by))


def candidates(rule: Rule, context: RunContext, shard: Shard) -> np.ndarray:
    """Selects the rows whose small translation a guard needs."""
    return np.flatnonzero(ShardRows(context, rule, shard).candidates)


def audited(rule: Rule, context: RunContext, shard: Shard) -> np.ndarray:
    """Selects the rows of the audit."""
    return np.flatnonzero(ShardRows(context, rule, shard).audit)


def failed(
    rule: Rule, stages: tuple[str, ...], checked: tuple[str, ...], context: RunContext, shard: Shard
) -> np.ndarray:
    """Selects the routed rows that have no translation in any of `stages`, or that are named as failing in one of `checked`."""
    rows = ShardRows(context, rule, shard)
    return np.flatnonzero(decide(rows, rule).routed & (~rows.translated(stages) | rows.named(checked)))
