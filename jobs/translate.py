"""Translate a corpus with a small and a large model under a budget.

    python jobs/translate.py --config configs/demo.yaml [key=value ...]
    python jobs/translate.py … budget.gpu_hours=40 budget.dry_run=true     what would 40 GPU-hours buy?
    python jobs/translate.py … budget.money=500 price.small.gpu_hour=2.5 price.large.gpu_hour=2.5     500 dollars for the job
    python jobs/translate.py … account.path=accounts/news account.gpu_hours=400     its part of 400 in this month

For every row, a router predicts the gain of the large model from the small model's prompt state. The budget is spent
on the rows of the whole corpus with the highest predicted gain (per second or per dollar, where the budget is in hours or money). Every input
row is written once, in order, to <run_dir>/output. The same command on the same run directory resumes; a changed budget
reuses all scores and all finished translations.

Exit status: 0 everything is committed; 1 failed, and can be resumed by the same command; 2 the configuration, the
budget or the run directory was refused; 3 finished, with more rows in quarantine than output.max_quarantine_share; 143
stopped by SIGTERM or 130 by SIGINT, and can be resumed.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ray.data import Dataset

from routelmt_ray import storage
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.job import accounts, command, job, profiling, threshold, translation
from routelmt_ray.job.account_advance import Advance
from routelmt_ray.job.account_calls import reserve_calls
from routelmt_ray.job.sections import section_works, sections_of
from routelmt_ray.metrics.judges import judge_pool, judge_python
from routelmt_ray.plan.candidates import name_candidates
from routelmt_ray.plan.closed_loop import ClosedLoop
from routelmt_ray.plan.due import Written, entry_of
from routelmt_ray.plan.escalation import escalate
from routelmt_ray.plan.forecast import forecast
from routelmt_ray.plan.judging import judging_both, judging_candidates
from routelmt_ray.plan.legs import tasks_of
from routelmt_ray.plan.plan import LegOf
from routelmt_ray.reports.summary import print_summary
from routelmt_ray.runtime import cluster, pipelines
from routelmt_ray.runtime.context import to_item
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.stages import judge, lengths, memory, merge, output, repeats, score, shared, translate
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger("routelmt_ray.translate")


def main(argv: list[str]) -> int:
    """Runs the job; returns its exit status."""
    with command.ending() as end:
        with command.checking():
            config = accounts.with_budget(
                threshold.resolve_threshold(command.configure(TranslateConfig, __doc__, argv))
            )
            preparation = translation.prepare(config)
            finished = translation.is_finished(config)
        if finished:
            log.info("run_dir %s is finished and the budget is the same: nothing to do", config.run_dir)
            report = storage.read_json(RunDir(config.run_dir).root / "report.json")
        else:
            with command.working(config, translation.judge_pools(config)) as progress, accounts.at_work(config):
                report = run(config, preparation, progress)
        print_summary(report)
        end.status = 0 if config.budget.dry_run else job.exit_status(config)
    return end.status


def run(config: TranslateConfig, preparation: job.Preparation, progress: Progress) -> dict[str, Any]:
    """Runs the pipeline from corpus to output and returns the report of the run; Ray must be running."""
    context, plan = job.open_run(preparation, translation.added_columns(config).names)
    run_dir, small, large = context.run, config.models.small, config.models.large

    def carry_out(
        works: list[pipelines.Work], on_commit: Any = None, *, in_order: bool = False, tries: int | None = None
    ) -> None:
        rounds = min(config.ray.rounds, tries or config.ray.rounds)
        pipelines.run(run_dir, works, rounds, progress, on_commit, in_order=in_order)

    def work(title: str, stage: str, pipeline: Callable[[Dataset], Dataset]) -> pipelines.Work:
        rows = {shard: plan[shard].rows for shard in range(len(plan))}
        return pipelines.Work.of_stage(title, stage, rows, lambda shard: to_item(plan[shard]), pipeline)

    # Cost: measure what each model costs on this hardware, if the run needs to know. An account lends what this takes, and the scores.
    advance = Advance(config, context, plan)
    advance.for_profile()
    cost = profiling.obtain_costs(config, context, plan, progress)

    # Repeats: find the rows whose segment occurs in an earlier row. They are not scored, and get its translation.
    sections = sections_of(config.input, plan)
    if sections is not None:
        for step in section_works("repeats", plan, sections, repeats.steps(context, sections)):
            carry_out([step])

    # Memory: what earlier runs have translated is fixed now.
    memories = translation.memories_of(config, preparation)
    if sections is not None and memories:
        for step in section_works("memory, look up", plan, sections, memory.lookups(context, sections, memories)):
            carry_out([step])

    # Score: read, check and tokenise on CPU tasks, probe on the small model's actors, one file a shard.
    advance.for_scores(cost)

    def score_pipeline(items: Dataset) -> Dataset:
        rows = pipelines.on_tasks(
            items, score.ReadAndScore(context, config.router, sections, bool(memories)), first=True
        )
        if config.router.probes:
            calls = context.max_concurrency(SMALL)
            rows = pipelines.on_actors(rows, score.Probe, (context, config.router), small.pool, calls=calls)
        return pipelines.on_tasks(rows, score.CommitScores(context, bool(memories)))

    carry_out([work("score", score.STAGE, score_pipeline)], advance.watch)
    config, account = accounts.draw(config, context, plan, cost)
    planner = translation.open_planner(config, context, plan, cost)

    # How rows are translated and judged. A leg is one model's share of a plan entry; a judge needs no references.
    def translate_work(
        title: str, size: str, leg_of: Callable[..., translate.Leg], rows: Mapping[pipelines.Task, int]
    ) -> pipelines.Work:
        def pipeline(items: Dataset) -> Dataset:
            prompts = pipelines.on_tasks(items, translate.ReadPrompts(context, size, leg_of), first=True)
            pool, calls = context.model(size).pool, context.max_concurrency(size)
            torch = context.needs_torch(size)
            pool = replace(pool, actors=min(pool.actors, len({shard for _, shard in rows}) or 1))
            answers = pipelines.on_actors(prompts, translate.Translate, (context, size), pool, calls=calls, torch=torch)
            return pipelines.on_tasks(answers, translate.CommitTranslations(context))

        def item(stage: str, shard: int) -> dict[str, Any]:
            return to_item(plan[shard]) | {"entry": entry_of(stage)}

        return pipelines.Work(title, rows, item, pipeline, ready=Written(run_dir))

    def leg_work(title: str, leg: translate.Leg, shards: Mapping[int, int] | None = None) -> pipelines.Work:
        rows = dict.fromkeys(range(len(plan)), 0) if shards is None else shards
        tasks = {(leg.stage, shard): n for shard, n in rows.items()}
        return translate_work(title, leg.size, translate.Always(leg), tasks)

    def judge_work(judging: judge.JudgeWork) -> pipelines.Work:
        def pipeline(items: Dataset) -> Dataset:
            texts = pipelines.on_tasks(items, judge.ReadToJudge(context, judging), first=True)
            held = (run_dir, config.guard, config.models, judging.stage)
            pool, python = judge_pool(config.guard, config.models), judge_python(config.guard)
            pool = replace(pool, actors=min(pool.actors, len(plan) or 1))
            return pipelines.on_tasks(
                pipelines.on_actors(texts, judge.JudgeTranslations, held, pool, python),
                judge.commit_judgements(context, judging),
            )

        return work("judge", judging.stage, pipeline)

    # Guard: the small model translates candidates, and those that are judged good enough are not routed.
    loop = ClosedLoop(planner, translate_work, carry_out)
    while name_candidates(planner, loop.room_left):
        carry_out([leg_work("translate, candidates", planner.series.leg(SMALL))])
        carry_out([judge_work(judging_candidates(planner.series))])
        planner.learn_judge()

    if config.budget.dry_run:
        return translation.finish_dry_run(config, planner, loop, progress, account)
    estimated = forecast(planner, loop.room_left()) if cost is not None else None

    # Allocate and translate: a budget in hours or money goes tranche by tranche, a budget in rows all at once. The models run
    # side by side if both pools fit.
    if config.budget.by_cost:
        loop.run()
    else:
        translation.allocate(planner, progress)
        tasks = tasks_of(planner)
        reserve_calls(config, planner, sum(tasks[LARGE].values()))
        legs = [
            translate_work(f"translate, {size}", size, LegOf(planner.series, size), rows)
            for size, rows in tasks.items()
        ]
        for group in [legs] if cluster.pools_fit_together([small.pool, large.pool]) else [[leg] for leg in legs]:
            carry_out(group)

    # Escalate: rows whose small translation fails a check go to the large model, within the budget.
    if (escalating := CheckPlan.of(config).escalating).actions:
        escalate(
            planner,
            escalating,
            lambda title, stage, step: carry_out(
                [work(title, stage, lambda items: pipelines.on_tasks(items, step, first=True))]
            ),
            lambda: carry_out([leg_work("translate, escalated", planner.series.leg(LARGE))]),
            loop,
        )

    # The small model translates the rows on which the large one failed, and the rows that are compared afterwards.
    if config.guard.keep_better is not None:
        carry_out([leg_work("translate, both", planner.series.leg_both())])
    if config.guard.keep_better is not None or config.audit_metric == "judge":
        carry_out([judge_work(judging_both(planner.series))])
    if failed := planner.series.failed(run_dir):
        log.warning("the large model failed on %d rows; the small model takes them", sum(failed.values()))
        carry_out([leg_work("translate, fallback", planner.series.leg_fallback(), failed)])

    # Check and merge: one output row for every input row, in order. A length is judged by those of the whole run.
    merge_plan = translation.merge_plan(config, planner)
    job.check_unchanged(preparation.files.files)
    translation.start_output(config, run_dir, planner.series, merge_plan)
    if "length" in merge_plan.checks.actions:
        tallying = lengths.TallyLengths(context, merge_plan.columns)
        carry_out([work("lengths", lengths.STAGE, lambda items: pipelines.on_tasks(items, tallying, first=True))])
        merge_plan = translation.with_limits(merge_plan, run_dir)
    if sections is not None:
        sharing = shared.steps(context, sections, shared.chosen(merge_plan))
        for step in section_works("share", plan, sections, sharing):
            carry_out([step])
    merging = merge.Merge(context, merge_plan)
    carry_out([work("merge", output.STAGE, lambda items: pipelines.on_tasks(items, merging, first=True))])
    if sections is not None and memories:
        adding = memory.additions(context, sections, memories, planner.series.first)
        for step in section_works("memory, add", plan, sections, adding):
            carry_out([step])
        run_dir.clear(memory.made_stage(planner.series.first))
    return translation.finish(config, planner, progress, estimated, accounts.settle(config, planner.series))


if __name__ == "__main__":
    command.hold_no_model()
    command.exit_with(main)
