"""The parts of the label job around its pipeline: its checks, its facts, its report and its dataset card."""

import dataclasses
import logging
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt_ray import __version__, storage
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config.checks import COLUMN
from routelmt_ray.config.common import ModelConfig, PoolConfig
from routelmt_ray.config.label import LabelConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.engines.artifact import file_digest
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.translators import model_identity
from routelmt_ray.job import job
from routelmt_ray.metrics.spec import MetricSpec, metric_specs
from routelmt_ray.reports.collect_repeats import repeat_facts
from routelmt_ray.reports.label_card import render_card
from routelmt_ray.runtime import suspects
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.stages import label_merge, output, repeats, shared, sides
from routelmt_ray.storage.rundir import SUCCESS, RunDir

log = logging.getLogger(__name__)

_DECODING = (
    "num_beams", "max_new_tokens", "new_tokens_ratio", "new_tokens_extra", "max_input_tokens", "dtype", "device"
)  # fmt: skip
_SUMS = ("n", "small", "large", "gain", "gain_squares", "negative", "zero")


def prepare(config: LabelConfig) -> tuple[job.Preparation, list[MetricSpec]]:
    """Runs all checks that are possible before Ray starts, and raises ValueError where the job is refused."""
    specs = metric_specs(config.metrics, config.input.columns.reference is not None)
    CheckPlan.of(config).check_packages()
    preparation = job.prepare(config, "label", {})
    for spec in specs:
        if spec.checkpoint is not None and spec.checkpoint.non_commercial:
            log.warning(
                "metrics.%s.path %s: a checkpoint of the CometKiwi or XCOMET kind, whose weights are licensed %s: labels "
                "made with it are for non-commercial use; the dataset card says so",
                spec.name, spec.checkpoint.path, spec.checkpoint.licence,
            )  # fmt: skip
    return preparation, specs


def metric_pools(specs: list[MetricSpec]) -> dict[str, PoolConfig]:
    """Lists the pools of metrics with a checkpoint, by the key that sets each."""
    return {f"metrics.{spec.name}.pool": spec.pool for spec in specs if spec.pool is not None}


def added_columns(config: LabelConfig, specs: list[MetricSpec]) -> pa.Schema:
    """Lists the columns that the job adds to those of the corpus, without the prefix."""
    return label_merge.added_columns([spec.name for spec in specs], CheckPlan.of(config), config.input.duplicates)


def is_finished(config: LabelConfig, specs: list[MetricSpec]) -> bool:
    """Tells whether the run directory has the finished, undamaged output of these metrics and checks."""
    run = RunDir(config.run_dir)
    manifest = run.manifest()
    return (
        manifest is not None
        and manifest.get("output_metrics") == _stages(specs)
        and manifest.get("output_checks", {}) == CheckPlan.of(config).identity
        and job.has_whole_output(run, manifest)
    )


def _stages(specs: list[MetricSpec]) -> list[str]:
    return [spec.stage for spec in specs]


def record_facts(config: LabelConfig, run: RunDir, specs: list[MetricSpec]) -> None:
    """Writes into the manifest how labels are made, before the first label is made."""
    models = {"small": config.models.small, "large": config.models.large}
    facts = {size: _model_facts(model) for size, model in models.items()}
    run.write_manifest(job.read_manifest(run) | {"models": facts, "metrics": [_metric_facts(spec) for spec in specs]})


def _model_facts(model: ModelConfig) -> dict[str, Any]:
    family = load_family(model.prompt)
    revision = model.revision
    if model.kind.has_model and not os.path.isdir(model.path):
        from routelmt_ray.engines.light_transformers import transformers

        found = transformers.AutoConfig.from_pretrained(
            model.path, revision=revision, trust_remote_code=model.trust_remote_code
        )
        revision = getattr(found, "_commit_hash", None) or revision
    identity = model_identity(model)
    return {
        "engine": model.engine,
        "path": model.path,
        "revision": revision,
        "files_digest": identity["files"],
        "prompt": {"family": family.name, "template": family.template, "chat": family.chat, "digest": family.digest()},
        "decoding": {key: getattr(model, key) for key in _DECODING} | model.kind.identity(model),
    }


def _metric_facts(spec: MetricSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "stage": spec.stage,
        "needs_reference": spec.needs_reference,
        "versions": dict(spec.versions),
        "checkpoint": dataclasses.asdict(spec.checkpoint) if spec.checkpoint else None,
        "licence": spec.checkpoint.licence if spec.checkpoint else None,
        "non_commercial": spec.checkpoint.non_commercial if spec.checkpoint else False,
        "scale": spec.kind.scale,
    }


def start_output(config: LabelConfig, run: RunDir, specs: list[MetricSpec]) -> None:
    """Removes output of other metrics or checks from the run directory, and records the metrics and checks of the new
    output."""
    made = {
        "output_metrics": _stages(specs),
        "output_columns": added_columns(config, specs).names,
        "output_checks": CheckPlan.of(config).identity,
    }
    job.start_output(run, made, (output.STAGE, output.QUARANTINE))


def finish(
    config: LabelConfig,
    context: RunContext,
    plan: ShardPlan,
    specs: list[MetricSpec],
    progress: Progress,
) -> dict[str, Any]:
    """Sums up the records of all commits, writes the report and the dataset card, and marks the run as done."""
    run = context.run
    added = added_columns(config, specs)
    if not len(plan):  # an empty corpus still has an output with the right columns
        output.commit_empty(context, added)
    manifest = job.ended(run, "done")
    for metric, spec in zip(manifest["metrics"], specs):
        metric |= _measured_by(run, spec)
    merged = [meta for meta in run.metas(output.STAGE).values() if meta["rows"]]
    statuses = sum((Counter(meta["statuses"]) for meta in merged), Counter())
    report = {
        "title": "Gain labels",
        "version": __version__,
        "run_dir": config.run_dir,
        **{key: manifest[key] for key in ("state", "started", "finished", "versions", "models", "config")},
        "input": {
            "path": config.input.path,
            "rows": plan.rows,
            "damaged_files": manifest["damaged_files"],
            "unread": manifest["unread"],
            **{key: manifest["identity"]["corpus"][key] for key in ("files", "bytes", "digest")},
        },
        "columns": {"input": context.schema.names, "added": added.names, "prefix": context.prefix},
        "statuses": {
            status: {"rows": n, "meaning": label_merge.STATUS_MEANING.get(status, "")}
            for status, n in statuses.most_common()
        },
        "checks": _checks(merged),
        "repeats": repeat_facts(context, plan, texts=False),
        "pairs": dict(sum((Counter(meta["pairs"]) for meta in merged), Counter()).most_common()),
        "metrics": [metric | _quality(merged, metric["name"]) for metric in manifest["metrics"]],
        "stages": _stage_table(run, specs, progress),
        "deaths": suspects.table(run),
    }
    storage.write_json(run.root / "report.json", report)
    storage.write_text(run.root / "dataset_card.md", render_card(report))
    storage.write_text(run.folder(output.STAGE) / SUCCESS, "")
    run.write_manifest(manifest)
    return report


def _measured_by(run: RunDir, spec: MetricSpec) -> dict[str, Any]:
    """The signatures that the workers recorded, and the digest of the whole checkpoint."""
    signatures = sorted({meta["signature"] for meta in run.metas(spec.stage).values()})
    digest = None
    if spec.checkpoint is not None and spec.checkpoint.revision is None:
        digest = file_digest(Path(spec.checkpoint.path, "checkpoints", "model.ckpt"))
    if len(signatures) > 1:
        log.warning("%s was measured in different environments: %s", spec.name, "; ".join(signatures))
    return {"signatures": signatures, "checkpoint_sha256": digest}


def _checks(merged: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """The rows that each model's translations fail, by model; the sums of what the shards counted."""
    sums: dict[str, Counter[str]] = {}
    for meta in merged:
        for column, counts in meta.get("checks", {}).items():
            sums.setdefault(column.removeprefix(COLUMN), Counter()).update(counts)
    return {size: dict(counts) for size, counts in sums.items()}


def _quality(merged: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    by_pair: dict[str, dict[str, float]] = {}
    for meta in merged:
        for pair, sums in meta["metrics"][metric].items():
            total = by_pair.setdefault(pair, dict.fromkeys(_SUMS, 0))
            for key in _SUMS:
                total[key] += sums[key]
    whole = {key: sum(total[key] for total in by_pair.values()) for key in _SUMS}
    return {"quality": _moments(whole), "by_pair": {pair: _moments(sums) for pair, sums in sorted(by_pair.items())}}


def _moments(sums: dict[str, float]) -> dict[str, float | None]:
    n = sums["n"]
    if not n:
        empty = ("mean_small", "mean_large", "gain_mean", "gain_sd", "gain_negative_share", "gain_zero_share")
        return {"rows": 0, **dict.fromkeys(empty)}
    mean = sums["gain"] / n
    return {
        "rows": int(n),
        "mean_small": sums["small"] / n,
        "mean_large": sums["large"] / n,
        "gain_mean": mean,
        "gain_sd": math.sqrt(max(0.0, sums["gain_squares"] / n - mean**2)),
        "gain_negative_share": sums["negative"] / n,
        "gain_zero_share": sums["zero"] / n,
    }


def _stage_table(run: RunDir, specs: list[MetricSpec], progress: Progress) -> list[dict[str, Any]]:
    stages = {f"translate, {size}": stage for size, stage in sides.HYPOTHESES.items()}
    stages |= {f"measure, {spec.name}": spec.stage for spec in specs} | {"merge": output.STAGE}
    if run.committed(repeats.KEYS):
        stages = {"repeats": repeats.KEYS, **stages, "share": shared.ANSWERS}
    table = []
    for title, name in stages.items():
        metas = list(run.metas(name).values())
        sums = {
            key: sum(meta.get(key, none) for meta in metas) for key, none in (("engine_s", 0.0), ("output_tokens", 0))
        }
        table.append(progress.facts(title, metas) | sums)
    return table
