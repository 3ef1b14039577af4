"""Figures of a translate run: pure functions from plain numbers to an SVG that can stand inside an HTML page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from routelmt_ray.evaluation.formats import count, number, percent, plain, shortened
from routelmt_ray.reports import svg

MOST_PAIRS = 25
"""Largest number of bars in a figure of language pairs."""

_TAIL = 0.002
"""Share of the rows that may lie beyond an end of the axis where that makes the rest readable."""


@svg.styled
def gain_histogram(histogram: Mapping[str, Sequence[float]], *, threshold: float | None, label: str) -> str:
    """Draws a histogram of rows by predicted gain, coloured by their planned route, with the threshold as a line.

    Bins of unequal width are drawn as densities. A long tail that holds almost no rows is cut off; the figure then says
    how many rows are beyond the axis. ``edges`` ascend, shape (bins + 1,); ``small`` and ``large`` are rows by bin. Empty where
    there is no row to show.
    """
    edges, small, large = (np.asarray(histogram.get(key, ()), float) for key in ("edges", "small", "large"))
    if len(edges) < 2 or not len(small) or small.sum() + large.sum() == 0:
        return ""
    if edges[0] == edges[-1]:  # every row has the same gain
        half = max(abs(edges[0]) / 2, 0.5)
        edges = np.linspace(edges[0] - half, edges[-1] + half, len(edges))
    widths = np.diff(edges)
    even = bool(np.allclose(widths, widths.mean(), rtol=0.01))
    scale = 1.0 if even else np.where(widths > 0, widths, np.inf)
    first, last = _view(edges, small + large, threshold)
    beyond = int((small + large)[:first].sum() + (small + large)[last + 1 :].sum())
    figure, axes = svg.new_figure(height_pt=246, left_pt=46, right_pt=14, bottom_pt=40, top_pt=48)
    for counts, below, style in ((small, 0 * small, svg.SMALL), (large, small, svg.LARGE)):
        some = counts > 0
        heights, bottoms = (counts / scale)[some], (below / scale)[some]
        axes.bar(edges[:-1][some], heights, widths[some], bottoms, align="edge", **style)
    axes.set_xlim(edges[first], edges[last + 1])
    axes.set_xlabel(label)
    svg.ticks(axes.yaxis, 5, _short, integer=even)
    svg.ticks(axes.xaxis, 9, lambda value: number(round(value, 12)), steps=[1, 2, 2.5, 5, 10])
    svg.without_side(axes, grid="y")
    unit = "rows" if even else "rows per unit"
    axes.annotate(unit, (0, 1), (-44, 4), "axes fraction", "offset points", color=svg.FAINT)
    if beyond:
        words = f"{count(beyond, 'row')} beyond the axis"
        axes.annotate(words, (1, 0), (0, -30), "axes fraction", "offset points", ha="right", color=svg.FAINT)
    if threshold is not None and edges[first] <= threshold <= edges[last + 1]:
        _mark(axes, threshold, f"threshold {number(threshold)}")
    svg.patch_legend(figure, [
        (svg.SMALL, f"to the small model: {count(int(small.sum()), 'row')}"),
        (svg.LARGE, f"to the large model: {count(int(large.sum()), 'row')}"),
    ])  # fmt: skip
    words = f"{count(int(small.sum()))} rows go to the small model, {count(int(large.sum()))} to the large one"
    line = "" if threshold is None else f"; the threshold is {number(threshold)}"
    return svg.to_svg(figure, "gain", f"Histogram of {label}: {words}{line}.")


@svg.styled
def routed_share(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Draws the share of rows that is routed to the large model, for the :data:`MOST_PAIRS` largest language pairs.

    Pairs have counts of rows: ``rows``, ``routed``, and by translator ``small`` and ``large``. Empty where none has a row.
    """
    shown = largest_pairs(pairs)[:MOST_PAIRS]
    if not shown:
        return ""
    rows = np.asarray([pair["rows"] for pair in shown], float)
    routed = np.asarray([pair["routed"] for pair in shown], float)
    lost = np.minimum(rows - [pair["small"] + pair["large"] for pair in shown], rows - routed)
    names = [shortened(plain(pair["pair"]), 22) for pair in shown]
    overall = sum(pair["routed"] for pair in pairs) / sum(pair["rows"] for pair in pairs)
    places = np.arange(len(shown))
    beside = [f"{count(pair['routed'])} of {count(pair['rows'])}" for pair in shown]
    left_pt, right_pt = 14 + 6.6 * max(map(len, names)), 74 + 5.9 * max(map(len, beside))
    figure, axes = svg.new_figure(
        height_pt=78 + 19 * len(shown), left_pt=left_pt, right_pt=right_pt, bottom_pt=30, top_pt=48
    )
    axes.barh(places, routed / rows, 0.68, **svg.LARGE)
    axes.barh(places, (rows - routed - lost) / rows, 0.68, routed / rows, **svg.SMALL)
    axes.barh(places, lost / rows, 0.68, 1 - lost / rows, **svg.NONE)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    svg.row_names(axes, names)
    axes.xaxis.set_major_formatter(lambda value, _: svg.percent_tick(value))
    for place, pair in enumerate(shown):
        share = percent(pair["routed"], pair["rows"])
        axes.annotate(share, (1, place), (56, 0), **svg.ROW_END)
        axes.annotate(beside[place], (1, place), (right_pt - 2, 0), color=svg.FAINT, **svg.ROW_END)
    if len(pairs) > 1 and 0 < overall < 1:
        _mark(axes, overall, f"all pairs {percent(overall, 1)}")
    kinds = [(svg.LARGE, "to the large model"), (svg.SMALL, "to the small model"), (svg.NONE, "not translated")]
    drawn = (routed, rows - routed - lost, lost)
    svg.patch_legend(figure, [kind for kind, bars in zip(kinds, drawn) if bars.any()])
    listed = "; ".join(f"{name} {percent(part, whole)}" for name, part, whole in zip(names, routed, rows))
    return svg.to_svg(figure, "pairs", f"Bars. Share of rows routed to the large model by language pair: {listed}.")


def largest_pairs(pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Sorts the language pairs that have rows, largest first."""
    return sorted((pair for pair in pairs if pair["rows"]), key=lambda pair: (-pair["rows"], pair["pair"]))


def _view(edges: np.ndarray, counts: np.ndarray, threshold: float | None) -> tuple[int, int]:
    """Finds the first and last bin to show: all, or all but sparse tails that would take a quarter of the axis."""
    below = np.cumsum(counts) / counts.sum()
    first, last = int(np.searchsorted(below, _TAIL, "right")), int(np.searchsorted(below, 1 - _TAIL))
    if threshold is not None and edges[0] <= threshold <= edges[-1]:
        cut = min(int(np.searchsorted(edges, threshold, "right")) - 1, len(counts) - 1)
        first, last = min(first, cut), max(last, cut)
    trimmed = edges[last + 1] - edges[first] < 0.75 * (edges[-1] - edges[0])
    return (first, last) if trimmed and first < last else (0, len(counts) - 1)


def _mark(axes: Axes, value: float, words: str) -> None:
    """Draws a dashed vertical line with its words above the plot."""
    low, high = axes.get_xlim()
    at = (value - low) / (high - low)
    axes.axvline(value, color=svg.INK, linewidth=1.1, linestyle=(0, (4, 2.5)), zorder=5, clip_on=False)
    side = "left" if at < 0.12 else "right" if at > 0.88 else "center"
    axes.annotate(words, (value, 1), (0, 4), ("data", "axes fraction"), "offset points", ha=side, color=svg.INK)


def _short(value: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / (1000 if unit == ' k' else size):g}{unit}"
    return f"{value:,.0f}" if value >= 10 or value == math.floor(value) else f"{value:g}"
