"""The content of report.json: the results of a translate run, summed up from the records of its commits."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from routelmt_ray import __version__
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config import schema
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.ids import count_ids
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.plan.plan import CANDIDATES, ESCALATED, OPENING, TOPPED, TRANCHE, WHOLE, Series
from routelmt_ray.plan.planning import Planner
from routelmt_ray.reports import collect_budget, collect_checks, collect_repeats, collect_samples
from routelmt_ray.runtime import suspects
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.stages import merge, output, score
from routelmt_ray.storage.rundir import RunDir


def build_report(
    config: TranslateConfig,
    planner: Planner,
    manifest: dict[str, Any],
    progress: Progress,
    forecast: dict[str, Any] | None = None,
    account: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Sums up a finished run, or a dry one, as the content of report.json; its manifest has state and times."""
    run, plan, series = planner.corpus.context.run, planner.corpus.plan, planner.series
    metas = {shard: meta for shard, meta in run.metas(output.STAGE).items() if meta["rows"]}
    merged, checks = list(metas.values()), CheckPlan.of(config)
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
    if config.router.scorer.trained:
        trained = load_router(str(config.router.path))
        held_out = (trained.spec if config.router.probes else trained.words_alone).get("held_out")
    asked = {key: value for key, value in config.budget.asked().items() if value not in (None, {})}
    del asked["tranches"]
    done = bool(series.entries) and series.settled
    routed = sum(meta["routed"] for meta in merged)
    edges = merge.gain_edges([meta for meta in run.metas(score.STAGE).values() if meta["eligible"]])
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
            "damaged_files": [*manifest["damaged_files"], *_damaged(merged)],
            "unread": manifest["unread"],
            "ids": _ids(config, run),
        },
        "models": {
            size: {key: getattr(model, key) for key in ("engine", "path", "revision", "prompt")}
            for size, model in (("small", config.models.small), ("large", config.models.large))
        },
        "router": {
            "kind": config.router.kind,
            "path": config.router.path if config.router.scorer.trained else None,
            "unit": config.router.unit,
            "held_out": held_out,
        },
        "budget": {
            "asked": ", ".join(f"{key} {value}" for key, value in asked.items()),
            "n_rows": plan.rows,
            "n_eligible": planner.n_eligible,
            "eligible_rows": planner.eligible_rows or planner.n_eligible,
            "k": routed if planner.k is None else min(planner.k, planner.n_eligible),
            "routed": routed,
            "threshold": series.of(WHOLE, TRANCHE)[-1]["routed"]["cut"]["threshold"] if done else None,
            "entries": series.next_number,
        },
        "repeats": collect_repeats.repeat_facts(
            planner.corpus.context, plan, forecast, texts=config.report.samples > 0
        ),
        "memory": collect_repeats.memory_facts(config, run, series.first, merged),
        "models_used": {"small": used["small"], "large": used["large"], "none": used["None"]},
        "fallbacks": sum(meta["fallbacks"] for meta in merged),
        "quarantined": sum(meta["quarantined"] for meta in merged),
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
        "checks": collect_checks.check_facts(planner.corpus.context, checks, metas) if merged else [],
        "terms": collect_checks.term_facts(merged),
        "samples": collect_samples.sample_rows(
            planner.corpus.context,
            plan,
            {size: series.stages(size) for size in (schema.SMALL, schema.LARGE)},
            config.report.samples,
        )
        if merged
        else [],
        "gain_histogram": {"edges": list(edges), **histogram},
        "quality": _quality(merged),
        "spend": collect_budget.spend(run, config, series),
        "plan": collect_budget.plan_table(run, config, series),
        "forecast": forecast,
        "account": account,
        "route_reasons": collect_budget.route_reasons(merged),
        "audit": collect_budget.audit_facts(config, planner, merged),
        "promise": series.base.get("risk") and series.base["risk"] | {"rest": config.guard.risk.unproven},
        "stages": _stages(run, series, progress, plan.rows),
        "deaths": suspects.table(run),
        "versions": manifest["versions"],
    }


def _damaged(merged: list[dict[str, Any]]) -> list[str]:
    """Lists files with damage inside, which is found only when they are read."""
    rows = sum((Counter(meta["damaged"]) for meta in merged), Counter())
    return [f"{file}: damaged inside: columns of {n} rows could not be read" for file, n in sorted(rows.items())]


def _ids(config: TranslateConfig, run: RunDir) -> dict[str, Any] | None:
    column = config.input.columns.id
    return None if column is None else {"column": column, **asdict(count_ids(score.id_columns(run)))}


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


def _stages(run: RunDir, series: Series, progress: Progress, corpus_rows: int) -> list[dict[str, Any]]:
    names = {
        "score": [score.STAGE],
        "translate, candidates": [f"small/{entry['entry']:03d}" for entry in series.of(CANDIDATES)],
        **{
            f"translate, {size}": [
                f"{size}/{series.audit_name}",
                *(f"{size}/{entry['entry']:03d}" for entry in series.of(WHOLE, OPENING, TRANCHE, ESCALATED, TOPPED)),
            ]
            for size in (schema.SMALL, schema.LARGE)
        },
    }
    if series.entries:
        names |= {"translate, both": [series.leg_both().stage], "translate, fallback": [series.leg_fallback().stage]}
    table = []
    for title, stages in names.items():
        metas = [meta for stage in stages for meta in run.metas(stage).values()]
        if metas or title in progress.seconds:
            table.append(_stage(title, metas, progress))
    table[1:1] = _over_all_rows(["allocate"], progress, corpus_rows)
    table[:0] = _over_all_rows(["repeats", "memory, look up"], progress, corpus_rows)
    return table + _over_all_rows(["lengths", "share", "merge", "memory, add"], progress, corpus_rows)


def _over_all_rows(titles: list[str], progress: Progress, corpus_rows: int) -> list[dict[str, Any]]:
    """Describes stages that look at every row, and have no engine; those without work in this start are left out."""
    done = [title for title in titles if title == "merge" or title in progress.seconds]
    return [{**_stage(title, [], progress), "rows": corpus_rows} for title in done]


def _stage(title: str, metas: list[dict[str, Any]], progress: Progress) -> dict[str, Any]:
    decodes = bool(metas) and "output_tokens" in metas[0]
    return progress.facts(title, metas) | {
        "engine_s": sum(meta["engine_s"] for meta in metas) if metas else None,
        "halved_batches": sum(meta.get("halved", 0) for meta in metas),
        "output_tokens": sum(meta["output_tokens"] for meta in metas) if decodes else None,
    }
