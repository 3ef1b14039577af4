"""The parts that all figures share: style, axes, legends, and the way to SVG.

The same input gives the same bytes. Text stays text, so that any script shows in the reader's own fonts; nothing in an
SVG refers to anything outside it, and its ids do not clash with those of another figure on the page.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

SMALL_COLOUR, LARGE_COLOUR, NONE_COLOUR = "#9fc5e0", "#b8480b", "#d9dde2"
"""Light blue and dark orange: distinct for every kind of colour vision and, as light and dark, in grey print."""
INK, FAINT, GRID = "#1f2933", "#52606d", "#e4e7eb"
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', Arial, sans-serif"
WIDTH_PT = 662.0
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "routelmt_ray", "text.parse_math": False,
    "font.family": ["DejaVu Sans"], "font.size": 10.0, "hatch.linewidth": 0.7,
    "axes.linewidth": 0.7, "axes.edgecolor": FAINT, "grid.linewidth": 0.7, "grid.color": GRID,
    "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.labelcolor": INK, "text.color": INK,
}  # fmt: skip
SMALL: dict[str, Any] = {"facecolor": SMALL_COLOUR, "edgecolor": "white", "linewidth": 0.4}
LARGE: dict[str, Any] = {"facecolor": LARGE_COLOUR, "edgecolor": "#e6a878", "linewidth": 0.4, "hatch": "////"}
NONE: dict[str, Any] = {"facecolor": NONE_COLOUR, "edgecolor": "white", "linewidth": 0.4}
DOTTED: dict[str, Any] = {"color": FAINT, "linewidth": 1.2, "linestyle": (0, (1, 1.5))}
ROW_END: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right",
                           "va": "center_baseline"}  # fmt: skip
"""Place of words at the right end of a row of a bar chart."""

P = ParamSpec("P")


def styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Makes a function draw in the style of the reports; the user's own settings of matplotlib have no effect."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return drawn


def new_figure(
    *, height_pt: float, left_pt: float, right_pt: float, bottom_pt: float, top_pt: float
) -> tuple[Figure, Axes]:
    """Makes an empty figure with margins in points and one plot in it; call it in a function that is `styled`."""
    figure = Figure(figsize=(WIDTH_PT / 72, height_pt / 72), dpi=72)
    width, height = WIDTH_PT - left_pt - right_pt, height_pt - bottom_pt - top_pt
    return figure, add_axes(figure, left_pt, bottom_pt, width, height)


def add_axes(figure: Figure, left_pt: float, bottom_pt: float, width_pt: float, height_pt: float, **more: Any) -> Axes:
    """Adds a plot to a figure, with its place in points."""
    whole = 72 * figure.get_figheight()
    place = (left_pt / WIDTH_PT, bottom_pt / whole, width_pt / WIDTH_PT, height_pt / whole)
    axes: Axes = figure.add_axes(place, axisbelow=True, **more)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def without_side(axes: Axes, *, grid: Literal["x", "y"] | None = None) -> None:
    """Hides the line and the ticks of the left side; draws the grid of an axis where one is given."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if grid:
        axes.grid(axis=grid)


def row_names(axes: Axes, names: Sequence[str], places: Any = None) -> None:
    """Names the rows of a bar chart; the first row is at the top."""
    axes.set_yticks(range(len(names)) if places is None else places, names)
    without_side(axes)


def ticks(axis: Axis, most: int, words: Callable[[float], str] | None = None, **where: Any) -> None:
    """Sets at most this number of ticks on an axis, and how they are written."""
    axis.set_major_locator(MaxNLocator(most, **where))
    if words is not None:
        axis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))


def percent_tick(value: float) -> str:
    """Formats a tick of an axis of shares."""
    return f"{value:.0%}".replace("%", " %")


def legend(figure: Figure, handles: Sequence[Any], **look: Any) -> None:
    """Draws a legend above the plot, on one line where `ncols` is not given."""
    look = {"loc": "upper left", "ncols": len(handles), "columnspacing": 2} | look
    figure.legend(handles=handles, frameon=False, borderaxespad=0, borderpad=0.2, **look)


def patch_legend(figure: Figure, kinds: Sequence[tuple[dict[str, Any], str]]) -> None:
    """Draws a legend of styles of bars, each with its words."""
    patches = [Patch(**style, label=words) for style, words in kinds]
    legend(figure, patches, handlelength=1.6, handleheight=1.0)


def to_svg(figure: Figure, prefix: str, description: str) -> Markup:
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
    return Markup(ElementTree.tostring(root, encoding="unicode"))
