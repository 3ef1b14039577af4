"""The report of an evaluation as one self-contained HTML file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from routelmt_ray.evaluation import formats
from routelmt_ray.reports import evaluation_words as words
from routelmt_ray.reports import frontier_plots, plots
from routelmt_ray.reports.run_report import _cleaned, _moment

_TEMPLATE = "evaluation_report.html.jinja"


def render_html(result: Mapping[str, Any]) -> str:
    """Renders the report of an evaluation as an HTML page.

    The page has its style and figures inside, runs no script and loads nothing; its content security policy enforces
    this. Any text from the labelled set or the config is escaped.

    Args:
        result: the content of ``evaluation.json``.

    Returns:
        The HTML document. The same result gives the same bytes.
    """
    cleaned: Mapping[str, Any] = _cleaned(result)
    environment = Environment(
        autoescape=True, loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "n": formats.count,
        "moment": _moment,
        "share": formats.percent,
        "measure": words.measure_name,
    }
    environment.globals |= {"shown": words.shown, "span": words.interval_words}
    return environment.get_template(_TEMPLATE).render(r=cleaned, **_view(cleaned))


def _view(result: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the values that the page shows besides those of the result itself."""
    p = f"{result['p']:g}"
    key = f"mean_delta@{p}"
    label = f"{words.measure_name(key)}: mean gain of the routed rows, in points"
    return {
        "headline": words.headline(result).replace(" %", "\u00a0%"),
        "cascade": words.cascade_words(result),
        "over_all": words.over_all_budgets(result),
        "tiles": list(_tiles(result)),
        "names": words.titles(result),
        "share": words.share_words(result["p"]).replace(" %", "\u00a0%"),
        "ordered": words.rows_in_order(result),
        "keys": words.headline_keys(result),
        "measure_tables": list(_measure_tables(result)),
        "paired_keys": list(next(iter(result["paired"].values()))) if result["paired"] else [],
        "group_keys": [f"mean_delta@{p}", f"hit_rate@{p}", f"pgr@{p}", f"severe_loss@{p}", "area_calls"],
        "charges": words.charges,
        "forest": Markup(frontier_plots.forest(result, key, label)),
        "frontiers": [
            (axis, _AXIS_TITLES[axis], Markup(frontier_plots.frontier(result, axis))) for axis in result["axes"]
        ],
        "buckets": Markup(frontier_plots.buckets(result)),
        "calibration": Markup(frontier_plots.calibration(result)),
        "banded": {axis: frontier_plots.with_bands(result, axis) for axis in result["axes"]},
        "published": list(_published(result)),
        "config": yaml.safe_dump(result["config"], sort_keys=False, allow_unicode=True, width=100).rstrip(),
        "fonts": Markup(plots.FONTS),
    }


_AXIS_TITLES = {
    "calls": "Budget in calls",
    "characters": "Budget in source characters",
    "seconds": "Budget in device seconds",
}


def _tiles(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Lists the key figures, each with its name and a note."""
    given, systems = result["input"], result["systems"]
    yield "Rows measured", formats.count(given["rows"]), f"{formats.count(given['documents'], 'document')}, held out"
    if systems["all_small"] is not None:
        yield "All-small", f"{systems['all_small']:.3f}", f"mean {result['metric']}"
        yield "All-large", f"{systems['all_large']:.3f}", f"mean {result['metric']}"
    negative = f"{formats.percent(systems['negative'], 1)} of the rows lose"
    gain = words.shown("mean_delta", 100 * systems["gain_mean"], sign=True)
    yield "Mean gain, points", gain, f"sd {100 * systems['gain_sd']:.1f}; {negative}"
    oracle = result["overall"]["gain_oracle"][f"pgr@{result['p']:g}"]
    yield (
        f"Oracle's PGR@{result['p']:g}",
        words.shown("pgr", oracle["value"]),
        "the most any order can recover of the gap",
    )
    drawn = result["resamples"]
    yield (
        "Resamples",
        formats.count(drawn),
        "95 % intervals, by document" if drawn else "too few documents for intervals",
    )


def _measure_tables(result: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Lists title and measures of the tables that hold every measure: one for each budget, and one over all budgets."""
    keys = words.all_keys(result)
    for p in result["fractions"]:
        at_p = [key for key in keys if key.endswith(f"@{p:g}") and not key.startswith("cpt")]
        yield f"With {words.share_words(p)} of the calls", at_p
    yield "Over all budgets", [key for key in keys if "@" not in key or key.startswith("cpt")]


def _published(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Lists published rows, with the measured figures beside them where that scorer took part."""
    if not result["published"]:
        return
    p = f"{result['p']:g}"
    for row in result["published"]["rows"]:
        measured = result["overall"].get(row["measured"], {})
        cells = []
        for key in ("spearman", "hit_rate", "mean_delta", "pgr"):
            full = key if key == "spearman" else f"{key}@{p}"
            mine = words.shown(full, measured[full]["value"]) if full in measured else "–"
            cells.append((words.shown(key, row[key]), mine))
        yield {"router": row["router"], "measured": row["measured"] if measured else None, "cells": cells}
