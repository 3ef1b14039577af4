"""The reports of a translate run and of an evaluation, each as one self-contained HTML file.

A page has its style and figures inside, runs no script and loads nothing; its content security policy enforces this. Any
text from the corpus, the labelled set or the config is escaped. The same report gives the same bytes.
"""

from collections.abc import Mapping
from typing import Any

from routelmt_ray.reports import audit_plots, budget_plots, frontier_plots, plots, run_facts, svg
from routelmt_ray.reports.templates import cleaned, render


def run_page(report: Mapping[str, Any]) -> str:
    """Renders the contents of the ``report.json`` of a translate run."""
    return render(
        "run_report.html.jinja", r=run_facts.complete(cleaned(report)), plots=plots, budget_plots=budget_plots,
        audit_plots=audit_plots, svg=svg,
    )  # fmt: skip


def evaluation_page(result: Mapping[str, Any]) -> str:
    """Renders the contents of ``evaluation.json``."""
    return render("evaluation_report.html.jinja", r=cleaned(result), plots=frontier_plots, svg=svg)
