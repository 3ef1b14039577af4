"""The status of a run, and that of an account, on the terminal: plain text without a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from routelmt_ray.account.book import RESERVED, SCORING
from routelmt_ray.evaluation.formats import amount, count, duration, number
from routelmt_ray.reports.templates import cleaned, folded, render
from routelmt_ray.reports.terminal import plain_table, print_facts, print_table

_RUN_INDENT, _ACCOUNT_INDENT = 15, 12
_NONE = "–"


def print_status(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what :func:`routelmt_ray.job.status.status` found."""
    found, console = cleaned(found), console or Console()
    print_facts(folded(render("status.jinja", s=found, after=False)), console, _RUN_INDENT)
    rows = []
    for stage in found["stages"]:
        of = _NONE if stage["shards"] is None else count(stage["shards"])
        done = f"{count(stage['shards_done'])} of {of}"
        rows.append(
            [stage["name"], done, count(stage["rows"]), number(stage["shards_per_s"]), duration(stage["eta_s"])]
        )
    print_table(plain_table("stage", "shards", "rows", "shards/s", "left"), rows, console)
    rows = []
    for entry in found["plan"]:
        asked = ", ".join(f"{key} {float(value):g}" for key, value in entry["asked"].items())
        routed = _NONE if entry["routed_rows"] is None else count(entry["routed_rows"])
        rows.append([f"{entry['entry']:03d}", entry["kind"], asked, routed, number(entry["threshold"])])
    if rows:
        print_table(plain_table("plan entry", "kind", "asked", "routed", "threshold", left=3), rows, console)
    print_facts(folded(render("status.jinja", s=found, after=True)), console, _RUN_INDENT)


def print_account(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what :func:`routelmt_ray.job.account_view.view` found."""
    found, console = cleaned(found), console or Console()
    print_facts(folded(render("account.jinja", a=found)), console, _ACCOUNT_INDENT)
    rows = []
    for run in found["runs"]:
        state = "at work" if run["at_work"] and run["state"] == RESERVED else run["state"]
        granted, spent = (amount(run[key], found["unit"]) for key in ("granted", "spent"))
        spent = _NONE if run["state"] in (SCORING, RESERVED) else spent
        rows.append([run["day"], run["run_dir"], state, count(run["rows"]), granted, spent, number(run["price"])])
    table = plain_table("day", "run", "state", "rows", "granted", "spent", "price", left=3)
    print_table(table, rows, console, soft_wrap=True)
