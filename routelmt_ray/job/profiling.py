"""Measures the costs of a run's models on its own hardware: draws a sample, times each model on it, and fits costs.

The profile job calls :func:`measure_costs`, and so does the translate job where it has no cost.json.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from routelmt_ray import storage
from routelmt_ray.budget.cost import SERVED, CostModel, ProbeCost, TranslatorCost, output_mean
from routelmt_ray.budget.cost_fit import Measured, fit_probe, fit_served, fit_translator
from routelmt_ray.budget.price import in_money, planned_prices
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.common import ModelsConfig, PoolConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.profile import ProfileConfig
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import RouterConfig, TranslateConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.engines.artifact import check_match, load_router
from routelmt_ray.engines.translators import model_identity
from routelmt_ray.job import job
from routelmt_ray.runtime import cluster, pipelines
from routelmt_ray.runtime.context import RunContext, to_item
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.runtime.provenance import versions
from routelmt_ray.stages import profile, sample, score
from routelmt_ray.stages.profile import PROBE
from routelmt_ray.storage.rundir import RunDir, differences

log = logging.getLogger(__name__)

COST_FILE = "cost.json"
MIN_GROUPS = 4
"""Least number of groups of rows of similar length, each a full batch where the corpus has enough rows. With these the
cost of tokens can be told from the cost of rows, and one group can be left out."""
POOL = 8
"""Rows that are drawn for each row that is timed, so that the rows of a batch are as similar in length as those of a
shard, which has many rows."""
_PAIRS = b"pairs"


def prepare(config: ProfileConfig) -> job.Preparation:
    """Runs all checks that are possible before Ray starts, and raises ValueError where the job is refused."""
    small, router = config.models.small, config.router
    if router.probes:
        check_match(load_router(str(router.path)), small.path, small.prompt, small.revision)
    return job.prepare(config, "profile", {})


def kept_costs(run: RunDir, models: ModelsConfig, router: RouterConfig, rows: int, seed: int) -> CostModel | None:
    """Reads the costs that :func:`measure_costs` left in a run directory; None where there are none for these arguments."""
    path = run.root / _folder(models, router, rows, seed) / COST_FILE
    return CostModel.load(path) if storage.exists(path) else None


def made_for(models: ModelsConfig, router: RouterConfig) -> dict[str, Any]:
    """Collects the facts for which costs are valid: models with prompts, GPUs that an actor reserves, and whether a
    probe runs."""
    sizes = {
        size: model_identity(model) | {"gpus": model.pool.gpus}
        for size, model in ((SMALL, models.small), (LARGE, models.large))
    }
    return {**sizes, "probe": router.probes}


def load_costs(path: str, models: ModelsConfig, router: RouterConfig) -> CostModel:
    """Reads a cost.json; raises ValueError where it is none, or is for other models or pools than those of a run."""
    costs, wanted = CostModel.load(path), made_for(models, router)
    if not wanted["probe"]:
        costs = dataclasses.replace(costs, probe=ProbeCost(), made_for=costs.made_for | {"probe": False})
    if changed := differences(costs.made_for, wanted):
        raise ValueError(
            f"cost.path {path} was made with other settings:\n  " + "\n  ".join(changed) + "\n(recorded -> wanted). "
            "Make it again with jobs/profile_costs.py, or set cost.path=null"
        )
    return costs


def obtain_costs(config: TranslateConfig, context: RunContext, plan: ShardPlan, progress: Progress) -> CostModel | None:
    """Reads the cost model that `cost.path` names, or measures one on a small sample; in money where the run plans in money.

    None without a budget in hours or money, or a dry run. Raises ValueError where the given costs are for other models.
    """
    if not config.budget.by_cost and not config.budget.dry_run:
        return None
    if config.cost.path is not None:
        cost = load_costs(config.cost.path, config.models, config.router)
    else:
        router, rounds, scored = config.router, config.ray.rounds, context.run.committed(score.STAGE)
        probes = router.probes and len(scored) < len(plan)  # only rows without a score will be probed
        cost = measure_costs(context, plan, router, config.cost.rows, progress, rounds, probes)
    prices = planned_prices(config)
    return cost if prices is None else in_money(cost, prices)


def measure_costs(
    context: RunContext,
    plan: ShardPlan,
    router: RouterConfig,
    rows: int,
    progress: Progress,
    rounds: int = 3,
    probes: bool | None = None,
) -> CostModel:
    """Measures the costs of the probe and both translators on a sample of a run's corpus; Ray must be running.

    One actor of each pool is timed; as many of them run at the same time as fit together. Their work is
    metered as `profile`. The result is kept in the run directory, so that the same costs are never measured twice. `rows` are
    rounded up to full batches, at least :data:`MIN_GROUPS`. With `probes` false the probe is not measured; None: it is if the router
    needs one. Raises Refused where no row of the corpus can be translated, pipelines.StageFailed where a model could not be measured.
    """
    probes = router.probes if probes is None else probes
    folder = _folder(context.models, router, rows, context.seed)
    path = context.run.root / folder / COST_FILE
    if not storage.exists(path):
        _measure(context, plan, router, rows, progress, rounds, folder, probes)
        costs = _fit(context, router, folder, probes)
        storage.write_json(path, costs.to_dict())
    return CostModel.load(path)


def _folder(models: ModelsConfig, router: RouterConfig, rows: int, seed: int) -> str:
    """Folder of a profile in a run directory, named by a hash of the models, their settings, rows and seed."""
    settings = {size: configlib.to_dict(getattr(models, size)) for size in (SMALL, LARGE)}
    for model in settings.values():
        del model["pool"], model["path"]  # made_for has what matters of them
        del model["endpoint"]  # what matters of it is part of the identity of the model
    asked = [made_for(models, router), settings, rows, seed]
    return f"profile/{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]}"


def _measure(
    context: RunContext,
    plan: ShardPlan,
    router: RouterConfig,
    rows: int,
    progress: Progress,
    rounds: int,
    folder: str,
    probes: bool,
) -> None:
    models, root = context.models, context.run.root / folder
    path, batch = root / "sample.parquet", max(models.small.batch_rows, models.large.batch_rows)
    wanted = batch * max(MIN_GROUPS, -(-rows // batch))
    if not storage.exists(path):
        pool = sample.draw(context, plan, min(max(context.input.shard_rows, wanted), POOL * wanted))
        if not pool.pairs:
            raise Refused("input.path: no row of the corpus's sample can be translated; there is nothing to measure")
        tokens = {"source_tokens": pool.source_tokens, "prompt_tokens": pool.prompt_tokens}
        storage.publish_table(root / "pool.parquet", pa.table({"pair": pool.pairs, **tokens}), {})
        timed = pool.take(pick_batches(len(pool.pairs), batch, wanted // batch))
        # The pairs are kept in the schema, because a column of the corpus may have any name.
        table = timed.table.replace_schema_metadata({_PAIRS: json.dumps(timed.pairs)})
        storage.publish_table(path, table, {})
    n = storage.count_rows(path)
    groups = ShardPlan([str(path)], [n], -(-n // max(MIN_GROUPS, -(-n // batch))))
    group_rows = {i: groups[i].rows for i in range(len(groups))}

    def work(name: str) -> pipelines.Work:
        stage, pool = f"{folder}/{name}", dataclasses.replace(profile.model_of(context, name).pool, actors=1)

        def pipeline(items: Dataset) -> Dataset:
            prompts = pipelines.on_tasks(items, profile.ReadSample(context, name), first=True)
            torch = profile.model_of(context, name).kind.runs_here
            measured = pipelines.on_actors(prompts, profile.TimeRows, (context, name, router), pool, torch=torch)
            return pipelines.on_tasks(measured, profile.commit_times(context, stage))

        return pipelines.Work.of_stage(f"profile, {name}", stage, group_rows, lambda i: to_item(groups[i]), pipeline)

    names = [PROBE, LARGE, SMALL] if probes else [LARGE, SMALL]
    pools = [dataclasses.replace(profile.model_of(context, name).pool, actors=1) for name in names]
    for first, last in at_once(pools):
        pipelines.run(context.run, [work(name) for name in names[first:last]], rounds, progress)


def at_once(pools: Sequence[PoolConfig]) -> list[tuple[int, int]]:
    """Decides which pools are timed at the same time: as many of the last ones as fit together, each of the others before them.

    A probe, the first of three, is timed alone if it shares its GPU: so it runs when a corpus is scored. Returns the first
    pool and the end of each group.
    """
    alone = len(pools) - 2 if 0 < pools[0].gpus < 1 else 0
    while alone < len(pools) - 1 and not cluster.pools_fit_together(pools[alone:]):
        alone += 1
    return [*((i, i + 1) for i in range(alone)), (alone, len(pools))]


def pick_batches(rows: int, batch_rows: int, batches: int) -> np.ndarray:
    """Selects the rows that are timed: whole batches, evenly spaced among those that an engine forms of sorted rows.

    Rows are numbered by length, shortest first; all are taken where there are no more full batches than wanted.
    """
    there = rows // batch_rows
    if there <= batches:
        return np.arange(rows)
    chosen = [(2 * i + 1) * there // (2 * batches) for i in range(batches)]  # the middle of each even stretch
    starts = [rows - (i + 1) * batch_rows for i in reversed(chosen)]  # engines begin with the longest
    return np.concatenate([np.arange(start, start + batch_rows) for start in starts])


def _fit(context: RunContext, router: RouterConfig, folder: str, probes: bool) -> CostModel:
    pairs = json.loads(storage.read_schema(context.run.root / folder / "sample.parquet").metadata[_PAIRS])
    names, codes = np.unique(pairs, return_inverse=True)
    small = _columns(context.run, f"{folder}/{SMALL}")

    def measured(name: str) -> tuple[Measured, str, float]:
        stage = f"{folder}/{name}"
        own, metas = _columns(context.run, stage), context.run.metas(stage)
        runs = [
            (group, whole, seconds)
            for group, meta in metas.items()
            for whole, key in ((True, "whole_s"), (False, "one_token_s"))
            for seconds in meta[key]
        ]
        run_group, run_whole, run_device_s = (np.array(values) for values in zip(*runs))
        group = np.repeat(list(metas), [meta["rows"] for meta in metas.values()])
        data = Measured(
            tuple(names.tolist()), group, codes, small["source_tokens"], small["prompt_tokens"], own["prompt_tokens"],
            own["output_tokens"], run_group, run_whole, run_device_s,
        )  # fmt: skip
        first = next(iter(metas.values()))
        return data, first["unit"], float(np.mean([meta["load_s"] for meta in metas.values()]))

    def fitted(size: str) -> TranslatorCost:
        data, unit, load_s = measured(size)
        return fit_served(data) if unit == SERVED else fit_translator(data, unit, load_s)

    devices = {name: next(iter(context.run.metas(f"{folder}/{name}").values()))["device"] for name in (SMALL, LARGE)}
    costs = CostModel(
        " and ".join(dict.fromkeys(devices.values())),
        len(pairs),
        fit_probe(*measured(PROBE)) if probes else ProbeCost(),
        fitted(SMALL),
        fitted(LARGE),
        {},
        made_for(context.models, router) | {"probe": probes},
        versions(),
    )
    # The drawn rows have the lengths and pairs of the corpus in proportion, so their mean is that of the corpus.
    pool = storage.read_table(context.run.root / folder / "pool.parquet")
    source_tokens, prompt_tokens = pool["source_tokens"].to_numpy(), pool["prompt_tokens"].to_numpy()
    pool_names, pool_codes = np.unique(pool["pair"].to_pylist(), return_inverse=True)
    means = {PROBE: costs.probe_seconds(prompt_tokens)} | {
        size: costs.row_seconds(size, prompt_tokens, source_tokens, pool_codes, pool_names.tolist())
        for size in (SMALL, LARGE)
    }
    for size in (SMALL, LARGE):
        if (cost := costs.translator(size)).unit == SERVED:
            means[output_mean(size)] = cost.output_tokens(source_tokens, pool_codes, pool_names.tolist())
    return dataclasses.replace(costs, mean_row_s={name: float(seconds.mean()) for name, seconds in means.items()})


def _columns(run: RunDir, stage: str) -> dict[str, np.ndarray]:
    tables = [storage.read_table(run.shard_path(stage, group)) for group in sorted(run.committed(stage))]
    table = pa.concat_tables(tables)
    return {name: table[name].to_numpy() for name in profile.COLUMNS.names}
