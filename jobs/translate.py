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
from typing import Any

from routelmt_ray import cluster, configlib, job, schema, storage, translation
from routelmt_ray.config import TranslateConfig
from routelmt_ray.evaluation.summary import print_summary
from routelmt_ray.plan import plan_entry, run_legs
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
    shards = range(len(plan))

    def stage(title: str, name: str, todo: Any, pipeline: Any, rows_of: Any = lambda shard: plan[shard].rows) -> None:
        cluster.run_shards(
            title, lambda shard: to_item(plan[shard]), todo, lambda: run_dir.committed(name), pipeline,
            config.ray.rounds, progress, rows_of,
        )  # fmt: skip

    # Score: read, check and tokenise on CPU tasks, probe on the small model's actors, one file a shard.
    def score_pipeline(items: Any) -> Any:
        rows = cluster.on_tasks(items, score.Prepare(context, config.router), first=True)
        if config.router.kind == "probe":
            rows = cluster.on_actors(rows, score.Probe, (context, config.router), small.pool)
        return cluster.on_tasks(rows, score.Commit(context))

    stage("score", score.STAGE, shards, score_pipeline)

    # Allocate: the exact cut over the whole corpus, written down before it is used.
    with progress.stage("allocate", plan.rows) as bar:
        entry = plan_entry(context, plan, config.budget)
        bar.advance(plan.rows)
    log.info("plan %d: %d of %d eligible rows go to the large model", entry.number, entry.cut.k, entry.n_eligible)

    # Translate: the large model's rows and the small one's, at the same time where the pools fit side by side.
    def translate_leg(leg: translate.Leg, title: str, rows: dict[int, int]) -> None:
        def pipeline(items: Any) -> Any:
            prompts = cluster.on_tasks(items, translate.Prepare(context, leg), first=True)
            answers = cluster.on_actors(prompts, translate.Translate, (context, leg), context.model(leg.size).pool)
            return cluster.on_tasks(answers, translate.Commit(context, leg))

        stage(title, leg.stage, rows, pipeline, lambda shard: rows[shard])

    legs = [(entry.leg(LARGE), "translate, large"), (entry.leg(SMALL), "translate, small")]
    work = [lambda leg=leg, title=title: translate_leg(leg, title, entry.leg_rows(leg)) for leg, title in legs]
    run_legs(work, side_by_side=cluster.pools_fit_together([small.pool, large.pool]))

    # What the large model failed on is translated by the small one.
    failed = {shard: meta["failed"] for shard, meta in run_dir.metas(legs[0][0].stage).items() if meta["failed"]}
    if failed:
        log.warning("the large model failed on %d rows; the small model takes them", sum(failed.values()))
        translate_leg(entry.rescue_leg(), "translate, fallback", failed)

    # Merge: one output row for every input row, in order.
    merge_plan = entry.merge_plan()
    translation.start_output(run_dir, entry)
    stage(
        "merge",
        merge.STAGE,
        shards,
        lambda items: cluster.on_tasks(items, merge.Merge(context, merge_plan), first=True),
    )
    return translation.finish(config, context, plan, entry, progress.seconds, progress.rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
