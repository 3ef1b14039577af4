"""The parts of the translate job around its pipeline: its checks, its planner, its output folder and its report."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.budget.price import prices_of
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.checks.terms import Glossary, read_glossary
from routelmt_ray.config.common import ONCE, PoolConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.guards import GUARDS
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import RouterConfig, TranslateConfig
from routelmt_ray.corpus.memory import Memory, open_memory
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.engines.artifact import check_match, folder_identity, load_router
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.translators import memory_identity
from routelmt_ray.job import job
from routelmt_ray.job.profiling import load_costs
from routelmt_ray.job.sections import sections_of
from routelmt_ray.metrics.judges import check_judge, judge_pool
from routelmt_ray.plan import plan
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.plan.asked import is_asked_before_costs
from routelmt_ray.plan.closed_loop import ClosedLoop
from routelmt_ray.plan.forecast import forecast
from routelmt_ray.plan.judging import judging_both
from routelmt_ray.plan.plan import Series
from routelmt_ray.plan.planning import Planner
from routelmt_ray.plan.risk import check_promise
from routelmt_ray.reports.collect import build_report
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.runtime.telemetry import figures
from routelmt_ray.stages import lengths, memory, merge, output, score, shared
from routelmt_ray.stages.check import output_columns
from routelmt_ray.stages.chosen import MergePlan
from routelmt_ray.storage.rundir import SUCCESS, RunDir

log = logging.getLogger(__name__)


def prepare(config: TranslateConfig) -> job.Preparation:
    """Runs all checks that are possible before Ray starts, and raises ValueError where the job is refused."""
    router = config.router
    small, trained = config.models.small, load_router(str(router.path)) if router.scorer.trained else None
    if trained is not None and (router.probes or trained.reads_prompts):
        if not small.kind.has_model:
            raise ValueError(
                f"router.path {router.path}: its table of words reads the tokens of prompts, and models.small.engine={small.engine} "
                "has none; use an engine with a tokenizer"
            )
        check_match(trained, small.path, small.prompt, small.revision)
    if trained is not None and not router.probes:
        _ = trained.words_alone
    elif trained is not None:
        for name, limit in config.guard.limits.items():
            if (head := GUARDS[name].head) and head not in trained.heads:
                raise ValueError(
                    f"guard.{name} is {limit}, but router.path {router.path} has only the heads {', '.join(trained.heads)}; "
                    f"train one with heads=[gain,{head}]"
                )
    CheckPlan.of(config).check_packages()
    glossary = glossary_of(config) or Glossary()
    if config.cost.path is not None:
        load_costs(config.cost.path, config.models, router)
    if judge_pools(config):
        check_judge(config.guard, config.models)
    identity: dict[str, Any] = {"router": router_identity(router)}
    if terms := _terms_in_prompts(config, glossary):
        identity["terms"] = terms
    if config.memory.path is not None:
        if isinstance(folder := storage.path(config.memory.path), Path) and folder.is_file():
            raise ValueError(f"memory.path is {config.memory.path}, a file; name a folder")
        if f"{folder}/".startswith(f"{storage.path(config.run_dir)}/"):
            raise ValueError(
                f"memory.path is {config.memory.path}, in run_dir {config.run_dir}: a memory is for many runs; name a folder "
                "elsewhere"
            )
        models, too_long = config.models, config.input.too_long
        identity["memory"] = {
            size: memory_identity(f"models.{size}", model, too_long) | ({"terms": terms[size]} if size in terms else {})
            for size, model in ((SMALL, models.small), (LARGE, models.large))
        }
    numbers = router.scorer.columns(router)
    texts = {"budget.strata": config.budget.strata} if config.budget.strata else {}
    preparation = job.prepare(config, "translate", identity, numbers, texts)
    check_promise(config, preparation.identity)
    return replace(preparation, glossary=glossary) if terms else preparation


def judge_pools(config: TranslateConfig) -> dict[str, PoolConfig]:
    """Gets the pool of the judge of a guard or an audit, by its key; none without a judge."""
    guard = config.guard
    judges = guard.needs_judge or config.audit_metric == "judge"
    return {f"guard.{guard.judge}.pool": judge_pool(guard, config.models)} if judges else {}


def glossary_of(config: TranslateConfig) -> Glossary | None:
    """Reads the glossary of a job, None without one; raises ValueError where the file cannot be used."""
    return None if config.glossary.path is None else read_glossary(config.glossary.path)


def _terms_in_prompts(config: TranslateConfig, glossary: Glossary) -> dict[str, list[str]]:
    """Collects the facts that identify the terms in the prompts of each model: a digest, and the template.

    Models whose prompts have no place for terms are left out, which is logged.
    """
    if not (config.glossary.prompt and glossary.terms):
        return {}
    models = {SMALL: config.models.small, LARGE: config.models.large}
    templates = {
        size: load_family(model.prompt).with_terms if model.kind.has_model else "" for size, model in models.items()
    }
    if without := [f"models.{size}" for size, template in templates.items() if not template]:
        log.info(
            "glossary.path: the terms are counted, but the prompts of %s have no place for them (`with_terms` in a prompt family)",
            " and ".join(without),
        )
    return {size: [glossary.digest, template] for size, template in templates.items() if template}


def memories_of(config: TranslateConfig, preparation: job.Preparation) -> dict[str, Memory]:
    """Opens the memory of each model: a folder for all runs that have the same model, prompt and limits; none without a memory."""
    if config.memory.path is None:
        return {}
    return {
        size: open_memory(config.memory.path, identity) for size, identity in preparation.identity["memory"].items()
    }


def router_identity(router: RouterConfig) -> dict[str, object]:
    """Collects the facts that determine the scores of a router. A run directory is bound to them."""
    files = folder_identity(str(router.path), None) if router.scorer.trained else None
    return {"kind": router.kind, "files": files, "column": router.column} | router.settings


def is_finished(config: TranslateConfig) -> bool:
    """Tells whether the run directory has the finished, undamaged output of this budget; false for a dry run."""
    run = RunDir(config.run_dir)
    manifest, entries = run.manifest(), run.plans()
    if manifest is None or not entries or config.budget.dry_run:
        return False
    return (
        is_asked_before_costs(entries[-1], config)
        and manifest.get("output_checks", {}) == CheckPlan.of(config).identity
        and manifest.get("output_terms") == ((glossary := glossary_of(config)) and glossary.digest)
        and job.has_whole_output(run, manifest)
    )


def open_planner(config: TranslateConfig, context: RunContext, shards: ShardPlan, cost: CostModel | None) -> Planner:
    """Opens the planner of a scored corpus with the series of this budget; raises Refused where that does not fit."""
    metas = list(context.run.metas(score.STAGE).values())
    n_eligible, with_repeats, new = sum(meta["eligible"] for meta in metas), None, None
    if config.input.duplicates == ONCE:
        with_repeats = sum(meta["eligible_rows"] for meta in metas)
    if config.memory.path is not None:
        new = sum(meta["new"] for meta in metas)
    rule = plan.configured_rule(config, cost)
    try:
        planner = Planner.start(config, ScoredCorpus(context, shards), rule, n_eligible, with_repeats, new)
    except ValueError as error:
        raise Refused(str(error)) from None
    figures().prices = prices_of(config.price)
    figures().promised(planner.series.base.get("risk"))
    return planner


def allocate(planner: Planner, progress: Progress) -> None:
    """Settles every row for a budget in rows, unless an earlier start has written the plan."""
    if planner.series.settled:
        return
    rows = planner.corpus.plan.rows
    with progress.stage("allocate", rows) as bar:
        planner.settle()
        bar.advance(rows)
    figures().routed(planner.series.last["tally"]["routed"], planner.n_eligible)


def merge_plan(config: TranslateConfig, planner: Planner) -> MergePlan:
    """Collects the input of the merge: the rule, the stages of both models, the settings of guard and audit, and the
    checks."""
    series, run = planner.series, planner.corpus.context.run
    return MergePlan(
        series.current_rule(),
        series.stages(SMALL),
        series.stages(LARGE),
        config.guard.keep_better,
        (judging_both(series).stage,),
        config.audit_metric,
        merge.gain_edges([meta for meta in run.metas(score.STAGE).values() if meta["eligible"]]),
        CheckPlan.of(config),
        glossary_of(config),
        sections_of(config.input, planner.corpus.plan),
    )


def added_columns(config: TranslateConfig) -> pa.Schema:
    """Lists the columns that this run adds to those of the corpus."""
    return output_columns(CheckPlan.of(config), config.input.duplicates, config.memory.path is not None)


def with_limits(plan: MergePlan, run: RunDir) -> MergePlan:
    """Adds the limits of length to the checks, once the lengths of all shards are tallied."""
    return replace(plan, checks=plan.checks.with_lengths(lengths.read_limits(run, plan.checks.config.length.min_rows)))


def start_output(config: TranslateConfig, run: RunDir, series: Series, plan: MergePlan) -> None:
    """Removes output of another series, or with other columns, checks, terms or measures, and records the facts of the
    new output."""
    made = {
        "output_series": series.first,
        "output_columns": added_columns(config).names,
        "output_checks": plan.checks.identity,
        "output_terms": plan.glossary and plan.glossary.digest,
        "output_audit": config.audit_measure,
        "output_format": merge.FORMAT,
    }
    # Other checks may find other rows good enough for the memory.
    added = (memory.made_stage(series.first), memory.added_stage(series.first))
    job.start_output(run, made, (output.STAGE, output.QUARANTINE, lengths.STAGE, shared.FOLDER, *added))


def finish_dry_run(
    config: TranslateConfig,
    planner: Planner,
    loop: ClosedLoop,
    progress: Progress,
    account: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Forecasts the effect of the budget, writes it to the report, and marks the run as a dry run."""
    run = planner.corpus.context.run
    manifest = job.ended(run, "dry run")
    report = build_report(config, planner, manifest, progress, forecast(planner, loop.room_left()), account)
    _publish(run, report)
    run.write_manifest(manifest)
    return report


def finish(
    config: TranslateConfig,
    planner: Planner,
    progress: Progress,
    estimated: dict[str, Any] | None,
    account: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Sums up the records of all commits, writes the report, with forecast and account if any, and marks the run as done."""
    context = planner.corpus.context
    run = context.run
    if not len(planner.corpus.plan):  # an empty corpus still has an output with the right columns
        output.commit_empty(context, added_columns(config))
    manifest = job.ended(run, "done")
    report = build_report(config, planner, manifest, progress, estimated, account)
    manifest["overspent"] = overspent = (report["spend"] or {}).get("overspent")
    if overspent:
        log.warning(
            "the budget of %.6g %s was exceeded by %.3g: %s", *_exceeded(report["spend"]), "; ".join(overspent["reasons"]),
        )  # fmt: skip
    _publish(run, report)
    storage.write_text(run.folder(output.STAGE) / SUCCESS, "")
    run.write_manifest(manifest)
    return report


def _exceeded(spend: dict[str, Any]) -> tuple[float, str, float]:
    """A budget that was exceeded, its unit, and by how much."""
    money, overspent = spend["money"], spend["overspent"]
    if "money" in overspent:
        return money["budget"], money["currency"], overspent["money"]
    return spend["budget_s"], "device-seconds", overspent["seconds"]


def _publish(run: RunDir, report: dict[str, Any]) -> None:
    # Imported here because it loads matplotlib, and no start should wait for that.
    from routelmt_ray.reports.pages import run_page

    storage.write_json(run.root / "report.json", report)
    storage.write_text(run.root / "report.html", run_page(report))
