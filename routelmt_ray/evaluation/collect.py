"""What a translate run did, summed up from what every commit recorded: the content of report.json."""

from collections import Counter
from typing import Any

from routelmt_ray import __version__, schema
from routelmt_ray.config_translate import TranslateConfig
from routelmt_ray.metrics.chrf import ChrF
from routelmt_ray.plan import Entry
from routelmt_ray.router.artifact import load_router
from routelmt_ray.rundir import RunDir
from routelmt_ray.shards import ShardPlan
from routelmt_ray.stages import merge, score
from routelmt_ray.stages.context import RunContext

_UNITS = {"probe": "gain", "length": "characters", "random": "draw", "column": "user score"}


def build_report(
    config: TranslateConfig,
    context: RunContext,
    plan: ShardPlan,
    entry: Entry,
    manifest: dict[str, Any],
    wall_s: dict[str, float],
    new_rows: dict[str, int],
) -> dict[str, Any]:
    """Sums up a finished run.

    Args:
        config: the configuration.
        context: the run.
        plan: its shards.
        entry: the plan entry that was carried out.
        manifest: the manifest, state and times set.
        wall_s: wall seconds of each stage in this start.
        new_rows: rows of each stage in this start.
    """
    run = context.run
    merged = [meta for meta in run.metas(merge.STAGE).values() if meta["rows"]]
    statuses = sum((Counter(meta["statuses"]) for meta in merged), Counter())
    pairs: dict[str, Counter[str]] = {}
    for meta in merged:
        for pair, counts in meta["pairs"].items():
            pairs.setdefault(pair, Counter()).update(counts)
    histogram = {
        name: [sum(bins) for bins in zip(*(meta["gain_histogram"][name] for meta in merged))]
        for name in ("small", "large")
    }
    used = {name: sum(c[f"translated_{name}"] for c in pairs.values()) for name in ("small", "large", "None")}
    held_out = None
    if config.router.kind == "probe":
        held_out = load_router(str(config.router.path)).spec.get("held_out")
    asked = {key: value for key, value in entry.budget.items() if value is not None}
    return {
        "title": "Translation run",
        "state": manifest["state"],
        "run_dir": config.run_dir,
        "version": __version__,
        "seed": config.seed,
        "started": manifest["started"],
        "finished": manifest["finished"],
        "config": manifest["config"],
        "input": {
            "path": config.input.path,
            "files": manifest["identity"]["corpus"]["files"],
            "rows": plan.rows,
            "bytes": manifest["identity"]["corpus"]["bytes"],
            "damaged_files": manifest["damaged_files"],
        },
        "models": {
            size: {key: getattr(model, key) for key in ("engine", "path", "revision", "prompt")}
            for size, model in (("small", config.models.small), ("large", config.models.large))
        },
        "router": {
            "kind": config.router.kind,
            "path": config.router.path if config.router.kind == "probe" else None,
            "unit": _UNITS[config.router.kind],
            "held_out": held_out,
        },
        "budget": {
            "asked": ", ".join(f"{key} {value}" for key, value in asked.items()),
            "n_rows": plan.rows,
            "n_eligible": entry.n_eligible,
            "k": entry.cut.k,
            "routed": sum(meta["routed"] for meta in merged),
            "threshold": entry.cut.threshold,
            "entries": entry.number + 1,
        },
        "models_used": {"small": used["small"], "large": used["large"], "none": used["None"]},
        "fallbacks": sum(meta["fallbacks"] for meta in merged),
        "quarantined": sum(n for status, n in statuses.items() if status not in schema.TRANSLATED),
        "statuses": {
            status: {"rows": n, "meaning": schema.STATUS_MEANING.get(status, "")}
            for status, n in statuses.most_common()
        },
        "pairs": [
            {
                "pair": pair,
                "rows": c["rows"],
                "routed": c["routed_large"],
                "small": c["translated_small"],
                "large": c["translated_large"],
            }
            for pair, c in sorted(pairs.items(), key=lambda item: (-item[1]["rows"], item[0]))
        ],
        "gain_histogram": {"edges": list(entry.gain_edges), **histogram},
        "quality": _quality(merged),
        "stages": _stages(run, entry, wall_s, new_rows, plan.rows),
        "versions": manifest["versions"],
    }


def _quality(merged: list[dict[str, Any]]) -> dict[str, Any] | None:
    sums: dict[str, Counter[str]] = {}
    for meta in merged:
        for by, values in meta["quality"].items():
            for name in (by, "all"):
                sums.setdefault(name, Counter()).update(values)
    if not sums:
        return None
    by_model = {name: {"rows": int(s["rows"]), "mean": s["chrf_sum"] / s["rows"]} for name, s in sorted(sums.items())}
    return {"metric": "chrF", "signature": ChrF().signature(), "by_model": by_model}


def _stages(
    run: RunDir, entry: Entry, wall_s: dict[str, float], new_rows: dict[str, int], corpus_rows: int
) -> list[dict[str, Any]]:
    rescue = entry.rescue_leg()
    names = {
        "score": [score.STAGE],
        "translate, small": [entry.leg(schema.SMALL).stage],
        "translate, large": [entry.leg(schema.LARGE).stage],
        "translate, fallback": [rescue.stage],
    }
    table = []
    for title, stages in names.items():
        metas = [meta for stage in stages for meta in run.metas(stage).values()]
        if metas or title in wall_s:
            table.append(_stage(title, metas, wall_s, new_rows))
    if "allocate" in wall_s:
        table.insert(1, {**_stage("allocate", [], wall_s, new_rows), "rows": corpus_rows})
    return [*table, {**_stage("merge", [], wall_s, new_rows), "rows": corpus_rows}]


def _stage(
    title: str, metas: list[dict[str, Any]], wall_s: dict[str, float], new_rows: dict[str, int]
) -> dict[str, Any]:
    wall, new = wall_s.get(title, 0.0), new_rows.get(title, 0)
    return {
        "name": title,
        "rows": sum(meta["rows"] for meta in metas),
        "rows_this_start": new,
        "wall_s": wall,
        "rows_per_s": new / wall if new and wall else None,
        "engine_s": sum(meta["engine_s"] for meta in metas) if metas else None,
        "output_tokens": sum(meta["output_tokens"] for meta in metas)
        if metas and "output_tokens" in metas[0]
        else None,
    }
