"""The summary of a translate run on the terminal."""

import textwrap
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from routelmt_ray.evaluation.formats import asked_amount, count, duration, percent, points, rate
from routelmt_ray.reports import run_facts
from routelmt_ray.reports.templates import cleaned, folded, render, say
from routelmt_ray.reports.terminal import aligned, printable

_COLUMNS, _INDENT = 80, 13


def print_summary(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what a translate run did, in about twenty lines of at most 80 columns (paths may be longer).

    Without a terminal the output is plain text. Control characters in words of the corpus and the config are not shown.
    """
    report, console = run_facts.complete(cleaned(report)), console or Console()

    def show(label: str, words: str = "", style: str = "cyan") -> None:
        line = Text(printable(label, console), style=style).append(printable(words, console), style="default")
        console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    dry = report["state"] == "dry run"
    show(say("headline", report), style="bold")
    for fact in folded(render("run_summary.jinja", r=report, dry=dry)).splitlines():
        label, _, words = fact.partition("|")
        width = min(console.width, _COLUMNS) - _INDENT
        for i, line in enumerate(textwrap.wrap(words.strip(), width, break_long_words=False, break_on_hyphens=False)):
            show(("" if i else label).ljust(_INDENT), line)
    for lines in (_frontier_lines(report["forecast"]) if dry else [], _stage_lines(report["stages"])):
        for i, line in enumerate(lines):
            show(line, style="default" if i else "cyan")
    run_dir = report["run_dir"].rstrip("/")
    if not dry:
        show("output".ljust(_INDENT), f"{run_dir}/output/")
    show("report".ljust(_INDENT), f"{run_dir}/report.html")


def _frontier_lines(forecast: Mapping[str, Any] | None) -> list[str]:
    """Lists a few budgets to choose from, in aligned columns, and says how to continue."""
    if not forecast or not (rows := run_facts.frontier_rows(forecast)):
        return []
    table = [(run_facts.budget_key(forecast["unit"]), "rows to large", "share", "predicted rise")] + [
        (asked_amount(p["total_s"], forecast["unit"]), count(p["rows"]), percent(p["share"], 1), _points(p["gain_won"]))
        for p in rows
    ]
    marks = ["", *("   <- asked" if point["asked"] else "" for point in rows)]
    lines = [line + mark for line, mark in zip(aligned(table, str.rjust), marks)]
    return [*lines, "To go on: the same command with budget.dry_run=false; all scores are used again."]


def _points(gain: float | None) -> str:
    return "–" if gain is None else f"{points(gain)} points"


def _stage_lines(stages: list[Mapping[str, Any]]) -> list[str]:
    """Lists a header and a line for each stage, in aligned columns, and then the stages whose batches failed."""
    if not stages:
        return []
    table = [("stage", "rows", "wall time", "rows/s")] + [
        (s["name"][:30], count(s["rows_this_start"]), duration(s["wall_s"] or None), rate(s["rows_per_s"]))
        for s in stages
    ]
    return aligned(table) + [
        f"{s['name']}: a batch failed and was halved {count(halved, 'time')}, which is slow; see report.html"
        for s in stages
        if (halved := s.get("halved_batches", 0))
    ]
