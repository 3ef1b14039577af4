"""Figures of the reports: pure functions from plain numbers to an SVG that can stand inside an HTML page.

The same input gives the same bytes. Text stays text, so that any script shows in the reader's own fonts; nothing in an
SVG refers to anything outside it, and its ids do not clash with those of another figure on the page.
"""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from routelmt_ray.evaluation.formats import count, number, percent, plain

SMALL_COLOUR, LARGE_COLOUR, NONE_COLOUR = "#9fc5e0", "#b8480b", "#d9dde2"
"""Light blue and dark orange: distinct for every kind of colour vision and, as light and dark, in grey print."""
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', Arial, sans-serif"
MOST_PAIRS = 25
"""Largest number of bars in a figure of language pairs."""

_INK, _FAINT, _GRID = "#1f2933", "#52606d", "#e4e7eb"
_WIDTH_PT = 662.0
_TAIL = 0.002
"""Share of the rows that may lie beyond an end of the axis where that makes the rest readable."""
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "routelmt_ray", "text.parse_math": False,
    "font.family": ["DejaVu Sans"], "font.size": 10.0, "hatch.linewidth": 0.7,
    "axes.linewidth": 0.7, "axes.edgecolor": _FAINT, "grid.linewidth": 0.7, "grid.color": _GRID,
    "xtick.color": _FAINT, "ytick.color": _FAINT, "xtick.labelcolor": _INK, "ytick.labelcolor": _INK,
    "axes.labelcolor": _INK, "text.color": _INK,
}  # fmt: skip
_SMALL: dict[str, Any] = {"facecolor": SMALL_COLOUR, "edgecolor": "white", "linewidth": 0.4}
_LARGE: dict[str, Any] = {"facecolor": LARGE_COLOUR, "edgecolor": "#e6a878", "linewidth": 0.4, "hatch": "////"}
_NONE: dict[str, Any] = {"facecolor": NONE_COLOUR, "edgecolor": "white", "linewidth": 0.4}


def gain_histogram(histogram: Mapping[str, Sequence[float]], *, threshold: float | None, label: str) -> str:
    """Draws a histogram of rows by predicted gain, coloured by their planned route, with the threshold as a line.

    Bins of unequal width are drawn as densities. A long tail that holds almost no rows is cut off; the figure then says
    how many rows are beyond the axis.

    Args:
        histogram: ``edges`` (bins + 1,) ascending, and rows by bin in ``small`` and ``large``, each (bins,).
        threshold: the gain from which rows are routed; None where there is no such gain.
        label: what the horizontal axis shows.

    Returns:
        The SVG element, or an empty string where there is no row to show.
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
    with matplotlib.rc_context():
        figure, axes = _figure(height_pt=246, left_pt=46, right_pt=14, bottom_pt=40, top_pt=48)
        for counts, below, style in ((small, 0 * small, _SMALL), (large, small, _LARGE)):
            some = counts > 0
            heights, bottoms = (counts / scale)[some], (below / scale)[some]
            axes.bar(edges[:-1][some], heights, widths[some], bottoms, align="edge", **style)
        axes.set_xlim(edges[first], edges[last + 1])
        axes.set_xlabel(label)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=even))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axes.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value, 12))))
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        unit = "rows" if even else "rows per unit"
        axes.annotate(unit, (0, 1), (-44, 4), "axes fraction", "offset points", color=_FAINT)
        if beyond:
            words = f"{count(beyond, 'row')} beyond the axis"
            axes.annotate(words, (1, 0), (0, -30), "axes fraction", "offset points", ha="right", color=_FAINT)
        if threshold is not None and edges[first] <= threshold <= edges[last + 1]:
            _mark(axes, threshold, f"threshold {number(threshold)}", at=_across(axes, threshold))
        _legend(figure, [
            (_SMALL, f"to the small model: {count(int(small.sum()), 'row')}"),
            (_LARGE, f"to the large model: {count(int(large.sum()), 'row')}"),
        ])  # fmt: skip
        words = f"{count(int(small.sum()))} rows go to the small model, {count(int(large.sum()))} to the large one"
        line = "" if threshold is None else f"; the threshold is {number(threshold)}"
        return _svg(figure, "gain", f"Histogram of {label}: {words}{line}.")


def routed_share(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Draws the share of each language pair's rows that is routed to the large model, as horizontal bars.

    Args:
        pairs: for each pair its name ``pair`` and its counts of rows: ``rows``, ``routed``, and by the model that
            translated them ``small`` and ``large``.

    Returns:
        The SVG element with the :data:`MOST_PAIRS` largest pairs, or an empty string where no pair has a row.
    """
    shown = largest_pairs(pairs)[:MOST_PAIRS]
    if not shown:
        return ""
    rows = np.asarray([pair["rows"] for pair in shown], float)
    routed = np.asarray([pair["routed"] for pair in shown], float)
    lost = np.minimum(rows - [pair["small"] + pair["large"] for pair in shown], rows - routed)
    names = [_shortened(plain(pair["pair"]), 22) for pair in shown]
    overall = sum(pair["routed"] for pair in pairs) / sum(pair["rows"] for pair in pairs)
    places = np.arange(len(shown))
    beside = [f"{count(pair['routed'])} of {count(pair['rows'])}" for pair in shown]
    left_pt, right_pt = 14 + 6.6 * max(map(len, names)), 74 + 5.9 * max(map(len, beside))
    with matplotlib.rc_context():
        figure, axes = _figure(
            height_pt=78 + 19 * len(shown), left_pt=left_pt, right_pt=right_pt, bottom_pt=30, top_pt=48
        )
        axes.barh(places, routed / rows, 0.68, **_LARGE)
        axes.barh(places, (rows - routed - lost) / rows, 0.68, routed / rows, **_SMALL)
        axes.barh(places, lost / rows, 0.68, 1 - lost / rows, **_NONE)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}".replace("%", " %")))
        axes.spines["left"].set_visible(False)
        row_end: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "va": "center_baseline",
        }
        for place, pair in enumerate(shown):
            share = percent(pair["routed"], pair["rows"])
            axes.annotate(share, (1, place), (56, 0), ha="right", **row_end)
            axes.annotate(beside[place], (1, place), (right_pt - 2, 0), ha="right", color=_FAINT, **row_end)
        if len(pairs) > 1 and 0 < overall < 1:
            _mark(axes, overall, f"all pairs {percent(overall, 1)}", at=overall)
        kinds = [(_LARGE, "to the large model"), (_SMALL, "to the small model"), (_NONE, "not translated")]
        drawn = (routed, rows - routed - lost, lost)
        _legend(figure, [kind for kind, bars in zip(kinds, drawn) if bars.any()])
        listed = "; ".join(f"{name} {percent(part, whole)}" for name, part, whole in zip(names, routed, rows))
        return _svg(figure, "pairs", f"Bars. Share of rows routed to the large model by language pair: {listed}.")


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


def _figure(
    *, height_pt: float, left_pt: float, right_pt: float, bottom_pt: float, top_pt: float
) -> tuple[Figure, Axes]:
    """Makes an empty figure with margins in points and one plot in it. Call it inside a `rc_context`."""
    matplotlib.rcdefaults()  # so that the user's own matplotlibrc has no effect
    matplotlib.rcParams.update(_STYLE)
    figure = Figure(figsize=(_WIDTH_PT / 72, height_pt / 72), dpi=72)
    width, height = _WIDTH_PT - left_pt - right_pt, height_pt - bottom_pt - top_pt
    axes = figure.add_axes(
        (left_pt / _WIDTH_PT, bottom_pt / height_pt, width / _WIDTH_PT, height / height_pt), axisbelow=True
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _across(axes: Axes, value: float) -> float:
    low, high = axes.get_xlim()
    return float((value - low) / (high - low))


def _mark(axes: Axes, value: float, words: str, *, at: float) -> None:
    """Draws a dashed vertical line with its words above the plot; ``at`` is its place across the plot, 0 to 1."""
    axes.axvline(value, color=_INK, linewidth=1.1, linestyle=(0, (4, 2.5)), zorder=5, clip_on=False)
    side = "left" if at < 0.12 else "right" if at > 0.88 else "center"
    axes.annotate(words, (value, 1), (0, 4), ("data", "axes fraction"), "offset points", ha=side, color=_INK)


def _legend(figure: Figure, kinds: Sequence[tuple[Mapping[str, Any], str]]) -> None:
    patches = [Patch(**style, label=words) for style, words in kinds]
    figure.legend(
        handles=patches, loc="upper left", ncols=len(patches), frameon=False,
        borderaxespad=0, borderpad=0.2, columnspacing=2, handlelength=1.6, handleheight=1.0,
    )  # fmt: skip


def _short(value: float) -> str:
    """Formats a tick of a row count: 1,500, 20 k, 1.5 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / (1000 if unit == ' k' else size):g}{unit}"
    return f"{value:,.0f}" if value >= 10 or value == math.floor(value) else f"{value:g}"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _svg(figure: Figure, prefix: str, description: str) -> str:
    """Writes the figure as SVG for a page: with unique ids and a description, without metadata."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the reader's fonts draw it, not ours
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    drawn = "".join(f"{value} " for element in root.iter() for value in element.attrib.values())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if "id" in attributes and f"#{attributes['id']}" not in drawn:
            del attributes["id"]
        for key, value in attributes.items():
            if key == "id":
                attributes[key] = f"{prefix}-{value}"
            elif "#" in value and (key == "href" or "url(" in value):
                attributes[key] = (
                    value.replace("url(#", f"url(#{prefix}-") if "url(" in value else f"#{prefix}-{value[1:]}"
                )
            elif key == "style" and element.tag == "text":
                attributes[key] = value.replace("'DejaVu Sans'", FONTS)
        element.attrib.clear()
        element.attrib.update(attributes)
    root.set("xmlns", "http://www.w3.org/2000/svg")
    root.set("role", "img")
    root.set("aria-label", description)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    return ElementTree.tostring(root, encoding="unicode")
