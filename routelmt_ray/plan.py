"""Plan entries: what a budget routes, written down before it is used, and the legs of work that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from routelmt_ray import cluster, schema
from routelmt_ray.budget import Cut
from routelmt_ray.config_translate import BudgetConfig
from routelmt_ray.rundir import RunDir
from routelmt_ray.schema import LARGE, SMALL
from routelmt_ray.shards import ShardPlan
from routelmt_ray.stages import allocate, score
from routelmt_ray.stages.context import RunContext
from routelmt_ray.stages.merge import MergePlan
from routelmt_ray.stages.translate import Leg

_HISTOGRAM_BINS = 60


@dataclass(frozen=True)
class Entry:
    """One plan entry."""

    number: int
    """Its ordinal: 0 for the first budget of a run directory, one more for each changed one."""
    budget: dict[str, Any]
    """What was asked, as configured."""
    n_rows: int
    """Rows of the corpus."""
    n_eligible: int
    """Rows that got a score; fixed after scoring."""
    cut: Cut
    """What is routed."""
    gain_edges: tuple[float, ...]
    """Edges of the report's histogram of predicted gain."""
    routable: dict[int, tuple[int, int]]
    """(rows routed, rows not routed that can be translated) by shard; recomputed, not kept."""

    def leg(self, size: str) -> Leg:
        """The share of one model: the routed rows for the large one, the others for the small one."""
        return Leg(size, f"{self.number:03d}", self.cut, self._stages(size, self.number))

    def rescue_leg(self) -> Leg:
        """The small model's second share: what the large one failed on."""
        name = f"{self.number:03d}"
        return Leg(
            SMALL,
            f"{name}-fallback",
            self.cut,
            (*self._stages(SMALL, self.number), f"{SMALL}/{name}"),
            f"{LARGE}/{name}",
        )

    def leg_rows(self, size: str) -> dict[int, int]:
        """Rows of the share of one model, by shard; shards without any are left out."""
        at = 0 if size == LARGE else 1
        return {shard: rows[at] for shard, rows in self.routable.items() if rows[at]}

    def merge_plan(self) -> MergePlan:
        """Where every translation of this entry may be."""
        return MergePlan(
            self.cut,
            self._stages(SMALL, self.number + 1),
            self._stages(LARGE, self.number + 1),
            self.gain_edges,
        )

    @staticmethod
    def _stages(size: str, below: int) -> tuple[str, ...]:
        kinds = ("", "-fallback") if size == SMALL else ("",)
        return tuple(f"{size}/{n:03d}{kind}" for n in range(below) for kind in kinds)


def plan_entry(context: RunContext, plan: ShardPlan, config: BudgetConfig) -> Entry:
    """The entry of the configured budget: the newest one if it is for this budget, else a new one, written down."""
    run, budget = context.run, config.asked()
    ranges = [(plan[i].index, plan[i].first_place, plan[i].rows) for i in range(len(plan))]
    metas = run.metas(score.STAGE)
    n_eligible = sum(meta["eligible"] for meta in metas.values())
    entries = run.plans()
    if entries and entries[-1]["budget"] == budget:
        number, cut = entries[-1]["entry"], Cut.from_dict(entries[-1]["cut"])
    else:
        number = len(entries)
        asked = allocate.asked_rows(config, n_eligible)
        cut = allocate.find_cut(run, ranges, asked, context.seed)
        run.write_plan(
            {
                "entry": number,
                "budget": budget,
                "n_rows": plan.rows,
                "n_eligible": n_eligible,
                "k": asked,
                "cut": cut.to_dict(),
            }
        )
    edges = _edges([meta for meta in metas.values() if meta["eligible"]])
    return Entry(number, budget, plan.rows, n_eligible, cut, edges, _count_routes(run, ranges, cut))


def _edges(metas: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """Edges of the report's histogram: even over the bulk of the scores, with one wide bin for the tail on each side."""
    if not metas:
        return ()
    low, high = min(meta["min_gain"] for meta in metas), max(meta["max_gain"] for meta in metas)
    if low == high:
        return low - 0.5, high + 0.5
    first, last = (float(np.median([meta["bulk"][side] for meta in metas])) for side in (0, 1))
    bulk = np.linspace(first, last, _HISTOGRAM_BINS - 1)
    return tuple(np.unique([low, *bulk.tolist(), high]).tolist())


def _count_routes(run: RunDir, ranges: Sequence[tuple[int, int, int]], cut: Cut) -> dict[int, tuple[int, int]]:
    groups = list(allocate.groups(ranges))
    work = [(run, group, cut) for group in groups]
    parts = cluster.each(count_routes, work) if len(groups) > 1 else [count_routes(*words) for words in work]
    return {shard: counts for part in parts for shard, counts in part.items()}


def count_routes(run: RunDir, ranges: Sequence[tuple[int, int, int]], cut: Cut) -> dict[int, tuple[int, int]]:
    """(rows routed, rows not routed that can be translated) of some shards."""
    counts = {}
    for shard, first_place, _ in ranges:
        table = pq.read_table(run.shard_path(score.STAGE, shard), columns=["predicted_gain", "status"])
        routed = int(cut.mask(table["predicted_gain"].to_numpy(), first_place).sum())
        counts[shard] = (routed, table["status"].to_pylist().count(schema.OK) - routed)
    return counts
