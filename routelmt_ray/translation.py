"""What is particular to the translate job around its pipeline: its checks, its output folder and its report."""

from typing import Any

import pyarrow as pa

from routelmt_ray import job, schema, storage
from routelmt_ray.config_translate import TranslateConfig
from routelmt_ray.evaluation.collect import build_report
from routelmt_ray.evaluation.run_report import render_html
from routelmt_ray.plan import Entry
from routelmt_ray.router.artifact import check_match, folder_identity, load_router
from routelmt_ray.rundir import RunDir
from routelmt_ray.shards import ShardPlan
from routelmt_ray.stages import merge
from routelmt_ray.stages.context import RunContext


def prepare(config: TranslateConfig) -> job.Preparation:
    """Checks all that can be checked before Ray starts; see :func:`routelmt_ray.job.prepare`.

    Raises:
        ValueError: naming the field, its value and what to do.
    """
    router, files = config.router, None
    if router.kind == "probe":
        small = config.models.small
        check_match(load_router(str(router.path)), small.path, small.prompt, small.revision)
        files = folder_identity(str(router.path), None)
    identity = {"router": {"kind": router.kind, "files": files, "column": router.column}}
    numbers = {"router.column": router.column} if router.kind == "column" and router.column else {}
    return job.prepare(config, "translate", identity, numbers)


def is_finished(config: TranslateConfig) -> bool:
    """True where the run directory holds the finished output of this budget."""
    run = RunDir(config.run_dir)
    manifest, entries = run.manifest(), run.plans()
    if manifest is None or manifest["state"] != "done" or not entries:
        return False
    same_budget = entries[-1]["budget"] == config.budget.asked()
    return same_budget and len(run.committed(merge.STAGE)) == max(1, manifest["shards"])


def start_output(run: RunDir, entry: Entry) -> None:
    """Makes room for the output of an entry: what an earlier entry put there is removed first."""
    manifest = run.manifest()
    assert manifest is not None
    if manifest.get("output_entry") != entry.number:
        run.clear(merge.STAGE)
        run.clear(merge.QUARANTINE)
        run.write_manifest(manifest | {"output_entry": entry.number})


def finish(
    config: TranslateConfig,
    context: RunContext,
    plan: ShardPlan,
    entry: Entry,
    wall_s: dict[str, float],
    new_rows: dict[str, int],
) -> dict[str, Any]:
    """Sums up what every commit recorded, writes the report and marks the run as done.

    Args:
        config: the configuration.
        context: the run.
        plan: its shards.
        entry: the plan entry that was carried out.
        wall_s: wall seconds of each stage in this start.
        new_rows: rows of each stage in this start.
    """
    run = context.run
    if not len(plan):  # an empty corpus still has an output with the right columns
        table = context.schema.empty_table()
        for field in schema.OUTPUT_COLUMNS:
            table = table.append_column(context.prefix + field.name, pa.array([], field.type))
        run.commit(merge.STAGE, 0, table, {"rows": 0})
    manifest = run.manifest()
    assert manifest is not None
    manifest |= {"state": "done", "finished": job.now()}
    report = build_report(config, context, plan, entry, manifest, wall_s, new_rows)
    storage.write_json(run.root / "report.json", report)
    storage.write_text(run.root / "report.html", render_html(report))
    storage.write_text(run.root / merge.STAGE / "_SUCCESS", "")
    run.write_manifest(manifest)
    return report
