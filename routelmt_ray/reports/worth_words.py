"""Sentences on the worth of the router, for page and terminal: reasons of routes, and findings of an audit."""

from collections.abc import Mapping
from typing import Any

from routelmt_ray.config.guards import GUARDS
from routelmt_ray.evaluation.formats import count, percent, points

_DECISIONS = ("routed", "not routed", "no score")
_REASONS = {
    "gain": ("routed", "among the best rows that the budget covers"),
    "floor": ("routed", "below the cut, but its stratum had to reach its floor (budget.floors)"),
    "paid": ("routed", "an earlier budget has paid for its large translation"),
    "below_cut": ("not routed", "the budget went to better rows"),
    "cap": ("not routed", "its stratum had reached its cap (budget.caps)"),
    "min_gain": ("not routed", "too little gain predicted, at any budget (budget.min_gain)"),
    "not_scored": ("no score", "it cannot be translated, or the corpus brings no score for it"),
}
"""Every reason of a route but the guards', with what the plan decided and why."""


def reasons() -> dict[str, tuple[str, str]]:
    """Lists every reason of a route, with what the plan decided and why."""
    guards = {
        guard.reason: ("not routed" if guard.blocks else "routed", f"{guard.outcome} (guard.{name})")
        for name, guard in GUARDS.items()
    }
    return dict(sorted((_REASONS | guards).items(), key=lambda reason: _DECISIONS.index(reason[1][0])))


def reason_rows(counts: Mapping[str, int] | None) -> list[tuple[str, str, str, int]]:
    """Lists reason, decision, explanation and rows of each reason that has rows, routed ones first."""
    known = [(name, *words, (counts or {}).get(name, 0)) for name, words in reasons().items()]
    others = [(name, "", "", rows) for name, rows in (counts or {}).items() if name not in reasons()]
    return [row for row in [*known, *others] if row[3]]


def verdict(audit: Mapping[str, Any]) -> list[str]:
    """Says whether the router is worth its cost, as far as the audit can tell, in one to three sentences."""
    routed, left, random = audit["routed"], audit["not_routed"], audit["mean_gain"]
    if not audit["measured"] or random["value"] is None:
        return ["The audit measured no row, so nothing is known of what the router is worth."]
    if not routed or routed["value"] is None:
        return [
            "No row of the audit was routed, so what routing is worth is not known.",
            f"The large model gains {interval(random)} points on a random row.",
        ]
    rivals = [("a random row", random)]
    if left and left["value"] is not None:
        rivals.append(("a row left to the small model", left))
    gains = f"a routed row gains {interval(routed)} points, " + ", ".join(f"{who} {interval(r)}" for who, r in rivals)
    if any(_above(routed, rival) for _, rival in rivals):
        words = [f"The router earns its keep: {gains}."]
    elif any(_above(rival, routed) for _, rival in rivals):
        words = [f"The router does harm: {gains}.", "Rows chosen at random would have gained more."]
    else:
        words = [
            f"The audit cannot tell whether the router earns its keep: {gains}.",
            "The intervals overlap; a larger audit.rows would make them narrower.",
        ]
    if routed["ci_high"] is not None and routed["ci_high"] < 0:
        words.append("On the rows routed to it the large model is worse than the small one.")
    elif routed["ci_low"] is not None and routed["ci_low"] <= 0:
        words.append("It is not sure that the large model is better at all on the rows routed to it.")
    return words


def ranking_words(audit: Mapping[str, Any]) -> str:
    """Says what Spearman's coefficient tells about the order of the rows."""
    rho = audit["spearman"]
    if rho["value"] is None:
        return "Spearman's coefficient of predicted and realised gain is undefined"
    ends = (_rho(rho["ci_low"]), _rho(rho["ci_high"]))
    words = f"Spearman of predicted and realised gain is {_rho(rho['value'])} [{ends[0]}, {ends[1]}]"
    if rho["ci_low"] is None or rho["ci_high"] is None:
        return f"Spearman of predicted and realised gain is {_rho(rho['value'])}"
    if rho["ci_low"] > 0:
        return f"{words}: the order is better than chance"
    return f"{words}: the order is {'worse than' if rho['ci_high'] < 0 else 'not surely better than'} chance"


def severe_words(audit: Mapping[str, Any]) -> str:
    """Says how often the large model is much worse, on all rows and on routed rows; empty where that is not known."""
    loss = audit["severe_loss"]
    if not loss or loss["all"] is None:
        return ""
    tau = f"{100 * loss['tau']:g} points"
    words = f"On {percent(loss['all'], 1)} of all rows the large model loses more than {tau}"
    return words if loss["routed"] is None else f"{words}; among routed rows on {percent(loss['routed'], 1)}"


def measured_words(audit: Mapping[str, Any]) -> str:
    """Says how many rows the audit measured, and with which metric."""
    rows = f"{count(audit['measured'])} of {count(audit['rows'], 'random row')}"
    return f"{rows}, translated by both models and measured by {audit['metric']}"


def interval(cell: Mapping[str, Any]) -> str:
    """Formats a gain in points with its 95 % interval, where it has one: ``+4.10 [+3.20, +5.00]``."""
    value = points(cell["value"])
    if cell["ci_low"] is None or cell["ci_high"] is None:
        return value
    return f"{value} [{points(cell['ci_low'])}, {points(cell['ci_high'])}]"


def _above(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tells whether one interval lies wholly above the other."""
    ends = one["ci_low"], other["ci_high"]
    return None not in ends and ends[0] > ends[1]


def _rho(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")
