"""The report of a translate run as one self-contained HTML file."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from routelmt_ray.evaluation import formats
from routelmt_ray.reports import budget_view, budget_words, plots, summary

_TEMPLATE = "run_report.html.jinja"
_MOST_PAIRS_LISTED = 4000
_MOST_FILES_LISTED = 100
_AXES = {
    "gain": "predicted gain",
    "characters": "length of the source, characters",
    "draw": "random draw",
    "user score": "score the corpus brings",
}


def render_html(report: Mapping[str, Any]) -> str:
    """Renders the report of a translate run as an HTML page.

    The page has its style and figures inside, runs no script and loads nothing; its content security policy enforces
    this. Any text from the corpus or the config is escaped.

    Args:
        report: the contents of ``report.json``.

    Returns:
        The HTML document. The same report gives the same bytes.
    """
    report = summary.complete(_cleaned(report))
    return _environment().get_template(_TEMPLATE).render(r=report, **_view(report))


def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": formats.count,
        "number": formats.number,
        "rate": formats.rate,
        "duration": lambda seconds: _unbroken(formats.duration(seconds)),
        "device_time": formats.device_time,
        "device_hours": formats.device_hours,
        "points": formats.points,
        "scale": lambda factor: "–" if factor is None else f"×{factor:.2f}",
        "share": lambda part, whole: _unbroken(formats.percent(part, whole)),
        "size": _size,
        "moment": _moment,
    }
    return environment


def _view(report: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the values that the page shows besides those of the report itself."""
    budget, pairs, damaged = report["budget"], report["pairs"], report["input"]["damaged_files"]
    unit = report["router"]["unit"]
    axis = _AXES.get(unit, unit)
    listed = plots.largest_pairs(pairs)
    threshold = None if budget_words.by_cost(report["config"]) else budget["threshold"]
    return {
        "headline": _unbroken(summary.headline(report)),
        "v": budget_view.view(report),
        "tiles": list(budget_view.dry_tiles(report) if budget_view.is_dry(report) else _tiles(report)),
        "bar": _translators(report),
        "notices": list(_notices(report)),
        "axis": axis,
        "histogram": Markup(plots.gain_histogram(report["gain_histogram"], threshold=threshold, label=axis)),
        "pair_figure": Markup(plots.routed_share(pairs)),
        "pairs": listed[:_MOST_PAIRS_LISTED],
        "pairs_left_out": max(0, len(listed) - _MOST_PAIRS_LISTED),
        "pairs_not_drawn": max(0, len(listed) - plots.MOST_PAIRS),
        "statuses": sorted(report["statuses"].items(), key=lambda item: (item[0] != "ok", -item[1]["rows"], item[0])),
        "quality": _quality(report["quality"]),
        "resumed": _resumed(report),
        "held_out": _flat(report["router"]["held_out"] or {}),
        "config": yaml.safe_dump(report["config"], sort_keys=False, allow_unicode=True, width=100).rstrip(),
        "damaged": damaged[:_MOST_FILES_LISTED],
        "unread": unread if (unread := report["input"].get("unread", {})).get("files") else None,
        "damaged_left_out": max(0, len(damaged) - _MOST_FILES_LISTED),
        "colours": {"small": plots.SMALL_COLOUR, "large": plots.LARGE_COLOUR, "none": plots.NONE_COLOUR},
        "fonts": Markup(plots.FONTS),
    }


def _tiles(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Lists the key figures, each with its name and a note."""
    budget, corpus = report["budget"], report["input"]
    yield "Rows", formats.count(budget["n_rows"]), f"{formats.count(corpus['files'], 'file')}, {_size(corpus['bytes'])}"
    of = [] if budget_view.in_hours(report) else [f"of {formats.count(budget['k'])} allowed"]
    if budget["n_eligible"]:
        of.append(f"{formats.percent(budget['routed'], budget['n_eligible'])} of the eligible rows")
    yield "Routed to the large model", formats.count(budget["routed"]), "; ".join(of)
    yield _budget_tile(report)
    lost = "every row is translated" if budget["n_rows"] else "nothing to set aside"
    if report["quarantined"]:
        lost = f"{formats.percent(report['quarantined'], budget['n_rows'])} of the rows, kept whole"
    yield "Quarantined", formats.count(report["quarantined"]), lost
    seconds = _elapsed(report)
    if _resumed(report) or not budget["n_rows"] or not seconds:
        earlier = "the rest was done by an earlier start" if _resumed(report) else "from start to report"
        yield "Time of this start", formats.duration(seconds), earlier
    else:
        yield "Throughput", f"{formats.rate(budget['n_rows'] / seconds)} rows/s", f"{formats.duration(seconds)} in all"
    quality = (report["quality"] or {"by_model": {}})["by_model"].get("all")
    if quality and quality["rows"]:
        rows = f"mean of {formats.count(quality['rows'], 'row')} with a reference"
        yield f"{report['quality']['metric']}, 0 to 1", f"{quality['mean']:.3f}", rows


def _budget_tile(report: Mapping[str, Any]) -> tuple[str, str, str]:
    budget, spend = report["budget"], report["spend"]
    if budget_view.in_hours(report):
        used = f"{formats.percent(spend['spent_s'], spend['budget_s'])} of it spent: {formats.device_time(spend['spent_s'])}"
        asked = formats.device_time(spend["budget_s"])
        return f"Budget, {budget_words.device(spend['unit'])} time", asked, used
    used = f"{formats.percent(budget['routed'], budget['k'])} of it spent" if budget["k"] else "allows no row"
    return "Budget", budget["asked"], f"{used}; plan entry {budget['entries']}" if budget["entries"] > 1 else used


def _notices(report: Mapping[str, Any]) -> Iterator[str]:
    if budget_view.is_dry(report):
        yield "This was a dry run: the rows were scored, none was translated, and there is no output."
    elif report["state"] != "done":
        yield f"This run is not finished: its state is “{report['state']}”."
    if damaged := len(report["input"]["damaged_files"]):
        yield f"{formats.count(damaged, 'input file')} could not be read to the end; see “Damaged input files” below."
    if words := summary.unread_words(report["input"]):
        yield f"{words[0].upper()}{words[1:]}; see “Files that are not read” below."
    if words := summary.id_words(report["input"].get("ids")):
        yield f"Ids: {words}."
    if report["deaths"]:
        words = summary.death_words(report["deaths"])
        yield f"{words[0].upper()}{words[1:]}."
    if report["fallbacks"]:
        verb = "was" if report["fallbacks"] == 1 else "were"
        yield (
            f"{formats.count(report['fallbacks'], 'routed row')} {verb} translated by the small model, because the "
            "large model failed."
        )


def _translators(report: Mapping[str, Any]) -> list[tuple[str, str, int, float]]:
    """Splits the rows by translator into the pieces of one bar: key, words, rows, percent of the width."""
    used = report["models_used"]
    whole = sum(used.values())
    words = {"large": "large model", "small": "small model", "none": "not translated"}
    return [(key, words[key], used[key], 100 * used[key] / whole) for key in words if used[key]]


def _quality(quality: Mapping[str, Any] | None) -> list[tuple[str, int, float]]:
    """Lists name, rows and mean quality of each model that has rows, after those of all rows."""
    if not quality:
        return []
    names = {"all": "All rows", "small": "Small model", "large": "Large model"}
    by_model = quality["by_model"]
    order = [*(name for name in names if name in by_model), *(name for name in by_model if name not in names)]
    return [(names.get(n, n), by_model[n]["rows"], by_model[n]["mean"]) for n in order if by_model[n]["rows"]]


def _resumed(report: Mapping[str, Any]) -> bool:
    return any(stage["rows_this_start"] < stage["rows"] for stage in report["stages"])


def _elapsed(report: Mapping[str, Any]) -> float | None:
    try:
        seconds = (
            datetime.fromisoformat(report["finished"]) - datetime.fromisoformat(report["started"])
        ).total_seconds()
    except (TypeError, ValueError):
        return None
    return seconds if seconds > 0 else None


def _moment(iso: str) -> str:
    try:
        return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M %Z}".strip()
    except (TypeError, ValueError):
        return str(iso)


def _size(n_bytes: int) -> str:
    size, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"


def _flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Lists the leaves of a nested dict with dotted names; numbers are shortened."""
    leaves: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves += _flat(value, f"{above}{key}.")
        else:
            shown = formats.number(value) if isinstance(value, float) else value
            shown = formats.count(shown) if isinstance(shown, int) and not isinstance(shown, bool) else shown
            leaves.append((f"{above}{key}", str(shown)))
    return leaves


def _unbroken(words: str) -> str:
    """Keeps a percent sign or a unit on the line of its number."""
    return words.replace(" %", "\u00a0%") if "%" in words else words


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return formats.plain(value) if isinstance(value, str) else value
