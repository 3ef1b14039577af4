"""Label a corpus: how much better is the large model's translation than the small one's, row by row.

    python jobs/label.py --config configs/label_demo.yaml [key=value ...]

Both models translate every row, or with input.duplicates=once every segment, and metrics measure both translations. Every
input row is written once, in order, to <run_dir>/output, with both translations, their cost, their quality and the gain by
each metric. The file <run_dir>/dataset_card.md says how the labels were made. The same command on the same run directory
resumes. A metric that is added later reuses all translations.

Exit status: 0 everything is committed; 1 failed, and can be resumed by the same command; 2 the configuration or the
run directory was refused; 3 finished, with more rows in quarantine than output.max_quarantine_share; 143 stopped by
SIGTERM or 130 by SIGINT, and can be resumed.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

from ray.data import Dataset

from routelmt_ray import storage
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config.common import PoolConfig
from routelmt_ray.config.label import LabelConfig
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.job import command, job, labels
from routelmt_ray.job.sections import section_works, sections_of
from routelmt_ray.metrics.spec import MetricSpec
from routelmt_ray.reports.label_card import print_label_summary
from routelmt_ray.runtime import cluster, pipelines
from routelmt_ray.runtime.context import to_item
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.stages import label_checks, label_merge, lengths, output, quality, repeats, shared, translate
from routelmt_ray.stages.sides import HYPOTHESES, both_sides, without_repeats
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger("routelmt_ray.label")


def main(argv: list[str]) -> int:
    """Runs the job; returns its exit status."""
    with command.ending() as end:
        with command.checking():
            config = command.configure(LabelConfig, __doc__, argv)
            preparation, specs = labels.prepare(config)
            finished = labels.is_finished(config, specs)
        if finished:
            log.info("run_dir %s is finished and the metrics are the same: nothing to do", config.run_dir)
            report = storage.read_json(RunDir(config.run_dir).root / "report.json")
        else:
            with command.working(config, labels.metric_pools(specs)) as progress:
                report = run(config, preparation, specs, progress)
        print_label_summary(report)
        end.status = job.exit_status(config)
    return end.status


def run(
    config: LabelConfig, preparation: job.Preparation, specs: list[MetricSpec], progress: Progress
) -> dict[str, Any]:
    """Runs the pipeline from corpus to labels and returns the report of the run; Ray must be running."""
    context, plan = job.open_run(preparation, labels.added_columns(config, specs).names)
    run_dir, models = context.run, config.models
    labels.record_facts(config, run_dir, specs)
    rows = {shard: plan[shard].rows for shard in range(len(plan))}

    def work(title: str, stage: str, pipeline: Callable[[Dataset], Dataset]) -> pipelines.Work:
        return pipelines.Work.of_stage(title, stage, rows, lambda shard: to_item(plan[shard]), pipeline)

    def carry_out(works: list[pipelines.Work], pools: list[PoolConfig]) -> None:
        together = cluster.pools_fit_together(pools)
        for group in [works] if together else [[each] for each in works]:
            pipelines.run(run_dir, group, config.ray.rounds, progress)

    # Repeats: find the rows whose segment occurs in an earlier row. They get its translations.
    sections = sections_of(config.input, plan)
    if sections is not None:
        for step in section_works("repeats", plan, sections, repeats.steps(context, sections)):
            carry_out([step], [])

    # Translate: every row by both models, at the same time where the pools fit side by side.
    def translate_all(leg: translate.Leg) -> pipelines.Work:
        def pipeline(items: Dataset) -> Dataset:
            prompts = pipelines.on_tasks(
                items, translate.ReadPrompts(context, leg.size, translate.Always(leg)), first=True
            )
            pool, calls = context.model(leg.size).pool, context.max_concurrency(leg.size)
            held, torch = (context, leg.size), context.needs_torch(leg.size)
            answers = pipelines.on_actors(prompts, translate.Translate, held, pool, calls=calls, torch=torch)
            return pipelines.on_tasks(answers, translate.CommitTranslations(context))

        return work(f"translate, {leg.size}", leg.stage, pipeline)

    wanted = translate.everything if sections is None else functools.partial(without_repeats, sections)
    legs = [translate.Leg(size, "all", wanted) for size in (LARGE, SMALL)]
    carry_out([translate_all(leg) for leg in legs], [models.large.pool, models.small.pool])
    if sections is not None:
        for step in section_works("share", plan, sections, shared.steps(context, sections, both_sides(sections))):
            carry_out([step], [])

    # Measure: each metric on its own, COMET in actors that hold a checkpoint, the others in plain tasks.
    def measure(spec: MetricSpec) -> pipelines.Work:
        def pipeline(items: Dataset) -> Dataset:
            texts = pipelines.on_tasks(items, quality.ReadTranslations(context, sections), first=True)
            if spec.pool is not None:
                scores = pipelines.on_actors(texts, quality.MeasureInActor, (spec, run_dir), spec.pool, spec.python)
            else:
                scores = pipelines.on_tasks(texts, quality.MeasureQuality(spec))
            return pipelines.on_tasks(scores, quality.commit_quality(context, spec))

        return work(f"measure, {spec.name}", spec.stage, pipeline)

    carry_out([measure(spec) for spec in specs], [spec.pool for spec in specs if spec.pool is not None])

    # Check and merge: one labelled row for every input row, in order. A length is judged by those of the same model.
    labels.start_output(config, run_dir, specs)
    checks = CheckPlan.of(config)
    for size in HYPOTHESES if "length" in checks.actions else ():
        first_rows, stage = functools.partial(label_checks.all_rows, size, sections, False), f"{lengths.STAGE}/{size}"
        tallying = lengths.TallyLengths(context, first_rows, stage)
        carry_out([work("lengths", stage, functools.partial(pipelines.on_tasks, stage=tallying, first=True))], [])
    merging = label_merge.LabelMerge(context, specs, checks, sections)
    carry_out([work("merge", output.STAGE, lambda items: pipelines.on_tasks(items, merging, first=True))], [])
    job.check_unchanged(preparation.files.files)
    return labels.finish(config, context, plan, specs, progress)


if __name__ == "__main__":
    command.hold_no_model()
    command.exit_with(main)
