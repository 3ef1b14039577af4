"""Translate a corpus with a small and a large model under a budget.

    python jobs/translate.py --config configs/demo.yaml [key=value ...]

The small model's prompt state is probed on every row, a router predicts the gain of the large model, the budget is
spent on the rows with the highest predicted gain of the whole corpus, and every input row comes out once, in order,
in <run_dir>/output. The same command on the same run directory resumes; a changed budget reuses all scores and all
finished translations.

Exit status: 0 everything is committed; 1 failed, and can be resumed by the same command; 2 the configuration or the
run directory was refused.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

from ray.data import Dataset

from routelmt_ray import cluster, configlib, job, schema, storage, translation
from routelmt_ray.config_translate import TranslateConfig
from routelmt_ray.evaluation.summary import print_summary
from routelmt_ray.plan import plan_entry
from routelmt_ray.progress import Progress
from routelmt_ray.rundir import RunDir
from routelmt_ray.schema import LARGE, SMALL
from routelmt_ray.stages import merge, score, translate
from routelmt_ray.stages.context import to_item

log = logging.getLogger("routelmt_ray.translate")


def main(argv: list[str]) -> int:
    """Runs the job; returns its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        config = configlib.parse_args(TranslateConfig, __doc__ or "", argv)
        preparation = translation.prepare(config)
        if translation.is_finished(config):
            log.info("run_dir %s is finished and the budget is the same: nothing to do", config.run_dir)
            print_summary(storage.read_json(RunDir(config.run_dir).root / "report.json"))
            return 0
    except ValueError as error:
        log.error("refused: %s", error)
        return 2
    try:
        cluster.start(config.ray)
        with Progress() as progress:
            report = run(config, preparation, progress)
    except job.Refused as error:
        log.error("refused: %s", error)
        return 2
    except cluster.StageFailed as error:
        log.error("%s. Committed work is kept; the same command resumes.", error)
        return 1
    print_summary(report)
    return 0


def run(config: TranslateConfig, preparation: job.Preparation, progress: Progress) -> dict[str, Any]:
    """The pipeline from corpus to report; Ray runs already."""
    context, plan = job.open_run(preparation, schema.OUTPUT_COLUMNS.names)
    run_dir, small, large = context.run, config.models.small, config.models.large
    all_rows = {shard: plan[shard].rows for shard in range(len(plan))}

    def carry_out(*works: cluster.Work) -> None:
        cluster.run(run_dir, works, config.ray.rounds, progress)

    def work(title: str, stage: str, rows: dict[int, int], pipeline: Callable[[Dataset], Dataset]) -> cluster.Work:
        return cluster.Work(title, stage, rows, lambda shard: to_item(plan[shard]), pipeline)

    # Score: read, check and tokenise on CPU tasks, probe on the small model's actors, one file a shard.
    def score_pipeline(items: Dataset) -> Dataset:
        rows = cluster.on_tasks(items, score.Prepare(context, config.router), first=True)
        if config.router.kind == "probe":
            rows = cluster.on_actors(rows, score.Probe, (context, config.router), small.pool)
        return cluster.on_tasks(rows, score.Commit(context))

    carry_out(work("score", score.STAGE, all_rows, score_pipeline))

    # Allocate: the exact cut over the whole corpus, written down before it is used.
    with progress.stage("allocate", plan.rows) as bar:
        entry = plan_entry(context, plan, config.budget)
        bar.advance(plan.rows)
    log.info("plan %d: %d of %d eligible rows go to the large model", entry.number, entry.cut.k, entry.n_eligible)

    # Translate: the large model's rows and the small one's, at the same time where the pools fit side by side.
    def leg_work(title: str, leg: translate.Leg, rows: dict[int, int]) -> cluster.Work:
        def pipeline(items: Dataset) -> Dataset:
            prompts = cluster.on_tasks(items, translate.Prepare(context, leg), first=True)
            answers = cluster.on_actors(prompts, translate.Translate, (context, leg), context.model(leg.size).pool)
            return cluster.on_tasks(answers, translate.Commit(context, leg))

        return work(title, leg.stage, rows, pipeline)

    legs = [leg_work(f"translate, {size}", entry.leg(size), entry.leg_rows(size)) for size in (LARGE, SMALL)]
    if cluster.pools_fit_together([small.pool, large.pool]):
        carry_out(*legs)
    else:
        for leg in legs:
            carry_out(leg)

    # What the large model failed on is translated by the small one.
    failed = {shard: meta["failed"] for shard, meta in run_dir.metas(entry.leg(LARGE).stage).items() if meta["failed"]}
    if failed:
        log.warning("the large model failed on %d rows; the small model takes them", sum(failed.values()))
        carry_out(leg_work("translate, fallback", entry.rescue_leg(), failed))

    # Merge: one output row for every input row, in order.
    merging = merge.Merge(context, entry.merge_plan())
    translation.start_output(run_dir, entry)
    carry_out(work("merge", merge.STAGE, all_rows, lambda items: cluster.on_tasks(items, merging, first=True)))
    return translation.finish(config, context, plan, entry, progress.seconds, progress.rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
