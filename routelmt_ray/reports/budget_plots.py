"""Figures of a budget in device time: pure functions from the report's numbers to SVG, in the style of `svg`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from routelmt_ray.budget.cost import is_money
from routelmt_ray.evaluation.formats import amount, count, number, percent, points, signed
from routelmt_ray.reports import svg
from routelmt_ray.reports.run_facts import cost_name, device

_PREDICTED: dict[str, Any] = {"facecolor": "white", "edgecolor": svg.LARGE_COLOUR, "linewidth": 1.2}
_STEPS = [1, 2, 2.5, 5, 10]
_LABEL_GAP_PT = 38.0
"""Smallest distance between two ticks of the upper axis."""
_ALL = 0.99
"""A frontier that ends above this share of the rows counts as complete: a random order ends at the same point."""


@svg.styled
def frontier(forecast: Mapping[str, Any]) -> str:
    """Draws the effect of each budget: predicted rise of the mean quality against device time and share of rows.

    Where the router's score is not in units of gain, the figure shows the share of the rows against device time. The SVG is
    empty where there are not two points to draw.
    """
    curve, asked = forecast["frontier"], forecast["asked"]
    if len(curve) < 2 or curve[-1]["total_s"] <= curve[0]["total_s"]:
        return ""
    seconds, shares = (np.asarray([point[key] for point in curve], float) for key in ("total_s", "share"))
    in_gain = all(point["gain_won"] is not None for point in [*curve, *([asked] if asked else [])])
    values = 100 * (np.asarray([point["gain_won"] for point in curve], float) if in_gain else shares)
    size, name = _axis_unit(float(seconds[-1]), forecast["unit"])
    x = seconds / size
    figure, axes = svg.new_figure(height_pt=320, left_pt=46, right_pt=22, bottom_pt=42, top_pt=78 if in_gain else 56)
    handles = axes.plot(x, values, color=svg.LARGE_COLOUR, linewidth=2, solid_capstyle="round", label="best rows first")
    axes.plot(x[[0, -1]], values[[0, -1]], "o", color=svg.LARGE_COLOUR, markersize=4.5)
    if in_gain:
        axes.axhline(0, color=svg.FAINT, linewidth=0.7)
        if shares[-1] > _ALL:
            chord = np.interp(x, x[[0, -1]], values[[0, -1]])
            axes.fill_between(x, chord, values, color=svg.LARGE_COLOUR, alpha=0.08, linewidth=0)
            handles += axes.plot(x[[0, -1]], values[[0, -1]], **svg.DOTTED, label="rows at random")
    if asked:
        handles += _mark_asked(axes, forecast, size, in_gain)
    svg.without_side(axes, grid="y")
    svg.ticks(axes.xaxis, 9, _time_tick, steps=_STEPS)
    svg.ticks(axes.yaxis, 7, signed if in_gain else "{:g} %".format, steps=_STEPS)
    in_time = f"device time of the whole job, {device(forecast['unit'])}-{name}"
    axes.set_xlabel(f"cost of the whole job, {name}" if is_money(forecast["unit"]) else in_time)
    words = "predicted rise of the mean quality, points" if in_gain else "share of the eligible rows"
    figure.text(2 / svg.WIDTH_PT, 1 - 36 / 320, words, color=svg.FAINT)
    if in_gain:
        _share_axis(axes, x, shares)
        figure.text(1 - 22 / svg.WIDTH_PT, 1 - 36 / 320, "share of the eligible rows", color=svg.FAINT, ha="right")
    svg.legend(figure, handles, handlelength=2)
    return svg.to_svg(figure, "budget-frontier", _frontier_description(forecast, words, in_gain))


def _mark_asked(axes: Axes, forecast: Mapping[str, Any], size: float, in_gain: bool) -> list[Line2D]:
    """Marks the asked budget, with lines to both axes and the error of its time; returns the mark for the legend."""
    asked, error = forecast["asked"], forecast["relative_error"] or 0.0
    at = asked["total_s"] / size
    value = 100 * (asked["gain_won"] if in_gain else asked["share"])
    axes.errorbar(at, value, xerr=at * error, color=svg.INK, linewidth=1.6, capsize=3.5, zorder=5)
    axes.set_xlim(*axes.get_xlim())
    axes.set_ylim(*axes.get_ylim())
    guide: dict[str, Any] = {"color": svg.INK, "linewidth": 0.9, "linestyle": (0, (4, 2.5)), "zorder": 4}
    axes.plot([at, at], [axes.get_ylim()[0], value], **guide)
    axes.plot([axes.get_xlim()[0], at], [value, value], **guide)
    words = f"asked: {amount(asked['total_s'], forecast['unit'])}, {percent(asked['share'], 1)} of the rows"
    words += f", {points(asked['gain_won'])} points" if in_gain else ""
    mark: list[Line2D] = axes.plot(at, value, "D", color=svg.INK, markersize=7, zorder=6, label=words)
    return mark


def _share_axis(axes: Axes, x: np.ndarray, shares: np.ndarray) -> None:
    """Adds an axis of shares of rows along the top, with its ticks where the frontier reaches these shares."""
    upper = axes.twiny()
    upper.spines[["right", "left", "bottom"]].set_visible(False)
    upper.set_xlim(axes.get_xlim())
    width_pt = axes.get_position().width * svg.WIDTH_PT
    low, high = axes.get_xlim()
    places: list[float] = []
    names: list[str] = []
    for share in MaxNLocator(12, steps=[1, 2, 5, 10]).tick_values(0, float(shares[-1])):
        place = float(np.interp(share, shares, x))
        if share <= shares[-1] and (not places or (place - places[-1]) / (high - low) * width_pt >= _LABEL_GAP_PT):
            places.append(place)
            names.append(f"{100 * share:.3g} %")
    upper.set_xticks(places, names)


def _frontier_description(forecast: Mapping[str, Any], words: str, in_gain: bool) -> str:
    curve, asked = forecast["frontier"], forecast["asked"]

    def one(point: Mapping[str, Any]) -> str:
        value = f"{points(point['gain_won'])} points, " if in_gain else ""
        return f"{amount(point['total_s'], forecast['unit'])}: {value}{percent(point['share'], 1)} of the rows"

    chosen = [curve[round(i)] for i in np.linspace(0, len(curve) - 1, min(6, len(curve)))]
    listed = "; ".join(one(point) for point in chosen)
    return f"Line: {words} by {cost_name(forecast['unit'])}: {listed}." + (f" Asked: {one(asked)}." if asked else "")


@svg.styled
def plan_bars(plan: Sequence[Mapping[str, Any]], unit: str = "device_s") -> str:
    """Draws predicted and measured device time, or money, of each plan entry's rows as pairs of bars; empty without any."""
    entries = [(i, entry) for i, entry in enumerate(plan, 1) if entry["predicted_s"] is not None]
    if not entries:
        return ""
    most = max(max(entry["predicted_s"], entry["measured_s"] or 0.0) for _, entry in entries)
    size, name = _axis_unit(most, unit)
    figure, axes = svg.new_figure(
        height_pt=84 + 36 * len(entries), left_pt=60, right_pt=200, bottom_pt=42, top_pt=34
    )  # fmt: skip
    for place, (_, entry) in enumerate(entries):
        axes.barh(place - 0.19, entry["predicted_s"] / size, 0.32, **_PREDICTED)
        beside = f"{amount(entry['predicted_s'], unit)} predicted"
        if entry["measured_s"] is not None:
            axes.barh(place + 0.19, entry["measured_s"] / size, 0.34, **svg.LARGE)
            beside = f"{amount(entry['measured_s'], unit)} of {amount(entry['predicted_s'], unit)}"
        axes.annotate(beside, (1, place), (198, 0), color=svg.FAINT, **svg.ROW_END)
        if entry["measured_s"] is not None and entry["predicted_s"]:
            ratio = f"×{entry['measured_s'] / entry['predicted_s']:.2f}"
            axes.annotate(ratio, (1, place), (48, 0), **svg.ROW_END)
    axes.set_ylim(len(entries) - 0.5, -0.5)
    svg.row_names(axes, [f"entry {i}" for i, _ in entries])
    axes.set_xlim(0, most / size * 1.02 or 1)
    svg.ticks(axes.xaxis, 6, _time_tick, steps=_STEPS)
    axes.grid(axis="x")
    kind = "money" if is_money(unit) else "device time"
    axes.set_xlabel(f"{kind} of the rows of an entry, {name}")
    svg.patch_legend(figure, [(_PREDICTED, "predicted"), (svg.LARGE, "measured")])
    listed = "; ".join(_entry_words(i, entry, unit) for i, entry in entries)
    return svg.to_svg(figure, "plan", f"Bars. {kind.capitalize()} of the rows of each plan entry: {listed}.")


def _entry_words(number_: int, entry: Mapping[str, Any], unit: str) -> str:
    measured = "not measured" if entry["measured_s"] is None else f"measured {amount(entry['measured_s'], unit)}"
    rows = count(entry["rows"], "row")
    return f"entry {number_}, {rows}, predicted {amount(entry['predicted_s'], unit)}, {measured}"


def _time_tick(value: float) -> str:
    return number(round(value, 9))


def _axis_unit(most_s: float, unit: str) -> tuple[float, str]:
    """Chooses the unit in which an axis is easiest to read: its size, in seconds or in the currency, and its name."""
    if is_money(unit):
        return 1, unit
    return (1, "seconds") if most_s < 120 else (60, "minutes") if most_s < 2 * 3600 else (3600, "hours")
