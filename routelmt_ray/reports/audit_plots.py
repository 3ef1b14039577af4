"""Draws the figure of an audit: the measured gain of the large model. Style and rules are those of `svg`."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from routelmt_ray.evaluation.formats import points, signed
from routelmt_ray.reports import svg
from routelmt_ray.reports.run_facts import interval

_SMALL_DARK = "#4a8db7"
"""The small model's light blue, dark enough for a thin line."""
_HEIGHT_PT = 306.0


@svg.styled
def realised_gain(audit: Mapping[str, Any], *, in_gain: bool) -> str:
    """Draws realised gain with 95 % intervals: by tenths of the predicted gain and, beside it, by the plan's decision.

    Tenths are drawn by their rank where the predictions are no gains. The SVG is empty where no tenth has a row.
    """
    tenths = [tenth for tenth in audit["deciles"] if tenth["rows"] and tenth["realised"] is not None]
    if not tenths:
        return ""
    groups = [
        (words, audit[key], colour, mark)
        for key, words, colour, mark in (
            ("routed", "routed", svg.LARGE_COLOUR, "o"),
            ("mean_gain", "random", svg.INK, "D"),
            ("not_routed", "left to\nsmall", _SMALL_DARK, "s"),
        )
        if audit[key] and audit[key]["value"] is not None
    ]
    figure, axes = svg.new_figure(
        height_pt=_HEIGHT_PT, left_pt=40, right_pt=svg.WIDTH_PT - 452, bottom_pt=48, top_pt=34
    )
    beside = svg.add_axes(figure, 478, 48, svg.WIDTH_PT - 478, _HEIGHT_PT - 48 - 34, sharey=axes)
    xs = [100 * t["predicted"] if in_gain else i for i, t in enumerate(tenths, 1)]
    for x, tenth in zip(xs, tenths):
        _dot(axes, x, tenth["realised"], tenth, svg.LARGE_COLOUR, "o")
    for place, (_, cell, colour, mark) in enumerate(groups):
        _dot(beside, place, cell["value"], cell, colour, mark)
        axes_words = points(cell["value"])
        beside.annotate(
            axes_words, (place, 100 * cell["value"]), (8, 0), textcoords="offset points", va="center_baseline"
        )
    axes.margins(x=0.06, y=0.08)
    axes.set_ylim(*axes.get_ylim())
    axes.set_xlim(*axes.get_xlim())
    if in_gain:
        axes.axline((0, 0), slope=1, zorder=0, **svg.DOTTED)
        handle = Line2D([], [], label="as predicted", **svg.DOTTED)
        svg.legend(figure, [handle], loc="upper right", bbox_to_anchor=(452 / svg.WIDTH_PT, 1), handlelength=2.4)
    for panel in (axes, beside):
        panel.axhline(0, color=svg.INK, linewidth=0.9, zorder=1)
        svg.without_side(panel, grid="y")
    beside.tick_params(axis="y", labelleft=False)
    beside.set_xlim(-0.5, max(len(groups), 1) - 0.25)
    beside.set_xticks(range(len(groups)), [words for words, *_ in groups])
    beside.tick_params(axis="x", length=0)
    svg.ticks(axes.yaxis, 7, signed, steps=[1, 2, 2.5, 5, 10])
    svg.ticks(axes.xaxis, 9, signed if in_gain else None, integer=not in_gain, steps=[1, 2, 5, 10])
    axes.set_xlabel("predicted gain, points (mean of a tenth)" if in_gain else "tenth of the rows, lowest score first")
    figure.text(2 / svg.WIDTH_PT, 1 - 14 / _HEIGHT_PT, f"realised gain, points of {audit['metric']}", color=svg.INK)
    figure.text(478 / svg.WIDTH_PT, 1 - 14 / _HEIGHT_PT, "mean of a row", color=svg.INK)
    tenth_words = "; ".join(
        f"{points(t['predicted']) if in_gain else i} realised {_span(t['realised'], t)}"
        for i, t in enumerate(tenths, 1)
    )
    group_words = "; ".join(f"{words.replace(chr(10), ' ')} {interval(cell)}" for words, cell, *_ in groups)
    return svg.to_svg(figure, "audit", f"Dots with intervals. Realised gain by tenth of the prediction: {tenth_words}. "
                f"Mean of a row: {group_words}.")  # fmt: skip


def _dot(axes: Axes, x: float, value: float, cell: Mapping[str, Any], colour: str, mark: str) -> None:
    if cell["ci_low"] is not None and cell["ci_high"] is not None:
        spread = [[100 * (value - cell["ci_low"])], [100 * (cell["ci_high"] - value)]]
        axes.errorbar(x, 100 * value, yerr=spread, color=colour, linewidth=1.8, capsize=3)
    axes.plot(x, 100 * value, mark, color=colour, markersize=6)


def _span(value: float, cell: Mapping[str, Any]) -> str:
    return interval({"value": value, "ci_low": cell["ci_low"], "ci_high": cell["ci_high"]})
