"""The fields that all entries of a series share: strata, the draw of the audit, and work that earlier budgets paid."""

from typing import Any

from routelmt_ray.budget.rule import Rule
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.plan import plan as plans
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.stages.memory import stage_of


def base_of(config: TranslateConfig, corpus: ScoredCorpus, rule: Rule) -> dict[str, Any]:
    """Collects the fields that all entries of a new series share."""
    budget, run = config.budget, corpus.context.run
    earlier = {size: list(plans.earlier_stages(run, size)) for size in (SMALL, LARGE)}
    known = {size: [stage_of(size)] if rule.remembered else [] for size in earlier}
    pays = budget.by_cost  # a budget in rows routes exactly the best, translated before or not
    audit = corpus.audit_cut(config.audit.rows) if config.audit.rows else None
    base: dict[str, Any] = {
        "audit": audit and audit.to_dict(),
        **{f"earlier_{size}": [*known[size], *stages] for size, stages in earlier.items()},
        **{f"paid_{size}": [*known[size], *(stages if pays else [])] for size, stages in earlier.items()},
        "strata": None,
    }
    if rule.stratified:
        floors, caps = (
            {_pair(name): share for name, share in shares.items()} for shares in (budget.floors, budget.caps)
        )
        base["strata"] = corpus.find_strata(rule, floors, caps).to_dict()
    return base


def _pair(name: str) -> str:
    """A language pair in the form that scores use; any other text unchanged."""
    return name.replace("->", "→")
