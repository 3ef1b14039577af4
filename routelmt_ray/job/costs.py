"""Finds the cost model of a translate run."""

from routelmt_ray.budget.cost import CostModel
from routelmt_ray.budget.price import in_money, planned_prices
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.job.profiling import load_costs, measure_costs
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.progress import Progress


def obtain(config: TranslateConfig, context: RunContext, plan: ShardPlan, progress: Progress) -> CostModel | None:
    """Reads the cost model that `cost.path` names, or measures one on a small sample.

    Returns:
        The cost model, in money where the run plans in money; None where there is neither a budget in hours or money nor a dry
        run.

    Raises:
        ValueError: the given cost model is for other models or pools.
        Refused: no row can be measured.
    """
    if not config.budget.by_cost and not config.budget.dry_run:
        return None
    if config.cost.path is not None:
        cost = load_costs(config.cost.path, config.models, config.router)
    else:
        cost = measure_costs(context, plan, config.router, config.cost.rows, progress, config.ray.rounds)
    prices = planned_prices(config)
    return cost if prices is None else in_money(cost, prices)
