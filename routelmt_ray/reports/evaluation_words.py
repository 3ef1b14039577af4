"""Names, number formats and orders that the tables, page and terminal summary of an evaluation share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routelmt_ray.budget import rows_for_fraction
from routelmt_ray.evaluation.formats import percent

UNDEFINED = "undefined"
MEASURES = {
    "spearman": "Spearman",
    "hit_rate": "HitRate",
    "mean_delta": "MeanDelta",
    "pgr": "PGR",
    "severe_loss": "Severe loss",
    "caught": "Caught",
    "apgr": "APGR",
    "cpt": "CPT",
    "area_calls": "Area: calls",
    "area_characters": "Area: characters",
    "area_seconds": "Area: seconds",
}
"""Names of the measures, by the part of a key before the ``@``."""
_PERCENT = {"hit_rate", "severe_loss", "caught", "cpt"}


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


def mean_quality(result: Mapping[str, Any], name: str) -> float:
    """Computes the mean quality of the whole set where a scorer spends the headline budget."""
    p, rows = result["p"], result["input"]["rows"]
    won = result["overall"][name][f"mean_delta@{p:g}"]["value"] / 100
    return float(result["systems"]["all_small"] + rows_for_fraction(p, rows) / rows * won)


def share_of_seconds(result: Mapping[str, Any]) -> float:
    """Finds the share of the extra seconds of all-large that is nearest to the headline budget and on the grid."""
    grid = result["grid"]
    return float(min(grid, key=lambda share: abs(share - result["p"])))


def quality_for_seconds(result: Mapping[str, Any], name: str) -> float:
    """Computes the mean quality of the whole set where a scorer spends that share of the extra seconds."""
    at = result["grid"].index(share_of_seconds(result))
    return float(result["systems"]["all_small"] + result["curves"]["seconds"][name]["quality"][at])


def sample_words(samples: Sequence[Mapping[str, Any]]) -> list[tuple[str]]:
    """Says the true gain of each row of the sample."""
    return [(f"true gain {row['gain']:+.2f}",) for row in samples]


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
    caught = [f"caught@{p}"] if f"caught@{p}" in result["overall"][result["reference"]] else []
    return ["spearman", f"hit_rate@{p}", f"mean_delta@{p}", f"pgr@{p}", f"severe_loss@{p}", *caught, *areas]


def all_keys(result: Mapping[str, Any]) -> list[str]:
    """Lists the keys of all measures, in the order of :data:`MEASURES`."""
    keys = result["overall"][result["ranking"][0]]
    order = list(MEASURES)
    return sorted(keys, key=lambda key: (order.index(key.partition("@")[0]), key))


def flat(result: Mapping[str, Any], table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[Sequence[Any]]:
    """Flattens a table into long rows: scorer, measure, then the numbers of the cell."""
    for name, measured in table.items():
        for key, cell in measured.items():
            yield (name, key, *cell.values())


def at_budget(keys: Sequence[str], p: float) -> list[str]:
    """Picks the keys of measures at one budget."""
    return [key for key in keys if key.endswith(f"@{p:g}") and not key.startswith("cpt")]


def over_budgets(keys: Sequence[str]) -> list[str]:
    """Picks the keys of measures over all budgets."""
    return [key for key in keys if "@" not in key or key.startswith("cpt")]
