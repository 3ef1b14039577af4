"""Figures of an evaluation: pure functions from the content of evaluation.json to SVG, in the style of `svg`."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from routelmt_ray.evaluation.axes import CALLS
from routelmt_ray.evaluation.formats import plain, shortened
from routelmt_ray.evaluation.scorers import NO_ORDER
from routelmt_ray.reports import svg
from routelmt_ray.reports.evaluation_words import rows_in_order, shown, titles

MOST_LINES = 6
"""Number of scorers that a frontier draws in colour, besides oracle and random; the others are thin grey lines."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""The palette of Okabe and Ito: distinct for every kind of colour vision."""
_DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (4, 1, 1, 1)), (0, (2, 1)), (0, (8, 2, 2, 2)), (0, (1, 0.6)))
_MARKS = ("o", "s", "^", "D", "v", "P")
_BUCKETS = ("#b3470c", "#f0a868", "#e9e6e1", "#cfe1ee", "#93c0de", "#4a90c2", "#14507f")
"""Losses in oranges, gains in blues, the darker the larger."""
AXES = {
    "calls": "share of the rows sent to the large model",
    "characters": "share of the source characters sent to the large model",
    "seconds": "device seconds beyond all-small, as a share of what all-large takes beyond all-small",
}
"""Labels of the horizontal axis of a frontier."""


@svg.styled
def frontier(result: Mapping[str, Any], axis: str) -> str:
    """Draws quality against budget and, beside it, the gain of each scorer over a random order at the same budget."""
    curves, grid = result["curves"][axis], np.asarray(result["grid"])
    lines, others = drawn(result, axis)
    banded = with_bands(result, axis) if result["resamples"] else []
    small = result["systems"]["all_small"] or 0.0
    large = small + result["systems"]["gain_mean"]
    chord = grid * (large - small)
    figure, left = svg.new_figure(height_pt=330, left_pt=50, right_pt=svg.WIDTH_PT - 355, bottom_pt=46, top_pt=74)
    right = svg.add_axes(figure, 425, 46, svg.WIDTH_PT - 445, 330 - 46 - 74)
    for name in others:
        won = np.asarray(curves[name]["quality"])
        left.plot(grid, small + won, color=svg.GRID, linewidth=1)
        right.plot(grid, 100 * (won - chord), color=svg.GRID, linewidth=1)
    oracle = np.asarray(curves["gain_oracle"]["quality"])
    for axes, base, scale in ((left, small, 1.0), (right, 0 * chord, 100.0)):
        less = chord if axes is right else 0 * chord
        axes.plot(grid, base + scale * (oracle - less), color=svg.INK, linewidth=1.3, linestyle=(0, (5, 2)))
        axes.plot(grid, base + scale * (chord - less), color=svg.FAINT, linewidth=1.3, linestyle=(0, (1, 1.5)))
        for i, name in enumerate(lines):
            curve = {key: np.asarray(values, float) for key, values in curves[name].items()}
            if name in banded:
                band = [base + scale * (curve[key] - less) for key in ("low", "high")]
                axes.fill_between(grid, *band, color=_COLOURS[i], alpha=0.18, linewidth=0)
            axes.plot(
                grid, base + scale * (curve["quality"] - less), color=_COLOURS[i], linewidth=1.7,
                linestyle=_DASHES[i], marker=_MARKS[i], markersize=3.6, markevery=(4 + i, 10),
            )  # fmt: skip
    for value, words, side in ((small, "all-small", "bottom"), (large, "all-large", "bottom")):
        left.axhline(value, color=svg.FAINT, linewidth=0.6)
        place = (1, value) if words == "all-small" else (0, value)
        left.annotate(
            f"{words} {shown('pgr', value)}" if result["systems"]["all_small"] is not None else words, place,
            (-2 if words == "all-small" else 3, 2), ("axes fraction", "data"), "offset points",
            ha="right" if words == "all-small" else "left", va=side, color=svg.FAINT,
        )  # fmt: skip
    for axes, words in ((left, "mean quality"), (right, "points over random")):
        _percent_axis(axes)
        axes.grid(axis="y")
        svg.ticks(axes.yaxis, 6)
        axes.annotate(words, (0, 1), (-34, 6), "axes fraction", "offset points", color=svg.FAINT)
        axes.axvline(result["p"], color=svg.FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
    top = max((oracle - chord).max() * 100, 1e-6)
    right.set_ylim(bottom=max(right.get_ylim()[0], -1.2 * top))
    figure.text(50 / svg.WIDTH_PT, 8 / 330, AXES[axis].capitalize(), color=svg.INK)
    names = titles(result)
    handles = [
        Line2D([], [], color=_COLOURS[i], linestyle=_DASHES[i], marker=_MARKS[i], markersize=3.6, linewidth=1.7,
               label=shortened(plain(names[name]), 30))
        for i, name in enumerate(lines)
    ]  # fmt: skip
    handles.append(Line2D([], [], color=svg.INK, linestyle=(0, (5, 2)), linewidth=1.3, label="Gain oracle"))
    handles.append(Line2D([], [], color=svg.FAINT, linestyle=(0, (1, 1.5)), linewidth=1.3, label="Random"))
    if others:
        handles.append(Line2D([], [], color=svg.GRID, linewidth=1.5, label=f"{len(others)} others"))
    svg.legend(figure, handles, ncols=3, handlelength=3.2, labelspacing=0.35)
    words = ", ".join(f"{names[name]} {shown('area', _area(result, name, axis))}" for name in lines)
    return svg.to_svg(figure, f"frontier-{axis}", f"Quality against the {AXES[axis]}. Normalised area: {words}.")


def drawn(result: Mapping[str, Any], axis: str = CALLS) -> tuple[list[str], list[str]]:
    """Picks the scorers that a frontier draws in colour, the reference first, and those that it draws in grey.

    After the reference and at most two other routers come the best of the rest. In calls, the rest is ranked as in the
    headline. On an axis where rows cost unequally, the constant gain comes next, because every other scorer has to beat
    it there; the rest is ranked by area on that axis.
    """
    family = {s["name"]: s["family"] for s in result["scorers"]}
    # In calls the constant gain is a random order, which already has a line.
    left_out = NO_ORDER if axis == CALLS else {"random"}
    ranking = [name for name in result["ranking"] if name not in left_out]
    routers = [name for name in ranking if family[name] == "router" and name != result["reference"]][:2]
    first = [name for name in [result["reference"], *routers] if family[name] != "oracle" and name not in left_out]
    if axis != CALLS:
        areas = {name: _area(result, name, axis) for name in ranking}
        ranking.sort(key=lambda name: math.inf if (area := areas[name]) is None else -area)
        first.append("constant")
    lines = list(dict.fromkeys([*first, *ranking]))[:MOST_LINES]
    return lines, [name for name in ranking if name not in lines]


def with_bands(result: Mapping[str, Any], axis: str = CALLS) -> list[str]:
    """Picks the scorers whose intervals a frontier shows: the first that it draws, and the next of another family."""
    lines, _ = drawn(result, axis)
    family = {s["name"]: s["family"] for s in result["scorers"]}
    return [*lines[:1], *[name for name in lines[1:] if family[name] != family[lines[0]]][:1]]


@svg.styled
def forest(result: Mapping[str, Any], key: str, label: str) -> str:
    """Draws one measure of every scorer with its interval, in ranking order; random and the gain oracle are lines."""
    overall = result["overall"]
    names = [n for n in result["ranking"] if n not in NO_ORDER and overall[n][key]["value"] is not None]
    if not names:
        return ""
    named = titles(result)
    lines, _ = drawn(result)
    labels = [shortened(plain(named[name]), 34) for name in names]
    left_pt = 16 + 5.6 * max(map(len, labels))
    figure, axes = svg.new_figure(
        height_pt=74 + 19 * len(names), left_pt=left_pt, right_pt=118, bottom_pt=40, top_pt=24
    )  # fmt: skip
    for place, name in enumerate(names):
        cell = overall[name][key]
        i = lines.index(name) if name in lines else -1
        colour = _COLOURS[i] if i >= 0 else svg.FAINT
        if cell["low"] is not None:
            axes.plot([cell["low"], cell["high"]], [place, place], color=colour, linewidth=2.2)
        axes.plot(cell["value"], place, color=colour, marker=_MARKS[i] if i >= 0 else "o", markersize=6)
        words = shown(key, cell["value"])
        if cell["low"] is not None:
            words += f"  [{shown(key, cell['low'])}, {shown(key, cell['high'])}]"
        axes.annotate(words, (1, place), (112, 0), ("axes fraction", "data"), "offset points", ha="right",
                      va="center_baseline")  # fmt: skip
    for name, words in (("random", "random"), ("gain_oracle", "gain oracle")):
        value = overall[name][key]["value"]
        if value is not None:
            axes.axvline(value, color=svg.INK, linewidth=1, linestyle=(0, (4, 2.5)), zorder=0)
            axes.annotate(
                words, (value, 1), (0, 4), ("data", "axes fraction"), "offset points", ha="center", color=svg.FAINT
            )
    axes.set_ylim(len(names) - 0.5, -0.6)
    svg.row_names(axes, labels)
    axes.grid(axis="x")
    axes.set_xlabel(label)
    listed = "; ".join(f"{n} {shown(key, overall[m][key]['value'])}" for n, m in zip(labels, names))
    return svg.to_svg(figure, "forest", f"Dots with intervals. {label}: {listed}.")


@svg.styled
def buckets(result: Mapping[str, Any]) -> str:
    """Draws how the rows that each scorer routes are distributed over buckets of true gain, as stacked bars."""
    table, names = result["buckets"], titles(result)
    order = [s["name"] for s in rows_in_order(result)]
    bars = [("All rows", table["all"])] + [(names[n], table["scorers"][n]) for n in order]
    labels = [shortened(plain(name), 34) for name, _ in bars]
    shares = np.array([values for _, values in bars])
    colours = _bucket_colours(table["edges"])
    left_pt = 16 + 5.6 * max(map(len, labels))
    figure, axes = svg.new_figure(height_pt=96 + 19 * len(bars), left_pt=left_pt, right_pt=20, bottom_pt=28, top_pt=52)
    places = np.arange(len(bars)) + (np.arange(len(bars)) > 0) * 0.4
    starts = np.cumsum(shares, axis=1) - shares
    for b, colour in enumerate(colours):
        axes.barh(places, shares[:, b], 0.74, starts[:, b], color=colour, edgecolor="white", linewidth=0.6)
        dark = colour in (_BUCKETS[0], _BUCKETS[-1], _BUCKETS[-2])
        for place, share, start in zip(places, shares[:, b], starts[:, b]):
            if share >= 0.055:
                axes.text(
                    start + share / 2, place, f"{100 * share:.0f}", ha="center", va="center_baseline",
                    color="white" if dark else svg.INK, fontsize=9,
                )  # fmt: skip
    axes.set_ylim(places[-1] + 0.5, -0.5)
    svg.row_names(axes, labels, places)
    _percent_axis(axes)
    words = bucket_names(table["edges"])
    patches = [Patch(facecolor=c, edgecolor="white", label=w) for c, w in zip(colours, words)]
    svg.legend(figure, patches, ncols=4, columnspacing=1.6, handlelength=1.4, labelspacing=0.3)
    worst = "; ".join(f"{label} {100 * share:.1f} %" for label, share in zip(labels, shares[:, 0]))
    return svg.to_svg(figure, "buckets", f"Stacked bars: true gain of the routed rows. Share of {words[0]}: {worst}.")


def bucket_names(edges: Sequence[float]) -> list[str]:
    """Names the buckets between the edges, and the two beyond them."""
    text = [f"{edge:+.3g}".replace("-", "−") if edge else "0" for edge in edges]
    middle = [f"{low} to {high}" for low, high in pairwise(text)]
    return [f"below {text[0]}", *middle, f"{text[-1]} and more"]


def _bucket_colours(edges: Sequence[float]) -> list[str]:
    """Picks one colour for each bucket; where there is no bucket of small losses, its colour is left out."""
    return list(_BUCKETS) if len(edges) == len(_BUCKETS) - 1 else [_BUCKETS[0], *_BUCKETS[2:]]


@svg.styled
def calibration(result: Mapping[str, Any]) -> str:
    """Draws predicted against true gain by tenths of the rows, a panel for each of the first four scorers in gain."""
    order = list(dict.fromkeys([result["reference"], *result["ranking"]]))
    table = sorted(result["calibration"].items(), key=lambda item: order.index(item[0]))[:4]
    if not table:
        return ""
    names = titles(result)
    bins = [b for _, panel in table for b in panel["bins"]]
    values = [b[key] for b in bins for key in ("predicted", "true", "low", "high") if b[key] is not None]
    low, high = min(values), max(values)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    gap = 34.0
    side = min(190.0, (svg.WIDTH_PT - 46 - 8 - gap * (len(table) - 1)) / len(table))
    height = side + 84
    figure, unused = svg.new_figure(height_pt=height, left_pt=46, right_pt=46, bottom_pt=40, top_pt=30)
    unused.remove()
    for i, (name, panel) in enumerate(table):
        x, y = 46 + i * (side + gap), 42
        axes = svg.add_axes(figure, x, y, side, side)
        axes.plot([low, high], [low, high], color=svg.FAINT, linewidth=1, linestyle=(0, (1, 1.5)))
        axes.axhline(0, color=svg.GRID, linewidth=0.8, zorder=0)
        for b in panel["bins"]:
            if b["low"] is not None:
                axes.plot([b["predicted"]] * 2, [b["low"], b["high"]], color=_COLOURS[0], linewidth=1.4)
        xs, ys = [b["predicted"] for b in panel["bins"]], [b["true"] for b in panel["bins"]]
        axes.plot(xs, ys, color=_COLOURS[0], linewidth=1, marker="o", markersize=4)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        for axis in (axes.xaxis, axes.yaxis):
            svg.ticks(axis, 5)
        title = shortened(plain(names[name]), int(side / 5.4))
        axes.annotate(title, (0, 1), (-28, 22), "axes fraction", "offset points")
        axes.annotate(
            f"slope {panel['slope']:.2f}", (0, 1), (-28, 8), "axes fraction", "offset points", color=svg.FAINT
        )
        axes.set_xlabel("predicted gain")
        if i == 0:
            axes.set_ylabel("true gain")
    slopes = "; ".join(f"{names[name]} slope {panel['slope']:.2f}" for name, panel in table)
    return svg.to_svg(figure, "calibration", f"Predicted against true gain by tenths of the rows: {slopes}.")


def _percent_axis(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    svg.ticks(axes.xaxis, 5, svg.percent_tick)


def _area(result: Mapping[str, Any], name: str, axis: str) -> float | None:
    value: float | None = result["overall"][name][f"area_{axis}"]["value"]
    return value
