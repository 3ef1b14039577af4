"""Values that the page of a translate run shows of its budget and router, besides those of the report itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from routelmt_ray.evaluation.formats import count, device_time, duration, percent, points
from routelmt_ray.reports import audit_plots, budget_plots, budget_words, worth_words

_STAGES = ("profile", "probe", "small", "large", "judge", "loads", "unspent")
"""Pieces of the bar that the page draws each in its own style."""
_MOST_PAIRS_LISTED = 1000


def view(report: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the words, figures and table rows of the sections on spend, plan, forecast, reasons and audit.

    Args:
        report: the contents of ``report.json``, complete; see :func:`routelmt_ray.reports.summary.complete`.
    """
    shown: dict[str, Any] = {
        "dry": is_dry(report),
        "in_hours": in_hours(report),
        "by_cost": budget_words.by_cost(report["config"]),
        "guarded": bool((report["route_reasons"] or {}).keys() - {"gain", "below_cut", "not_scored"}),
    }
    reasons = worth_words.reason_rows(report["route_reasons"])
    shown |= {"reasons": reasons, "reason_total": sum(rows for *_, rows in reasons)}
    shown["replanned"] = budget_words.is_replanned(report["plan"])
    if report["spend"]:
        shown |= _spend(report["spend"])
    if shown["replanned"]:
        shown["plan_words"] = budget_words.plan_words(report["plan"])
        shown["plan_figure"] = Markup(budget_plots.plan_bars(report["plan"]))
    if report["forecast"]:
        shown |= _forecast(report)
    if report["audit"]:
        shown |= _audit(report["audit"], report["router"]["unit"] == "gain")
    return shown


def is_dry(report: Mapping[str, Any]) -> bool:
    """Tells whether the run was a dry run, which ends with its forecast."""
    return bool(report["state"] == "dry run")


def in_hours(report: Mapping[str, Any]) -> bool:
    """Tells whether the budget was asked for in device time."""
    return bool(report["spend"] and report["spend"]["budget_s"])


def _spend(spend: Mapping[str, Any]) -> dict[str, Any]:
    parts = budget_words.spend_parts(spend)
    return {
        "device": budget_words.device(spend["unit"]),
        "spent": budget_words.spent_words(spend),
        "unspent": budget_words.unspent_words(spend),
        "parts": [(key if key in _STAGES else "other", *rest) for key, *rest in parts],
        "lost": budget_words.lost_words(spend),
    }


def _forecast(report: Mapping[str, Any]) -> dict[str, Any]:
    forecast = report["forecast"]
    asked, error, pairs = forecast["asked"], forecast["relative_error"] or 0.0, forecast["pairs"]
    listed = sorted(pairs, key=lambda pair: (-pair["rows"], pair["pair"]))
    total = ""
    if asked:
        low, high = ((1 + side * error) * asked["total_s"] for side in (-1, 1))
        total = f"{device_time(low)} to {device_time(high)}"
    return {
        "device": budget_words.device(forecast["unit"]),
        "frontier": Markup(budget_plots.frontier(forecast)),
        "frontier_words": budget_words.frontier_words(forecast),
        "frontier_rows": budget_words.frontier_rows(forecast),
        "forecast_in_gain": any(point["gain_won"] is not None for point in forecast["frontier"]),
        "total_interval": total,
        "pools": _pools(report["config"]),
        "forecast_pairs": listed[:_MOST_PAIRS_LISTED],
        "forecast_pairs_left_out": max(0, len(listed) - _MOST_PAIRS_LISTED),
    }


def _pools(config: Mapping[str, Any]) -> str:
    """Describes the configured pools in words; empty where the configuration names none."""
    pools = [
        (size, config.get("models", {}).get(size, {}).get("pool", {}).get("actors")) for size in ("small", "large")
    ]
    named = [f"{count(actors, 'engine')} for the {size} model" for size, actors in pools if isinstance(actors, int)]
    return f" ({' and '.join(named)})" if named else ""


def _audit(audit: Mapping[str, Any], in_gain: bool) -> dict[str, Any]:
    names = {"routed": "Routed", "not_routed": "Left to the small model"}
    groups = [(words, audit[key]["rows"], audit[key]) for key, words in names.items() if audit[key]]
    return {
        "audit_in_gain": in_gain,
        "verdict": " ".join(worth_words.verdict(audit)),
        "measured": worth_words.measured_words(audit),
        "ranking": worth_words.ranking_words(audit),
        "severe": worth_words.severe_words(audit),
        "audit_figure": Markup(audit_plots.realised_gain(audit, in_gain=in_gain)),
        "audit_groups": [*groups, ("Any row", audit["measured"], audit["mean_gain"])],
    }


def dry_tiles(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Lists the key figures of a dry run, each with its name and a note."""
    budget, forecast = report["budget"], report["forecast"]
    yield "Rows", count(budget["n_rows"]), f"{count(budget['n_eligible'])} can be routed"
    if not forecast:
        return
    kind, asked = budget_words.device(forecast["unit"]), forecast["asked"]
    if not asked:
        yield "All-small", device_time(forecast["all_small_s"]), f"of {kind} time"
        yield "All-large", device_time(forecast["all_large_s"]), f"of {kind} time"
        return
    eligible = f"{percent(asked['rows'], budget['n_eligible'])} of the eligible rows"
    yield "Would go to the large model", count(asked["rows"]), eligible
    if asked["gain_won"] is not None:
        yield "Predicted rise, points", points(asked["gain_won"]), "of the mean quality over all-small"
    error = f" ± {100 * forecast['relative_error']:.0f} %" if forecast["relative_error"] else ""
    yield f"{kind} time", device_time(asked["total_s"]), f"the whole job{error}"
    yield "Wall time", duration(asked["wall_s"]), "with the pools configured"
