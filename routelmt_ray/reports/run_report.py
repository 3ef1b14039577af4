"""The report of a translate run as one self-contained HTML file."""

from collections.abc import Mapping
from typing import Any

from routelmt_ray.reports import audit_plots, budget_plots, plots, run_facts, svg
from routelmt_ray.reports.templates import cleaned, render


def render_html(report: Mapping[str, Any]) -> str:
    """Renders the report of a translate run as an HTML page.

    The page has its style and figures inside, runs no script and loads nothing; its content security policy enforces
    this. Any text from the corpus or the config is escaped.

    Returns:
        The HTML document. The same report gives the same bytes.
    """
    return render(
        "run_report.html.jinja", r=run_facts.complete(cleaned(report)), plots=plots, budget_plots=budget_plots,
        audit_plots=audit_plots, svg=svg,
    )  # fmt: skip
