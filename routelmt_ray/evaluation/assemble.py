"""The evaluation, from labelled rows to the content of evaluation.json."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
import yaml

from routelmt_ray import __version__
from routelmt_ray.budget import rows_for_fraction
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.evaluate import EvaluateConfig
from routelmt_ray.corpus.splits import PARTS, crossing, split_of
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.evaluation.analysis import calibration, gain_buckets, guard_table
from routelmt_ray.evaluation.axes import CALLS, CHARACTERS, SECONDS, build_axes, measured_seconds
from routelmt_ray.evaluation.bootstrap import GRID, LEAST_DOCUMENTS, Settings
from routelmt_ray.evaluation.ceiling import gain_ceiling
from routelmt_ray.evaluation.compare import THRESHOLDS, Comparison, best, by_cost
from routelmt_ray.evaluation.formats import count
from routelmt_ray.evaluation.labelled import Labelled, LabelledSet, read_labelled
from routelmt_ray.evaluation.learning import learning_curve, read_curve
from routelmt_ray.evaluation.samples import sample_labels
from routelmt_ray.evaluation.scorers import GAIN, Parts, Scored
from routelmt_ray.runtime.provenance import now, versions

log = logging.getLogger(__name__)

FRACTIONS = (0.1, 0.3, 0.5)
_FEW_DOCUMENTS = 50
_LEAST_FIT_ROWS = 50


def read_parts(config: EvaluateConfig) -> tuple[LabelledSet, Parts, dict[str, int]]:
    """Reads the labelled set and cuts it into the rows to measure and the parts to fit on; counts the rows of each part.

    Raises ValueError where the set or the curve cannot be used, or a part that is needed is empty.
    """
    read_curve(config.curve)  # so that a wrong path is refused before anything is scored
    reading = read_labelled(config.labels, list(config.scorers.columns))
    rows = reading.rows
    if config.rows == "all":
        sizes = {"measured": len(rows)}
        fit = stop = calibrate = None
        if config.labels.fit_path:
            other = read_labelled(config.labels, list(config.scorers.columns), fit=True).rows
            # The set to fit on has no test part, so the shares of the other three parts are scaled to add up to 1.
            split = config.split
            whole = split.train + split.stop + split.calibration or 1
            shares = (split.train / whole, split.stop / whole)
            fit, stop, calibrate, _ = _cut(other, split.seed, (*shares, 1 - sum(shares), 0.0))
            sizes |= {"train": len(fit), "stop": len(stop), "calibration": len(calibrate)}
        _check_budget(config, rows)
        return reading, Parts(rows, fit or None, stop or None, calibrate or None), sizes
    fit, stop, calibrate, test = _cut(rows, config.split.seed, config.split.shares)
    sizes = {"train": len(fit), "stop": len(stop), "calibration": len(calibrate), "test": len(test)}
    if not len(test):
        raise ValueError(
            f"split.test is {config.split.test}: none of the {len(rows)} labelled rows is in the test part; label more, "
            "or measure a set that was held out as a whole with rows=all"
        )
    _check_budget(config, test)
    enough = len(fit) >= _LEAST_FIT_ROWS and len(stop) > 0
    return reading, Parts(test, fit if enough else None, stop if enough else None, calibrate or None), sizes


def _check_budget(config: EvaluateConfig, rows: Labelled) -> None:
    if rows_for_fraction(config.p, len(rows)) == 0:
        raise ValueError(f"p is {config.p}, which routes none of {len(rows)} measured rows; label more or raise p")


def _cut(rows: Labelled, seed: int, shares: Sequence[float]) -> list[Labelled]:
    part = split_of(rows.documents, seed, shares)
    kept = ~crossing(part, rows.sources)
    return [rows.take(np.flatnonzero((part == name) & kept)) for name in PARTS]


def evaluate(
    config: EvaluateConfig,
    reading: LabelledSet,
    parts: Parts,
    sizes: Mapping[str, int],
    scored: list[Scored],
    skipped: list[dict[str, str]],
    warnings: list[str],
    advance: Callable[[int], None] = lambda n: None,
) -> dict[str, Any]:
    """Compares the scorers and builds the content of evaluation.json; `advance` is called with 1 after each of 4 steps.

    Raises ValueError where `reference` names a scorer that was left out.
    """
    rows, gain = parts.rows, parts.rows.gain
    warnings = [*reading.warnings, *_about(rows), *_about_routers(config, reading), *warnings]
    seconds = measured_seconds(parts, warnings)
    axes = build_axes(parts, scored, seconds)
    fractions = tuple(sorted(p for p in {*FRACTIONS, config.p} if rows_for_fraction(p, len(rows)) > 0))
    settings = Settings(fractions, config.tau, THRESHOLDS)
    comparison = Comparison(rows, scored, axes, settings, config.resamples, config.seed)
    if 0 < comparison.resamples < config.resamples:
        warnings.append(f"{comparison.resamples:,} resamples were drawn, not {config.resamples:,}: the set is large.")
    advance(1)
    overall = comparison.overall()
    ranking = best(overall, scored, f"mean_delta@{config.p:g}")
    # The headline is about the scorers that decide before anything is translated.
    cascades = {s.name for s in scored if s.cascade}
    free = [name for name in ranking if name not in cascades]
    first = free[0]
    leading = next(s for s in scored if s.name == first)
    # The second is not the quality head of the same router: that would say little about what the router is worth.
    second = next((name for name in free if name.removesuffix("_quality") != first.removesuffix("_quality")), first)
    reference = config.reference or next(iter(config.scorers.routers), None) or first
    if reference not in overall:
        raise ValueError(f"reference is {reference!r}; the scorers are {', '.join(overall)}")
    keys = ["spearman", f"hit_rate@{config.p:g}", f"mean_delta@{config.p:g}", *(f"area_{axis}" for axis in axes)]
    paired = comparison.paired(reference, keys)
    leader = comparison.paired(first, keys) if first != reference else paired
    advance(1)
    pairs = rows.pairs
    groups = {"language pair": pairs} if len(set(pairs)) > 1 else {}
    if rows.domains and len(set(rows.domains)) > 1:
        groups["domain"] = rows.domains
    by_group = {name: comparison.groups(labels, config.p) for name, labels in groups.items()}
    advance(1)
    result = {
        "title": config.title,
        "version": __version__,
        "finished": now(),
        "config": configlib.to_dict(config),
        "versions": versions(),
        "metric": reading.metric,
        "p": config.p,
        "tau": config.tau,
        "fractions": list(fractions),
        "thresholds": list(THRESHOLDS),
        "resamples": comparison.resamples,
        "input": {
            "path": config.labels.path,
            "files": reading.files,
            "rows_read": reading.rows_read,
            "dropped": reading.dropped,
            "parts": dict(sizes),
            "rows": len(rows),
            "documents": len(set(rows.documents)),
            "folds": len(set(rows.folds)) if rows.folds else 1,
        },
        "systems": _systems(rows),
        "checks": _checks(rows),
        "scorers": [_described(s) for s in scored],
        "skipped": skipped,
        "reference": reference,
        "ranking": ranking,
        "leader": {"name": first, "second": second, "paired": leader},
        "best_by_axis": {
            axis: next(n for n in best(overall, scored, f"area_{axis}") if axis == SECONDS or n not in cascades)
            for axis in axes
        },
        "overall": overall,
        "paired": paired,
        "groups": by_group,
        "axes": _axes(parts, axes, seconds.facts if seconds else None),
        "grid": np.linspace(0, 1, GRID).tolist(),
        "curves": comparison.curves(),
        "buckets": gain_buckets(rows, scored, config.p, config.tau),
        "calibration": calibration(rows, scored, comparison.weights),
        "guards": guard_table(
            rows, scored, comparison.weights, p=config.p, tau=config.tau, min_gain=config.guards.min_gain,
            good=config.guards.good_quality,
        ),
        "ceiling": gain_ceiling(rows, leading, config.seed),
        "learning": learning_curve(parts, scored, comparison, read_curve(config.curve), config.seed),
        "samples": sample_labels(rows, leading, config.report.samples, config.seed),
        "by_cost": by_cost(comparison, reference, (0.1, 0.3, 0.5))
        if rows.folds is None and next(s for s in scored if s.name == reference).unit == GAIN
        else [],
        "published": load_published() if config.published else None,
        "warnings": warnings,
    }  # fmt: skip
    advance(1)
    if gain.min() == gain.max():
        log.warning("every row has the same gain: routers cannot be compared on this set")
    return plain_numbers(result)


def load_published() -> dict[str, Any]:
    """Loads the headline table of the paper, which is kept as data."""
    text = (resources.files("routelmt_ray") / "evaluation" / "published.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def plain_numbers(value: Any) -> Any:
    """Converts a value to plain JSON: NaN and infinity become null, numpy's numbers Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _about(rows: Labelled) -> list[str]:
    """Lists warnings about the measured rows."""
    found, documents, mean = [], len(set(rows.documents)), float(rows.gain.mean())
    if documents < LEAST_DOCUMENTS:
        found.append(
            f"No intervals: the measured rows are of {count(documents, 'document')}, and an interval needs at least "
            f"{LEAST_DOCUMENTS}. The uncertainty of figures and differences is not known."
        )
    elif documents < _FEW_DOCUMENTS:
        found.append(f"Only {documents} documents are measured: the intervals are rough.")
    if rows.gain.min() == rows.gain.max():
        found.append("Every row has the same gain: no order is better than another, and most measures are undefined.")
    elif mean <= 0:
        found.append(
            f"On these rows the large model is not better on average (mean gain {mean:.4f}): PGR, APGR and CPT are "
            "undefined."
        )
    return found


def _about_routers(config: EvaluateConfig, reading: LabelledSet) -> list[str]:
    """Lists warnings about routers that may have seen the measured rows, or learned from another metric."""
    found = []
    split, by = config.split, "document" if config.labels.columns.document else "source text"
    for name, path in config.scorers.routers.items():
        spec = load_router(path).spec
        learned = spec.get("label", {}).get("metric")
        if learned not in (None, reading.metric):
            found.append(f"Router {name} learned gains by {learned}, and is measured on gains by {reading.metric}.")
        cut = spec.get("training", {}).get("split")
        if config.rows == "all":
            continue
        if not isinstance(cut, dict):
            found.append(
                f"Router {name} does not say how its labels were cut: make sure that it saw none of these rows."
            )
        elif (cut.get("seed"), cut.get("shares"), cut.get("by")) != (split.seed, list(split.shares), by):
            found.append(
                f"Router {name} was trained on another split (seed {cut.get('seed')}, shares {cut.get('shares')}, by "
                f"{cut.get('by')}): if it is from these labels, it has seen rows that are measured here."
            )
    return found


def _systems(rows: Labelled) -> dict[str, Any]:
    gain = rows.gain
    small = None if rows.quality_small is None else float(np.nanmean(rows.quality_small))
    return {
        # All-large is all-small plus the mean gain, so that both are means over the same rows.
        "all_small": small,
        "all_large": None if small is None else small + float(gain.mean()),
        "gain_mean": float(gain.mean()),
        "gain_sd": float(gain.std()),
        "negative": float((gain < 0).mean()),
        "zero": float((gain == 0).mean()),
    }


def _checks(rows: Labelled) -> dict[str, Any] | None:
    """The shares of the rows whose translation fails a check, by model and check; None where nothing is said of the small one."""
    found = {}
    for size in ("small", "large"):
        if (fails := rows.fails(size)) is not None:
            by_check = Counter(name for value in rows.texts[f"check_{size}"] if value for name in value.split(","))
            shares = {name: n / len(rows) for name, n in by_check.most_common()}
            found[size] = {"share": float(fails.mean()), "by_check": shares}
    return found if "small" in found else None


def _described(s: Scored) -> dict[str, Any]:
    keys = ("name", "title", "family", "unit", "calibrated", "seconds", "cascade", "note")
    return {"seconds_a_row" if key == "seconds" else key: getattr(s, key) for key in keys}


def _axes(parts: Parts, axes: Mapping[str, Any], seconds: dict[str, Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = {CALLS: {"total": len(parts.rows), "unit": "rows"}}
    found[CHARACTERS] = {"total": float(axes[CHARACTERS].oracle.cost.sum()), "unit": "characters"}
    if seconds is not None:
        found[SECONDS] = {"total": float(axes[SECONDS].oracle.cost.sum()), "unit": "device seconds", **seconds}
    return found
