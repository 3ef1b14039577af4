"""The dataset card (Markdown) of a label run, and its summary on the terminal."""

import textwrap
from collections.abc import Mapping
from typing import Any

import yaml
from rich.console import Console

from routelmt_ray.evaluation.formats import count, duration, percent, plain, rate
from routelmt_ray.metrics.checkpoint import NON_COMMERCIAL, UNKNOWN_LICENCE
from routelmt_ray.reports.templates import render, say
from routelmt_ray.reports.terminal import aligned, printable

_MOST_PAIRS = 100


def render_card(report: Mapping[str, Any]) -> str:
    """Writes the dataset card of a label run: Markdown with a YAML header that dataset hubs can read."""
    codes = sorted({code for pair in report["pairs"] for code in pair.split("→") if code != "?"})
    tags = ["machine-translation", "quality-estimation", "routing", "gain-labels"]
    facts: dict[str, Any] = {"pretty_name": "Gain labels", "task_categories": ["translation"], "tags": tags}
    if codes:
        facts["language"] = codes
    if any(metric["non_commercial"] for metric in report["metrics"]):
        facts["license"] = NON_COMMERCIAL.lower()
    header = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).rstrip()
    return render(
        "dataset_card.md.jinja", r=report, header=header, figures=_figures, most_pairs=_MOST_PAIRS,
        non_commercial=NON_COMMERCIAL, unknown_licence=UNKNOWN_LICENCE,
    )  # fmt: skip


def _figures(quality: Mapping[str, Any]) -> list[str]:
    """Lists rows, mean quality of both models, and mean, deviation, negative and zero share of the gain."""
    numbers = [quality[key] for key in ("mean_small", "mean_large", "gain_mean", "gain_sd")]
    shares = [quality[key] for key in ("gain_negative_share", "gain_zero_share")]
    return [
        count(quality["rows"]),
        *("–" if value is None else f"{value:.4f}".replace("-", "−") for value in numbers),
        *("–" if share is None else percent(share, 1) for share in shares),
    ]


def print_label_summary(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what a label run did: rows by status, quality by metric, and the speed of each stage."""
    console = console or Console()
    run_dir, metrics = plain(report["run_dir"]), report["metrics"]
    lines = [f"{count(report['input']['rows'], 'row')} labelled by {', '.join(m['name'] for m in metrics)}"]
    if words := say("unread", report["input"].get("unread", {"counted": 0})):
        lines.append(f"not read   {words}: see the card")
    listed = ", ".join(f"{status} {count(found['rows'])}" for status, found in report["statuses"].items()) or "no rows"
    lines += textwrap.wrap(listed, 77, initial_indent="statuses   ", subsequent_indent=" " * 11)
    if words := say("repeats", report) if report.get("repeats") else "":
        lines += textwrap.wrap(words, 77, initial_indent="repeats    ", subsequent_indent=" " * 11)
    for size, found in report.get("checks", {}).items():
        lines.append(
            f"{size + ' fails':<11}a check in {percent(found['failed'], found['checked'])} of {count(found['checked'], 'row')}"
        )
    quality = [[metric["name"], *_figures(metric["quality"])[:-1]] for metric in metrics]
    lines += aligned([["metric", "rows", "small", "large", "gain", "sd", "< 0"], *quality])
    stages = [
        [stage["name"], count(stage["rows_this_start"]), duration(stage["wall_s"] or None), rate(stage["rows_per_s"])]
        for stage in report["stages"]
    ]
    lines += aligned([["stage", "rows", "wall time", "rows/s"], *stages])
    for line in [*lines, f"output     {run_dir}/output/", f"card       {run_dir}/dataset_card.md"]:
        console.print(printable(line, console), markup=False, highlight=False, emoji=False, soft_wrap=True)
