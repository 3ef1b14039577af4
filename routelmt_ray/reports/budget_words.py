"""Sentences on a budget in device time, for page and terminal: its spending, its plan, and what it would buy."""

from collections.abc import Mapping, Sequence
from typing import Any

from routelmt_ray.evaluation.formats import count, device_time, percent, points

_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Points of a frontier that a table shows, as shares of the rows of the frontier's last point."""


def device(unit: str) -> str:
    """Names the device of a cost unit: ``CPU`` for ``cpu…``, else ``GPU``."""
    return "CPU" if unit.startswith("cpu") else "GPU"


def spent_words(spend: Mapping[str, Any]) -> str:
    """Says in one sentence how much device time was spent and, under a budget in hours, out of how much."""
    spent, budget, kind = spend["spent_s"], spend["budget_s"], device(spend["unit"])
    if budget is None:
        return f"{device_time(spent)} of {kind} time spent; the budget is in rows and sets it no bound"
    words = f"{device_time(spent)} of {device_time(budget)} {kind} time spent ({percent(spent, budget)})"
    if spent <= budget:
        return words
    reasons = (spend.get("overspent") or {}).get("reasons") or []
    return f"{words}: {device_time(spent - budget)} too much" + (f"; {'; '.join(reasons)}" if reasons else "")


def unspent_words(spend: Mapping[str, Any]) -> str:
    """Says how much of a budget in hours is left, and why; empty where nothing is left."""
    reason = spend["unspent_reason"]
    left = 0.0 if spend["budget_s"] is None else spend["budget_s"] - spend["spent_s"]
    if left <= 0:
        return ""
    return f"{device_time(left)} left" + (f": {reason}" if reason else "")


def spend_parts(spend: Mapping[str, Any]) -> list[tuple[str, str, float, float]]:
    """Splits device time into the pieces of one bar: key, words, device-seconds, percent of the width.

    First come the stages without their model loads, then all loads, then what is left of a budget in hours.
    """
    parts = [(s["name"], s["name"], max(0.0, s["device_s"] - s["load_s"])) for s in spend["stages"]]
    parts.append(("loads", "model loads", sum(s["load_s"] for s in spend["stages"])))
    parts.append(("unspent", "not spent", max(0.0, (spend["budget_s"] or 0.0) - spend["spent_s"])))
    whole = sum(seconds for _, _, seconds in parts)
    return [(key, words, seconds, 100 * seconds / whole) for key, words, seconds in parts if seconds > 0]


def lost_words(spend: Mapping[str, Any]) -> str:
    """Says in one sentence how many engines were started and how many were lost; empty where none was started."""
    started, lost = (sum(s[key] for s in spend["stages"]) for key in ("incarnations", "lost"))
    if not started:
        return ""
    words = f"{count(started, 'engine')} {_were(started)} started"
    if not lost:
        return f"{words}, none was lost."
    return f"{words}, {count(lost)} {_were(lost)} lost with unfinished work; the time of that work is counted."


def _were(n: int) -> str:
    return "was" if n == 1 else "were"


def is_replanned(plan: Sequence[Mapping[str, Any]] | None) -> bool:
    """Tells whether there is a plan to show: more than one entry, and one of them planned in device time."""
    return plan is not None and len(plan) > 1 and any(entry["capacity_s"] is not None for entry in plan)


def plan_words(plan: Sequence[Mapping[str, Any]]) -> str:
    """Says in one sentence how far predicted seconds were off, first and last; empty where nothing was measured."""
    errors = [
        (i, entry["measured_s"] / entry["predicted_s"] - 1)
        for i, entry in enumerate(plan, 1)
        if entry["measured_s"] is not None and entry["predicted_s"]
    ]
    if not errors:
        return ""
    (first, error), (last, later) = errors[0], errors[-1]
    words = f"The rows of entry {first} took {_off(error)} than predicted"
    return f"{words}." if last == first else f"{words}, those of entry {last} took {_off(later)}."


def _off(error: float) -> str:
    return f"{percent(abs(error), 1)} {'less' if error < 0 else 'more'}"


def dry_headline(report: Mapping[str, Any]) -> str:
    """Says in one sentence what a budget would buy, and that nothing has been translated."""
    done = "Dry run: nothing has been translated"
    forecast, budget = report["forecast"], report["budget"]
    asked = forecast["asked"] if forecast else None
    if not budget["n_rows"]:
        return f"{done}; the corpus has no rows"
    if not asked:
        return f"{done}; what each budget would buy is below" if forecast and forecast["frontier"] else done
    share = percent(asked["rows"], budget["n_eligible"])
    rows = f"{count(asked['rows'], 'row')} ({share} of {count(budget['n_eligible'])} eligible)"
    cost = f"{device_time(asked['total_s'])} of {device(forecast['unit'])} time"
    gain = asked["gain_won"]
    bought = f"would buy a predicted {points(gain)} points" if gain is not None else "would be needed"
    return f"{done}; {cost} {bought}; {rows} to the large model"


def about(seconds: float, forecast: Mapping[str, Any]) -> str:
    """Formats a predicted device time with its uncertainty: ``38 min 20 s ± 12 %``."""
    error = forecast["relative_error"]
    return device_time(seconds) + (f" ± {100 * error:.0f} %" if error else "")


def frontier_rows(forecast: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Picks a few points of the frontier to choose a budget from, in rising order, the asked budget among them.

    Returns:
        For each point ``rows``, ``share``, ``gain_won``, ``total_s`` and ``asked`` (bool).
    """
    frontier, asked = forecast["frontier"], forecast["asked"]
    most = frontier[-1]["rows"] if frontier else 0
    nearest = [min(frontier, key=lambda point: abs(point["rows"] - share * most)) for share in _SHARES if frontier]
    keys = ("rows", "share", "gain_won", "total_s")
    chosen = {point["rows"]: {**{key: point[key] for key in keys}, "asked": False} for point in nearest}
    if asked:
        chosen[asked["rows"]] = {**{key: asked[key] for key in keys}, "asked": True}
    return [chosen[rows] for rows in sorted(chosen)]


def frontier_words(forecast: Mapping[str, Any]) -> str:
    """Says which budgets bring half and most of the predicted rise, and where more budget would do harm."""
    won = [point for point in forecast["frontier"] if point["gain_won"] is not None]
    best = max(won, key=lambda point: point["gain_won"], default=None)
    if best is None or best["gain_won"] <= 0:
        return "No budget is predicted to raise the mean quality." if won else ""
    kind = device(forecast["unit"])
    parts = []
    for share, words in ((0.5, "half"), (0.9, "nine tenths")):
        point = next(point for point in won if point["gain_won"] >= share * best["gain_won"])
        rows = percent(point["share"], 1)
        parts.append(f"{words} of it takes {device_time(point['total_s'])} ({rows} of the rows)")
    words = f"The highest predicted rise is {points(best['gain_won'])} points, at {device_time(best['total_s'])} of {kind} time; "
    words += ", ".join(parts) + "."
    last = won[-1]["gain_won"]
    if points(last) != points(best["gain_won"]):
        words += f" Rows beyond that are predicted to lose: with all of them the rise is {points(last)}."
    return words


def by_cost(config: Mapping[str, Any]) -> bool:
    """Tells whether rows were chosen by gain per extra second; the threshold is then not a gain."""
    budget = config.get("budget") or {}
    objective = budget.get("objective") or ("gain" if budget.get("gpu_hours") is None else "gain_per_cost")
    return bool(objective == "gain_per_cost")
