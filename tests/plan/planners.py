"""Planners over a small scored corpus, and the rows that their legs have."""

import numpy as np

from routelmt_ray.config.budget import BudgetConfig
from routelmt_ray.config.translate import AuditConfig, GuardConfig, RouterConfig, TranslateConfig
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.plan.plan import configured_rule
from routelmt_ray.plan.planning import Planner
from routelmt_ray.stages.translate import Leg
from tests.budget.corpora import full_sort
from tests.stages.scored import COST, SEED

Scored = tuple[ScoredCorpus, dict[str, np.ndarray]]
HOURS = BudgetConfig(gpu_hours=0.01)


def start(scored: Scored, budget: BudgetConfig, guard: GuardConfig | None = None, audit_rows: int = 0) -> Planner:
    corpus, columns = scored
    config = TranslateConfig(
        run_dir="run", input=corpus.context.input, models=corpus.context.models, budget=budget,
        router=RouterConfig(kind="length", scale=1.0), guard=guard or GuardConfig(), audit=AuditConfig(rows=audit_rows),
    )  # fmt: skip
    cost = COST if budget.gpu_hours is not None else None
    eligible = int((~np.isnan(columns["predicted_gain"])).sum())
    return Planner.start(config, corpus, configured_rule(config, cost), eligible)


def places(corpus: ScoredCorpus, leg: Leg) -> list[int]:
    shards = (corpus.plan[i] for i in range(len(corpus.plan)))
    return np.concatenate([leg.places(corpus.context, shard) for shard in shards]).tolist()


def ranked(columns: dict[str, np.ndarray], above: float = -np.inf) -> list[int]:
    gains = columns["predicted_gain"]
    return full_sort(np.where(gains > above, gains, np.float32("nan")), SEED)
