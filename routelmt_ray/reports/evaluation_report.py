"""The report of an evaluation as one self-contained HTML file."""

from collections.abc import Mapping
from typing import Any

from routelmt_ray.reports import frontier_plots, svg
from routelmt_ray.reports.templates import cleaned, render


def render_html(result: Mapping[str, Any]) -> str:
    """Renders the report of an evaluation as an HTML page.

    The page has its style and figures inside, runs no script and loads nothing; its content security policy enforces
    this. Any text from the labelled set or the config is escaped.

    Returns:
        The HTML document. The same result gives the same bytes.
    """
    return render("evaluation_report.html.jinja", r=cleaned(result), plots=frontier_plots, svg=svg)
