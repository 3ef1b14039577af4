"""Words and number formats that the tables, report and terminal summary of an evaluation share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routelmt_ray.budget import rows_for_fraction
from routelmt_ray.evaluation.axes import CALLS
from routelmt_ray.evaluation.formats import percent

UNDEFINED = "undefined"
MEASURES = {
    "spearman": "Spearman",
    "hit_rate": "HitRate",
    "mean_delta": "MeanDelta",
    "pgr": "PGR",
    "severe_loss": "Severe loss",
    "apgr": "APGR",
    "cpt": "CPT",
    "area_calls": "Area: calls",
    "area_characters": "Area: characters",
    "area_seconds": "Area: seconds",
}
"""Names of the measures, by the part of a key before the ``@``."""
_PERCENT = {"hit_rate", "severe_loss", "cpt"}


def measure_name(key: str) -> str:
    """Names a measure for readers: ``hit_rate@0.3`` becomes ``HitRate@0.3``."""
    name, _, at = key.partition("@")
    if name == "cpt":
        return f"CPT({float(at):.0%})"
    return MEASURES[name] + (f"@{at}" if at else "")


def shown(key: str, value: float | None, sign: bool = False) -> str:
    """Formats a value of a measure: shares of rows in percent, MeanDelta in points, all others with three decimals."""
    if value is None:
        return UNDEFINED
    name = key.partition("@")[0]
    mark = "+" if sign and value > 0 else ""
    if name in _PERCENT:
        text = f"{mark}{100 * value:.1f}"
    elif name == "mean_delta":
        text = f"{mark}{value:.2f}"
    else:
        text = f"{mark}{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{mark}{value:.3f}"
    text = text.replace("-", "−")
    return text[1:] if text in ("−.000", "−0.0", "−0.00") else text


def interval_words(key: str, cell: Mapping[str, Any], sign: bool = False) -> str:
    """Formats an interval as ``[.41, .47]``; empty where there is none or both ends look the same."""
    low, high = (shown(key, cell[end], sign) for end in ("low", "high"))
    return "" if cell["low"] is None or low == high else f"[{low}, {high}]"


def titles(result: Mapping[str, Any]) -> dict[str, str]:
    """Maps the name of each scorer to its title."""
    return {s["name"]: s["title"] for s in result["scorers"]}


def headline(result: Mapping[str, Any]) -> str:
    """Says which scorer wins, among those that decide before anything is translated, and by how much."""
    p, names = result["p"], titles(result)
    key, share = f"mean_delta@{p:g}", share_words(p)
    first = result["leader"]["name"]
    if result["systems"]["gain_sd"] == 0:
        return "No winner: every row has the same gain"
    if first == "random":
        return f"No scorer beats a random order at {share} of the calls"
    won = result["overall"][first][key]
    recovered = result["overall"][first][f"pgr@{p:g}"]["value"]
    words = f"{names[first]} routes best: with {share} of the calls it wins {shown(key, won['value'])} points a call"
    if recovered is not None:
        words += f", {share_words(recovered)} of what all-large wins"
    return f"{words}; {rival(result)}"


def rival(result: Mapping[str, Any]) -> str:
    """Says how far the winner is ahead of the next best, and whether that is sure."""
    key, names = f"mean_delta@{result['p']:g}", titles(result)
    second = result["leader"]["second"]
    cell = result["leader"]["paired"][second][key]
    ahead = f"ahead of {names[second]} by {shown(key, cell['value'])}"
    if cell["low"] is None:
        return f"{ahead}, how surely cannot be told"
    sure = "" if cell["low"] > 0 else "not surely "
    return f"{sure}{ahead} {interval_words(key, cell)}".rstrip()


def cascade_words(result: Mapping[str, Any]) -> str:
    """Says which cascade beats the winner and what it wins; empty where none does."""
    key, names = f"mean_delta@{result['p']:g}", titles(result)
    best = result["ranking"][0]
    if best == result["leader"]["name"]:
        return ""
    value = result["overall"][best][key]["value"]
    return (
        f"{names[best]} wins more, {shown(key, value)} points a call, but can only speak once the small model has "
        "translated every row: compare it on the axis of seconds."
    )


def over_all_budgets(result: Mapping[str, Any]) -> str:
    """Names the best scorer over every budget of each axis; where rows cost unequally, the cheapest-first order too."""
    names, parts = titles(result), []
    for axis, name in result["best_by_axis"].items():
        key = f"area_{axis}"
        cell = result["overall"][name][key]
        if cell["value"] is not None:
            figure = f"{shown(key, cell['value'])} {interval_words(key, cell)}".rstrip()
            if axis != CALLS and name != "constant":
                figure += f" (cheapest first {shown(key, result['overall']['constant'][key]['value'])})"
            parts.append(f"{names[name]} in {axis}, {figure}")
    if not parts:
        return ""
    return "Best over every budget (normalised area: random 0, oracle 1): " + "; ".join(parts) + "."


def quality_line(result: Mapping[str, Any]) -> str:
    """Lists the mean quality of the whole set: all-small, the headline budget, all-large.

    The headline budget is spent at random, by the reference scorer and by the gain oracle.
    """
    p, names, systems = result["p"], titles(result), result["systems"]
    rows = result["input"]["rows"]
    share = rows_for_fraction(p, rows) / rows

    def routed(name: str) -> float:
        return float(systems["all_small"] + share * result["overall"][name][f"mean_delta@{p:g}"]["value"] / 100)

    at_budget = {"random": "random", names[result["reference"]].lower(): result["reference"], "oracle": "gain_oracle"}
    parts = [f"{title} {shown('quality', routed(name))}" for title, name in at_budget.items()]
    ends = (shown("quality", systems["all_small"]), shown("quality", systems["all_large"]))
    return (
        f"Mean {result['metric']}: all-small {ends[0]}; with {share_words(p)} of the calls to the large model "
        f"{', '.join(parts)}; all-large {ends[1]}"
    )


def share_words(value: float) -> str:
    """Formats a share as ``30 %`` or ``46.8 %``."""
    return percent(value, 1).replace(".0 ", " ")


def rows_in_order(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Sorts scorers as tables list them: oracles first, then by MeanDelta at the headline budget."""
    by_name = {s["name"]: s for s in result["scorers"]}
    oracles = [s for s in result["scorers"] if s["family"] == "oracle"]
    return [*oracles, *(by_name[name] for name in result["ranking"])]


def headline_keys(result: Mapping[str, Any]) -> list[str]:
    """Lists the keys of the measures in the headline table."""
    p = f"{result['p']:g}"
    areas = [f"area_{axis}" for axis in result["axes"]]
    return ["spearman", f"hit_rate@{p}", f"mean_delta@{p}", f"pgr@{p}", f"severe_loss@{p}", *areas]


def all_keys(result: Mapping[str, Any]) -> list[str]:
    """Lists the keys of all measures, in the order of :data:`MEASURES`."""
    keys = result["overall"][result["ranking"][0]]
    order = list(MEASURES)

    return sorted(keys, key=lambda key: (order.index(key.partition("@")[0]), key))


def charges(scorer: Mapping[str, Any]) -> str:
    """Says in words what a scorer costs besides the large model's calls."""
    if scorer["family"] == "oracle":
        return "cannot be had"
    milliseconds = f"{1000 * scorer['seconds_a_row']:.2g} ms a row"
    if scorer["cascade"]:
        return "decodes small everywhere" + (f", {milliseconds}" if scorer["seconds_a_row"] else "")
    return milliseconds if scorer["seconds_a_row"] else "nothing"


def flat(result: Mapping[str, Any], table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[Sequence[Any]]:
    """Flattens a table into long rows: scorer, measure, then the numbers of the cell."""
    for name, measured in table.items():
        for key, cell in measured.items():
            yield (name, key, *cell.values())
