"""Where a translate run has its cost model from."""

import logging

from routelmt_ray.budget.cost import CostModel
from routelmt_ray.config_translate import TranslateConfig
from routelmt_ray.progress import Progress
from routelmt_ray.shards import ShardPlan
from routelmt_ray.stages.context import RunContext

log = logging.getLogger(__name__)


def obtain(config: TranslateConfig, context: RunContext, plan: ShardPlan, progress: Progress) -> CostModel | None:
    """The cost model a budget in hours or a dry run needs: the given one, or one measured on a small sample.

    Raises:
        Refused: the given one is of other models, or no row can be measured.
    """
    if config.budget.gpu_hours is None and not config.budget.dry_run:
        return None
    from routelmt_ray.profiling import load_costs, measure_costs

    if config.cost.path is not None:
        return load_costs(config.cost.path, config.models, config.router)
    return measure_costs(context, plan, config.router, config.cost.rows, progress, config.ray.rounds)
