"""Selects the rows of a shard that a leg of a plan has to translate."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from routelmt_ray import storage
from routelmt_ray.budget.rule import Rule
from routelmt_ray.config.schema import LARGE
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages.routes import ShardRows, decide


@dataclass(frozen=True)
class Nothing:
    """Selects no row."""

    def __call__(self, context: RunContext, shard: Shard) -> np.ndarray:
        return np.arange(0)


@dataclass(frozen=True)
class Settled:
    """Selects the rows that a rule has given to one model, without the audit's rows, which both models translate."""

    rule: Rule
    size: str
    """`small` or `large`."""
    by: int | None = None
    """Number of the decision; None takes the rows of all decisions."""

    def __call__(self, context: RunContext, shard: Shard) -> np.ndarray:
        rows = ShardRows(context, self.rule, shard)
        routes = decide(rows, self.rule)
        mine = (routes.routed if self.size == LARGE else routes.small) & ~rows.audit
        return np.flatnonzero(mine if self.by is None else mine & (routes.by == self.by))


@dataclass(frozen=True)
class Candidates:
    """Selects the rows whose small translation a guard needs."""

    rule: Rule
    """The rule, which has the candidates."""

    def __call__(self, context: RunContext, shard: Shard) -> np.ndarray:
        return np.flatnonzero(ShardRows(context, self.rule, shard).candidates)


@dataclass(frozen=True)
class Audited:
    """Selects the rows of the audit."""

    rule: Rule
    """The rule, which has the cut of the draw."""

    def __call__(self, context: RunContext, shard: Shard) -> np.ndarray:
        return np.flatnonzero(ShardRows(context, self.rule, shard).audit)


@dataclass(frozen=True)
class Failed:
    """Selects the routed rows that the large model could not translate, or whose translation fails a check that escalates."""

    rule: Rule
    stages: tuple[str, ...]
    """Stages with the large model's translations."""
    checked: tuple[str, ...] = ()
    """Stages with the rows that fail a check."""

    def __call__(self, context: RunContext, shard: Shard) -> np.ndarray:
        routed = failed = np.flatnonzero(decide(ShardRows(context, self.rule, shard), self.rule).routed)
        for stage in self.stages:
            path = context.run.shard_path(stage, shard.index)
            if storage.exists(path):
                table = storage.read_table(path, columns=["place", "translation"])
                there = table.filter(pc.is_valid(table["translation"]))["place"].to_numpy() - shard.first_place
                failed = np.setdiff1d(failed, there)
        for stage in self.checked:
            places = storage.read_table(context.run.shard_path(stage, shard.index), columns=["place"])[
                "place"
            ].to_numpy()
            failed = np.union1d(failed, np.intersect1d(routed, places - shard.first_place))
        return failed
