"""Reports of translate runs to test with, and what takes their pages apart."""

from html.parser import HTMLParser
from typing import Any

import numpy as np

VOID = {"meta", "br", "link", "img", "input", "hr"}


IN_HOURS = {
    "run_dir": "runs/demo",
    "budget": {"gpu_hours": 1.0, "objective": None},
    "models": {"small": {"pool": {"actors": 2}}, "large": {"pool": {"actors": 3}}},
}


def scored() -> tuple[np.ndarray, np.ndarray]:
    """Predicted gain, and seconds that the large model takes longer, of 12,343 rows."""
    rng = np.random.default_rng(0)
    return rng.gamma(2, 0.07, 12_343) - 0.03, rng.lognormal(-0.35, 0.5, 12_343)


def finished() -> dict[str, Any]:
    """A finished run of 12,345 rows, 30 % of them routed, two without a translation, four fallbacks."""
    gains, _ = scored()
    threshold = float(np.sort(gains)[-3703])
    edges = np.linspace(gains.min(), gains.max(), 61)
    counts = {
        "small": np.histogram(gains[gains < threshold], edges)[0].tolist(),
        "large": np.histogram(gains[gains >= threshold], edges)[0].tolist(),
    }
    return {
        "title": "Translation run",
        "state": "done",
        "run_dir": "runs/demo",
        "version": "0.1.0",
        "seed": 7,
        "started": "2025-11-21T23:16:00+00:00",
        "finished": "2025-11-21T23:18:30+00:00",
        "config": {"run_dir": "runs/demo", "budget": {"fraction": 0.3, "rows": None}},
        "input": {"path": "corpus/", "files": 3, "rows": 12_345, "bytes": 1_234_567, "damaged_files": []},
        "models": {
            "small": {"engine": "hf", "path": "demo/small", "revision": None, "prompt": "demo"},
            "large": {"engine": "hf", "path": "demo/large", "revision": "v2", "prompt": "demo"},
        },
        "router": {
            "kind": "probe", "path": "demo/router", "unit": "gain", "held_out": {"rows": 1500, "spearman": 0.64},
        },
        "budget": {
            "asked": "fraction 0.3", "n_rows": 12_345, "n_eligible": 12_343, "k": 3703, "routed": 3703,
            "threshold": threshold, "entries": 1,
        },
        "models_used": {"small": 8644, "large": 3699, "none": 2},
        "fallbacks": 4,
        "quarantined": 2,
        "statuses": {
            "ok": {"rows": 12_343, "meaning": "translated"},
            "null_source": {"rows": 2, "meaning": "the source is null"},
        },
        "pairs": [
            {"pair": "en→de", "rows": 8000, "routed": 3000, "small": 5003, "large": 2997},
            {"pair": "en→ja", "rows": 4345, "routed": 703, "small": 3641, "large": 702},
        ],
        "gain_histogram": {"edges": edges.tolist(), **counts},
        "quality": {
            "metric": "chrF",
            "signature": "nrefs:1|case:mixed|nc:6",
            "by_model": {
                "all": {"rows": 12_343, "mean": 0.8134},
                "large": {"rows": 3699, "mean": 0.8421},
                "small": {"rows": 8644, "mean": 0.8011},
            },
        },
        "stages": [
            stage("score", 12_345, 31.0, 27.9, None),
            stage("translate, large", 3703, 66.0, 60.0, 60_000),
            stage("merge", 12_345, 4.0, None, None),
        ],
        "versions": {"python": "3.11.2", "ray": "2.60.0"},
    }  # fmt: skip


def stage(name: str, rows: int, wall_s: float, engine_s: float | None, tokens: int | None) -> dict[str, Any]:
    return {
        "name": name, "rows": rows, "rows_this_start": rows, "wall_s": wall_s, "rows_per_s": rows / wall_s,
        "engine_s": engine_s, "output_tokens": tokens,
    }  # fmt: skip


def finished_in_hours() -> dict[str, Any]:
    """The finished run under a budget of one GPU-hour, planned in three tranches, forecast and audited."""
    rows = finished()
    histogram = rows["gain_histogram"]
    gains, extra_s = scored()
    best = np.argsort(-gains / extra_s)
    small, large = (np.histogram(gains[part], histogram["edges"])[0].tolist() for part in (best[3703:], best[:3703]))
    return rows | {
        "config": IN_HOURS,
        "budget": rows["budget"] | {"asked": "gpu_hours 1.0", "entries": 3, "threshold": 0.1102},
        "gain_histogram": histogram | {"small": small, "large": large},
        "spend": {
            "unit": "gpu_s", "budget_s": 3600.0, "spent_s": 3541.2, "unspent_reason": "no eligible row above min_gain is left",
            "stages": [
                _spent("profile", 96.0, 41.0, 52.0, 2, 0), _spent("probe", 212.4, 38.0, 160.0, 2, 0),
                _spent("small", 804.8, 39.5, 731.0, 3, 1), _spent("large", 2318.0, 212.0, 2011.0, 5, 2),
                _spent("judge", 110.0, 22.0, 80.0, 1, 0),
            ],
        },
        "plan": [
            _entry(0, 1850, 0.2411, 1150.0, 1012.0, 352.0, None, None, 1190.0),
            _entry(1, 1203, 0.1790, 690.0, 655.0, 1611.0, 1.02, 1.18, 690.0),
            _entry(2, 650, 0.1434, 330.0, 341.0, 2301.0, 1.02, 1.12, 334.0),
        ],
        "forecast": forecast(),
        "route_reasons": {
            "gain": 3480, "memory": 20, "floor": 143, "paid": 40, "check": 20, "below_cut": 7801, "cap": 112, "min_gain": 480, "quality_predict": 139, "risk": 12,
            "quality_hypo": 89, "kept_small": 7, "not_scored": 2,
        },
        "audit": audit(),
        "promise": promise(),
    }  # fmt: skip


def dry_run() -> dict[str, Any]:
    """A dry run of the same budget: scored, forecast, stopped."""
    whole = finished()
    kept = (
        "title",
        "run_dir",
        "version",
        "seed",
        "started",
        "finished",
        "config",
        "input",
        "models",
        "router",
        "versions",
    )
    return {key: whole[key] for key in kept} | {
        "state": "dry run",
        "config": IN_HOURS,
        "budget": {"asked": "gpu_hours 1.0", "n_rows": 12_345, "n_eligible": 12_343},
        "stages": whole["stages"][:1],
        "spend": {
            "unit": "gpu_s", "budget_s": 3600.0, "spent_s": 308.4, "unspent_reason": None,
            "stages": [_spent("profile", 96.0, 41.0, 52.0, 2, 0), _spent("probe", 212.4, 38.0, 160.0, 2, 0)],
        },
        "plan": None, "forecast": forecast(), "route_reasons": None, "audit": None,
    }  # fmt: skip


def forecast() -> dict[str, Any]:
    """Rows by gain per second: the first win much, the last lose a little."""
    gains, extra_s = scored()
    n = len(gains)
    order = np.argsort(-gains / extra_s)
    won, spent = np.cumsum(gains[order]) / n, np.cumsum(extra_s[order])
    small_s, fixed_s = 760.0, 510.0

    def point(rows: int) -> dict[str, Any]:
        gain, more = (float(sums[rows - 1]) if rows else 0.0 for sums in (won, spent))
        return {"rows": rows, "share": rows / n, "gain_won": gain, "total_s": small_s + fixed_s + more}

    rows = int(np.searchsorted(spent, 3600 - small_s - fixed_s))
    asked = point(rows)
    small = small_s * (1 - rows / n)
    large = asked["total_s"] - fixed_s - small
    return {
        "unit": "gpu_s", "relative_error": 0.12,
        "all_small_s": small_s + fixed_s, "all_large_s": point(n)["total_s"], "fixed_s": fixed_s,
        "asked": {**asked, "small_s": small, "large_s": large, "wall_s": 1240.0},
        "stages": [
            {"name": "probe", "seconds": 212.4, "low": 212.4, "high": 212.4, "wall_s": 106.2},
            {"name": "small", "seconds": small, "low": 0.93 * small, "high": 1.07 * small, "wall_s": small / 2},
            {"name": "large", "seconds": large, "low": 0.86 * large, "high": 1.14 * large, "wall_s": large / 3},
        ],
        "pairs": [
            {"pair": "en→de", "rows": 7999, "routed": rows - 900, "gain_won": 0.0854},
            {"pair": "en→ja", "rows": 4344, "routed": 900, "gain_won": 0.0349},
        ],
        "frontier": [point(round(share * n)) for share in np.linspace(0, 1, 101)],
    }  # fmt: skip


def promise() -> dict[str, Any]:
    """A promise for two of three language pairs."""
    parts = {"rows": 260, "losses": 3, "bound": 0.0295, "held_rows": 251, "held_losses": 4}
    bad = {"threshold": None, "rows": 60, "losses": 9, "bound": 0.2459, "held_rows": 60, "held_losses": 11}
    groups = {"en→de": {"threshold": 0.11, **parts}, "en→ja": {"threshold": 0.14, **parts}, "en→zu": bad}
    facts = {"rate": 0.03, "loss": 0.05, "confidence": 0.95, "metric": "chrf", "source": "runs/audit", "audited": 1998}
    return facts | {"groups": groups, "rest": "small"}


def audit() -> dict[str, Any]:
    """An audit of 498 rows whose router ranks well and promises a little too much."""
    rng = np.random.default_rng(1)
    predicted = np.sort(rng.gamma(2, 0.07, 498) - 0.03)
    realised = 0.8 * predicted + rng.normal(0, 0.12, 498)
    routed = predicted >= 0.1434

    def mean(values: np.ndarray) -> dict[str, Any]:
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        return {
            "value": float(values.mean()),
            "ci_low": float(values.mean() - half),
            "ci_high": float(values.mean() + half),
        }

    tenths = []
    for part in np.array_split(np.arange(498), 10):
        cell = mean(realised[part])
        tenths.append({
            "low": float(predicted[part[0]]), "high": float(predicted[part[-1]]), "rows": len(part),
            "predicted": float(predicted[part].mean()), "realised": cell.pop("value"), **cell,
        })  # fmt: skip
    return {
        "metric": "chrf", "rows": 500, "measured": 498, "deciles": tenths,
        "spearman": {"value": 0.51, "ci_low": 0.44, "ci_high": 0.57},
        "mean_gain": mean(realised),
        "routed": {"rows": int(routed.sum()), **mean(realised[routed])},
        "not_routed": {"rows": int((~routed).sum()), **mean(realised[~routed])},
        "severe_loss": {"tau": 0.05, "routed": float((realised[routed] < -0.05).mean()), "all": float((realised < -0.05).mean())},
    }  # fmt: skip


def _spent(name: str, device_s: float, load_s: float, busy_s: float, incarnations: int, lost: int) -> dict[str, Any]:
    return {
        "name": name, "device_s": device_s, "load_s": load_s, "busy_s": busy_s, "incarnations": incarnations, "lost": lost,
    }  # fmt: skip


def _entry(
    number: int, rows: int, threshold: float, capacity_s: float, predicted_s: float, before_s: float,
    scale_small: float | None, scale_large: float | None, measured_s: float | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "entry": number, "tranche": number, "rows": rows, "threshold": threshold, "capacity_s": capacity_s,
        "predicted_s": predicted_s, "spent_before_s": before_s, "scale_small": scale_small, "scale_large": scale_large,
        "measured_s": measured_s,
    }  # fmt: skip


def planted(value: Any, evil: str) -> Any:
    """The same report with something nasty in every word and key that a user can choose."""
    if isinstance(value, dict):
        return {key: planted(item, evil) for key, item in value.items()}
    if isinstance(value, list):
        return [planted(item, evil) for item in value]
    return value + evil if isinstance(value, str) else value


class Page(HTMLParser):
    """A page taken apart: tags with attributes, text with blanks made one, style, and that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._words: list[str] = []
        self.style = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = " ".join(self._words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            self.style += data
        else:
            self._words += data.split()  # at no-break spaces, too

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]
