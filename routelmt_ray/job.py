"""What surrounds the pipeline of a translate job: refusing before Ray starts, the manifest, and the report at the end."""

import logging
import platform
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import pyarrow as pa

from routelmt_ray import __version__, cluster, configlib, schema, storage
from routelmt_ray.config import ModelConfig, TranslateConfig
from routelmt_ray.corpus import Corpus, InputFile, check_columns, find_files, open_corpus, require_columns
from routelmt_ray.evaluation.collect import build_report
from routelmt_ray.evaluation.run_report import render_html
from routelmt_ray.plan import Entry
from routelmt_ray.prompts import load_family
from routelmt_ray.router.artifact import check_match, folder_identity, load_router
from routelmt_ray.rundir import RunDir, differences
from routelmt_ray.shards import ShardPlan
from routelmt_ray.stages import merge
from routelmt_ray.stages.context import RunContext

log = logging.getLogger(__name__)

# What shapes a model's answers; pools, batches, threads and devices may change between starts.
_MODEL_IDENTITY = (
    "engine", "dtype", "max_input_tokens", "max_new_tokens", "new_tokens_ratio", "new_tokens_extra", "num_beams"
)  # fmt: skip


class Refused(ValueError):
    """The corpus or the run directory does not fit the configuration; found after Ray started."""


@dataclass(frozen=True)
class Preparation:
    """A configuration that was accepted, and the files it is about."""

    config: TranslateConfig
    files: list[InputFile]
    identity: dict[str, Any]
    """What a run directory is bound to."""


def prepare(config: TranslateConfig) -> Preparation:
    """Checks all that can be checked without Ray and without a model in memory.

    Raises:
        ValueError: naming the field, its value and what to do.
    """
    run = RunDir(config.run_dir)
    for size, model in (("small", config.models.small), ("large", config.models.large)):
        _check_model(f"models.{size}", model)
    if config.router.kind == "probe":
        check_match(load_router(str(config.router.path)), config.models.small.path, config.models.small.prompt)
    files = find_files(config.input.path)
    check_columns(files, wanted_columns(config))
    identity = run_identity(config, files)
    manifest = run.manifest()
    if manifest is None and run.root.is_dir() and any(run.root.iterdir()):
        raise ValueError(
            f"run_dir {run.root} has files but no manifest.json: not a run directory; name a new or empty folder"
        )
    if manifest is not None and (changed := differences(manifest["identity"], identity)):
        raise ValueError(
            f"run_dir {run.root} was made with something else:\n  " + "\n  ".join(changed) + "\n(recorded -> wanted). "
            "Only the budget, pools, batches and the cluster may change; use a new run_dir"
        )
    return Preparation(config, files, identity)


def _check_model(key: str, model: ModelConfig) -> None:
    family = load_family(model.prompt)
    if model.engine == "echo":
        return
    from routelmt_ray.engines.tokenizers import input_limit, prompt_encoder

    try:
        prompt_encoder(model).encode([family.render("a", "English", "German")])
        limit = input_limit(model)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{key}.path {model.path} with {key}.prompt {model.prompt}: {error}") from None
    if limit < 1:
        raise ValueError(
            f"{key}.max_new_tokens is {model.max_new_tokens}: it leaves no room for a prompt in the context"
        )


def wanted_columns(config: TranslateConfig) -> dict[str, str]:
    """Column names by the config key that asks for them."""
    columns = configlib.to_dict(config.input.columns)
    wanted = {f"input.columns.{key}": name for key, name in columns.items() if name is not None}
    return wanted | ({"router.column": config.router.column} if config.router.column else {})


def run_identity(config: TranslateConfig, files: list[InputFile]) -> dict[str, Any]:
    """What a run directory is bound to: corpus, models, prompts, router and seed."""

    def model(of: ModelConfig) -> dict[str, Any]:
        files = None if of.engine == "echo" else folder_identity(of.path, of.revision)
        return {"files": files, "prompt": load_family(of.prompt).digest()} | {
            k: getattr(of, k) for k in _MODEL_IDENTITY
        }

    inputs = configlib.to_dict(config.input) | {"path": None}
    return {
        "job": "translate",
        "corpus": Corpus(tuple(files), pa.schema([])).fingerprint(),
        "input": inputs,
        "output": configlib.to_dict(config.output),
        "models": {"small": model(config.models.small), "large": model(config.models.large)},
        "router": {
            "kind": config.router.kind,
            "files": folder_identity(config.router.path, None)
            if config.router.kind == "probe" and config.router.path
            else None,
            "column": config.router.column,
        },
        "seed": config.seed,
    }


def is_finished(preparation: Preparation) -> bool:
    """True where the run directory holds the finished output of this very configuration."""
    run = RunDir(preparation.config.run_dir)
    manifest, entries = run.manifest(), run.plans()
    if manifest is None or manifest["state"] != "done" or not entries:
        return False
    same_budget = entries[-1]["budget"] == configlib.to_dict(preparation.config.budget)
    return same_budget and len(run.committed(merge.STAGE)) == max(1, manifest["shards"])


def open_run(preparation: Preparation) -> tuple[RunContext, ShardPlan]:
    """Writes the manifest of a fresh run or takes up an old one, and opens the corpus.

    Raises:
        Refused: the columns of the corpus do not fit the configuration.
    """
    config, run = preparation.config, RunDir(preparation.config.run_dir)
    run.root.mkdir(parents=True, exist_ok=True)
    if leftovers := run.remove_leftovers():
        log.info("removed %d unfinished files of an earlier start", leftovers)
    manifest = run.manifest() or {
        "format": 1,
        "created": _now(),
        "identity": preparation.identity,
        "output_entry": None,
    }
    manifest |= {
        "state": "running",
        "started": _now(),
        "config": configlib.to_dict(config),
        "versions": versions(),
    }
    run.write_manifest(manifest)
    try:
        corpus = open_corpus(preparation.files, run.root / "input", cluster.each)
        require_columns(corpus.schema.names, wanted_columns(config), config.input.path)
        _check_types(config, corpus.schema)
        _check_collisions(config, corpus.schema)
    except ValueError as error:
        raise Refused(str(error)) from None
    for file in corpus.files:
        if file.damage:
            log.warning("damaged input: %s", file.damage)
    plan = corpus.plan(config.input.shard_rows)
    manifest |= {
        "rows": plan.rows,
        "shards": len(plan),
        "damaged_files": [f.damage for f in corpus.files if f.damage],
    }
    run.write_manifest(manifest)
    return RunContext(run, config, corpus.schema), plan


def _check_types(config: TranslateConfig, schema_: pa.Schema) -> None:
    for key, name in wanted_columns(config).items():
        kind = schema_.field(name).type
        if key == "input.columns.id":
            continue
        if key == "router.column":
            fits, allowed = pa.types.is_integer(kind) or pa.types.is_floating(kind), "numbers"
        else:
            plain = kind.value_type if pa.types.is_dictionary(kind) else kind
            fits = pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
            allowed = "strings"
        if not fits and not pa.types.is_null(kind):
            raise ValueError(f"{key} is {name!r}, a column of {kind}; it must hold {allowed}")


def _check_collisions(config: TranslateConfig, schema_: pa.Schema) -> None:
    prefix = config.output.prefix
    taken = [prefix + name for name in schema.OUTPUT_COLUMNS.names if prefix + name in schema_.names]
    if taken:
        raise ValueError(
            f"output.prefix is {prefix!r}, but the corpus already has {', '.join(taken)}; set output.prefix, e.g. output.prefix=mt_"
        )
    doubled = [name for name, n in Counter(schema_.names).items() if n > 1]
    if doubled:
        raise ValueError(f"input.path: the corpus has several columns called {', '.join(doubled)}; rename them")


def start_output(run: RunDir, entry: Entry) -> None:
    """Makes room for the output of an entry: what an earlier entry put there is removed first."""
    manifest = run.manifest()
    assert manifest is not None
    if manifest["output_entry"] != entry.number:
        run.clear(merge.STAGE)
        run.clear(merge.QUARANTINE)
        run.write_manifest(manifest | {"output_entry": entry.number})


def finish(
    context: RunContext, plan: ShardPlan, entry: Entry, wall_s: dict[str, float], new_rows: dict[str, int]
) -> dict[str, Any]:
    """Sums up what every commit recorded, writes the report and marks the run as done.

    Args:
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
            table = table.append_column(context.config.output.prefix + field.name, pa.array([], field.type))
        run.commit(merge.STAGE, 0, table, {"rows": 0})
    manifest = run.manifest()
    assert manifest is not None
    manifest |= {"state": "done", "finished": _now()}
    report = build_report(context, plan, entry, manifest, wall_s, new_rows)
    storage.write_json(run.root / "report.json", report)
    storage.write_text(run.root / "report.html", render_html(report))
    storage.write_text(run.root / merge.STAGE / "_SUCCESS", "")
    run.write_manifest(manifest)
    return report


def versions() -> dict[str, str]:
    """Versions of what shapes a result."""
    names = ("ray", "torch", "transformers", "tokenizers", "pyarrow", "numpy", "sacrebleu")
    found = {"routelmt_ray": __version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
