"""Derives further facts for the reports of a translate run from the numbers of report.json."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from routelmt_ray.budget.cost import is_money
from routelmt_ray.config.guards import GUARDS
from routelmt_ray.evaluation import formats

_DECISIONS = ("routed", "not routed", "no score")
_REASONS = {
    "gain": ("routed", "among the best rows that the budget covers"),
    "floor": ("routed", "below the cut, but its stratum had to reach its floor (budget.floors)"),
    "memory": ("routed", "its large translation is in the memory of earlier runs, and costs nothing (memory.path)"),
    "paid": ("routed", "an earlier budget has paid for its large translation"),
    "check": ("routed", "its small translation fails a check (checks.action)"),
    "below_cut": ("not routed", "the budget went to better rows"),
    "cap": ("not routed", "its stratum had reached its cap (budget.caps)"),
    "min_gain": ("not routed", "too little gain predicted, at any budget (budget.min_gain)"),
    "not_scored": ("no score", "it cannot be translated, or the corpus brings no score for it"),
}
"""Every reason of a route but the guards', with what the plan decided and why."""
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Points of a frontier that a table shows, as shares of the rows of the frontier's last point."""
_STAGES = ("profile", "probe", "small", "large", "judge", "loads", "unspent")
"""Pieces of the bar of device time that the page draws each in its own style."""


def complete(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the report with every key that readers expect; missing values are empty.

    Reports of earlier versions have no device time, forecasts or audits; the report of a dry run has no results.
    """
    nothing: dict[str, Any] = {
        **dict.fromkeys(
            ("spend", "plan", "forecast", "account", "route_reasons", "audit", "promise", "quality", "repeats", "memory")
        ),
        "models_used": {"small": 0, "large": 0, "none": 0},
        "gain_histogram": {"edges": [], "small": [], "large": []},
        "statuses": {}, "pairs": [], "stages": [], "deaths": [], "checks": [], "samples": [], "fallbacks": 0, "quarantined": 0,
    }  # fmt: skip
    given = {key: value for key, value in report.items() if value is not None}
    rows = {"n_rows": report["input"]["rows"], "n_eligible": 0, "k": 0, "routed": 0, "threshold": None, "entries": 1}
    asked = {key: value for key, value in report["budget"].items() if value is not None}
    rows["eligible_rows"] = asked.get("n_eligible", 0)
    corpus = {"unread": {"files": 0, "counted": 0, "named": []}, "ids": None} | report["input"]
    return {**nothing, **given, "input": corpus, "budget": {**rows, **asked}}


def translators(used: Mapping[str, int]) -> list[tuple[str, str, int, float]]:
    """Splits the rows by translator into the pieces of one bar: style, words, rows, percent of the width."""
    words, whole = {"large": "large model", "small": "small model", "none": "not translated"}, sum(used.values())
    return [(key, words[key], used[key], 100 * used[key] / whole) for key in words if used[key]]


def device(unit: str) -> str:
    """Names the device of a cost unit: ``CPU`` for ``cpu…``, else ``GPU``."""
    return "CPU" if unit.startswith("cpu") else "GPU"


def of_time(unit: str) -> str:
    """Says what an amount of a unit is of: ``of GPU time``; nothing for money."""
    return "" if is_money(unit) else f" of {device(unit)} time"


def cost_name(unit: str) -> str:
    """Names the kind of cost that a unit counts: ``GPU time`` or ``money``."""
    return "money" if is_money(unit) else f"{device(unit)} time"


def budget_key(unit: str) -> str:
    """Names the key of a budget in this unit."""
    return "budget.money" if is_money(unit) else "budget.gpu_hours"


def spent_and_limit(spend: Mapping[str, Any]) -> tuple[float, float | None, str]:
    """Looks up what is spent, the budget or None, and their unit: money for a budget in money, else device-seconds."""
    money = spend.get("money")
    if money and money["budget"] is not None:
        return money["spent"], money["budget"], money["currency"]
    return spend["spent_s"], spend["budget_s"], spend["unit"]


def spend_parts(spend: Mapping[str, Any]) -> list[tuple[str, str, float, float]]:
    """Splits device time into the pieces of one bar: style, words, device-seconds, percent of the width.

    First come the stages without their model loads, then all loads, then what is left of a budget in hours.
    """
    parts = [(s["name"], max(0.0, s["device_s"] - s["load_s"])) for s in spend["stages"]]
    parts.append(("loads", sum(s["load_s"] for s in spend["stages"])))
    parts.append(("unspent", max(0.0, (spend["budget_s"] or 0.0) - spend["spent_s"])))
    whole, words = sum(seconds for _, seconds in parts), {"loads": "model loads", "unspent": "not spent"}
    return [
        (name if name in _STAGES else "other", words.get(name, name), seconds, 100 * seconds / whole)
        for name, seconds in parts
        if seconds > 0
    ]


def served(spend: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Lists the stages whose model is run by a server; reports of earlier versions have none."""
    return [stage for stage in spend["stages"] if stage.get("usage")]


def is_replanned(plan: Sequence[Mapping[str, Any]] | None) -> bool:
    """Tells whether there is a plan to show: more than one entry, and one of them planned in device time."""
    return plan is not None and len(plan) > 1 and any(entry["capacity_s"] is not None for entry in plan)


def plan_errors(plan: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Computes how far predicted seconds were off: number of the entry from 1, and measured ÷ predicted − 1."""
    return [
        (number, entry["measured_s"] / entry["predicted_s"] - 1)
        for number, entry in enumerate(plan, 1)
        if entry["measured_s"] is not None and entry["predicted_s"]
    ]


def by_cost(config: Mapping[str, Any]) -> bool:
    """Tells whether rows were chosen by gain for their extra cost; the threshold is then not a gain."""
    budget = config.get("budget") or {}
    by_cost = any(budget.get(key) is not None for key in ("gpu_hours", "money"))
    objective = budget.get("objective") or ("gain_per_cost" if by_cost else "gain")
    return bool(objective == "gain_per_cost")


def per(config: Mapping[str, Any]) -> str:
    """Names what gain is divided by where :func:`by_cost`: a `second`, or a unit of the currency."""
    in_money = (config.get("budget") or {}).get("money") is not None
    return str(config["price"]["currency"]) if in_money else "second"


def by_occurrences(report: Mapping[str, Any]) -> bool:
    """Tells whether segments were chosen by the gain of all rows that they occur in; the threshold is then not a gain."""
    return bool(report["repeats"]) and bool(report["router"]["unit"] == "gain")


def pools(config: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Lists the models whose pool has a fixed number of actors, with this number."""
    models = config.get("models", {})
    actors = [(size, models.get(size, {}).get("pool", {}).get("actors")) for size in ("small", "large")]
    return [(size, number) for size, number in actors if isinstance(number, int)]


def frontier_rows(forecast: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Picks a few points of the frontier to choose a budget from, in rising order; `asked` marks the asked budget."""
    frontier, asked = forecast["frontier"], forecast["asked"]
    most = frontier[-1]["rows"] if frontier else 0
    nearest = [min(frontier, key=lambda point: abs(point["rows"] - share * most)) for share in _SHARES if frontier]
    keys = ("rows", "share", "gain_won", "total_s")
    chosen = {point["rows"]: {**{key: point[key] for key in keys}, "asked": False} for point in nearest}
    if asked:
        chosen[asked["rows"]] = {**{key: asked[key] for key in keys}, "asked": True}
    return [chosen[rows] for rows in sorted(chosen)]


def cheapest(forecast: Mapping[str, Any], share: float) -> Mapping[str, Any] | None:
    """Finds the first point of the frontier with this share of the highest predicted rise; None where nothing rises."""
    won = [point for point in forecast["frontier"] if point["gain_won"] is not None]
    best = max((point["gain_won"] for point in won), default=0.0)
    return next(point for point in won if point["gain_won"] >= share * best) if best > 0 else None


def in_gain(forecast: Mapping[str, Any]) -> bool:
    """Tells whether the forecast says what each budget would gain; some scores only rank rows."""
    return any(point["gain_won"] is not None for point in forecast["frontier"])


def check_rates(check: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Lists model, failed rows and rows with a verdict of a check, the small model first; models without rows are left out."""
    models = check["models"]
    return [(size, models[size]["failed"], models[size]["judged"]) for size in ("small", "large") if size in models]


def failed_checks(checks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Lists the checks that some rows failed, in the order of the table."""
    return [check for check in checks if any(failed for _, failed, _ in check_rates(check))]


def reasons() -> dict[str, tuple[str, str]]:
    """Lists every reason of a route, with what the plan decided and why."""
    guards = {
        guard.reason: ("not routed" if guard.blocks else "routed", f"{guard.outcome} (guard.{name})")
        for name, guard in GUARDS.items()
    }
    return dict(sorted((_REASONS | guards).items(), key=lambda reason: _DECISIONS.index(reason[1][0])))


def guarded(counts: Mapping[str, int] | None) -> int:
    """Counts the rows that a guard keeps from the large model."""
    return sum((counts or {}).get(guard.reason, 0) for guard in GUARDS.values() if guard.blocks)


def reason_rows(counts: Mapping[str, int] | None) -> list[tuple[str, str, str, int]]:
    """Lists reason, decision, explanation and rows of each reason that has rows, routed ones first."""
    known = [(name, *words, (counts or {}).get(name, 0)) for name, words in reasons().items()]
    others = [(name, "", "", rows) for name, rows in (counts or {}).items() if name not in reasons()]
    return [row for row in [*known, *others] if row[3]]


def sample_words(samples: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Explains for each row of the sample why it was routed or not, and any fault of its translation."""
    why = reasons()
    return [
        (why.get(row["route_reason"], ("", ""))[1], "" if row["status"] == "ok" else row["status"]) for row in samples
    ]


def promised(promise: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Selects the groups of rows that something is promised about, by name: `all`, or language pairs."""
    return {name: found for name, found in promise["groups"].items() if found["threshold"] is not None}


def audit_verdict(audit: Mapping[str, Any]) -> str:
    """Judges by the intervals of the audit what routed rows gain beside others: ``more``, ``less`` or ``unsure``."""

    def above(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        ends = one["ci_low"], other["ci_high"]
        return None not in ends and ends[0] > ends[1]

    routed, left = audit["routed"], audit["not_routed"]
    rivals = [audit["mean_gain"], *([left] if left and left["value"] is not None else [])]
    if any(above(routed, rival) for rival in rivals):
        return "more"
    return "less" if any(above(rival, routed) for rival in rivals) else "unsure"


def interval(cell: Mapping[str, Any]) -> str:
    """Formats a gain in points with its 95 % interval, where it has one: ``+4.10 [+3.20, +5.00]``."""
    value = formats.points(cell["value"])
    if cell["ci_low"] is None or cell["ci_high"] is None:
        return value
    return f"{value} [{formats.points(cell['ci_low'])}, {formats.points(cell['ci_high'])}]"


def is_resumed(report: Mapping[str, Any]) -> bool:
    """Tells whether an earlier start did part of the work."""
    return any(stage["rows_this_start"] < stage["rows"] for stage in report["stages"])


def elapsed_s(report: Mapping[str, Any]) -> float | None:
    """Computes the seconds from start to finish; None where they are not known."""
    try:
        started, finished = (datetime.fromisoformat(report[key]) for key in ("started", "finished"))
        seconds = (finished - started).total_seconds()
    except (TypeError, ValueError):
        return None
    return seconds if seconds > 0 else None


def leaves(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Lists the leaves of a nested dict with dotted names; numbers are shortened."""
    found: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += leaves(value, f"{above}{key}.")
        else:
            shown = formats.number(value) if isinstance(value, float) else value
            shown = formats.count(shown) if isinstance(shown, int) and not isinstance(shown, bool) else shown
            found.append((f"{above}{key}", str(shown)))
    return found


def by_rows(statuses: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Sorts statuses of rows: first ``ok``, then the most frequent."""
    return sorted(statuses.items(), key=lambda item: (item[0] != "ok", -item[1]["rows"], item[0]))


def quality_rows(quality: Mapping[str, Any] | None) -> list[tuple[str, int, float]]:
    """Lists name, rows and mean quality of each model that has rows, after those of all rows."""
    names, by_model = (
        {"all": "All rows", "small": "Small model", "large": "Large model"},
        (quality or {"by_model": {}})["by_model"],
    )
    order = [*(name for name in names if name in by_model), *(name for name in by_model if name not in names)]
    return [(names.get(n, n), by_model[n]["rows"], by_model[n]["mean"]) for n in order if by_model[n]["rows"]]
