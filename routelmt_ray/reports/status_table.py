"""The status of a run on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from routelmt_ray.evaluation.formats import amount, count, device_time, duration, number, plain
from routelmt_ray.reports.templates import say
from routelmt_ray.reports.terminal import plain_table

_INDENT = 15
_NONE = "–"


def print_status(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what :func:`routelmt_ray.job.status.status` found; plain text without a terminal."""
    console = console or Console()

    def show(label: str, words: str) -> None:
        line = Text(label.ljust(_INDENT), style="cyan").append(plain(words), style="default")
        console.print(line, highlight=False, soft_wrap=True)

    ends = f", finished {found['finished']}" if found["finished"] else f", last sign of life {found['last_sign']}"
    eta = f"; {duration(found['eta_s'])} left of what is under way" if found["eta_s"] is not None else ""
    show(f"{found['job']} run", found["run_dir"])
    show("state", f"{found['state']}: started {found['started']}{ends}{eta}")
    if found["rows"] is not None:
        show("corpus", f"{count(found['rows'], 'row')} in {count(found['shards'], 'shard')}")
    spend = found["spend"]
    words = f"{device_time(spend['spent_device_s'])} ({spend['unit']}), {count(spend['actors_alive'], 'actor')} at work"
    if spend["budget_device_s"] is not None:
        words += (
            f"; {device_time(max(0.0, spend['remaining_device_s']))} left of {device_time(spend['budget_device_s'])}"
        )
    show("spent", words)
    if money := spend.get("money"):
        words = amount(money["spent"], money["currency"])
        if money["budget"] is not None:
            words += f"; {amount(max(0.0, money['remaining']), money['currency'])} left of {amount(money['budget'], money['currency'])}"
        show("money", words)
    for kind, usage in spend.get("usage", {}).items():
        tokens = f"{usage['prompt_tokens']:,} prompt tokens, {usage['completion_tokens']:,} completion tokens"
        show("served", f"{kind} {usage['requests']:,} requests, {usage['answers']:,} answers; {tokens}")
    if found["account"]:
        show("account", f"{say('account', found['account'])}: {found['account']['path']}")
    if found["promise"]:
        show("promise", say("promise", found["promise"]))
    console.print(_stage_table(found["stages"]))
    if found["plan"]:
        console.print(_plan_table(found["plan"]))
    errors = found["errors"]
    if errors["last"]:
        show("ended with", errors["last"])
    if errors["quarantined_rows"]:
        show("quarantine", count(errors["quarantined_rows"], "row"))
    for death in errors["deaths"]:
        show("deaths", f"{death['shard']}: {death['deaths']}, {count(death['convicted'], 'row')} convicted")
    for message in errors["damaged_files"]:
        show("damaged", message)
    if number := errors["unread"]["counted"]:
        show("not read", f"{count(number, 'file')} that may hold rows; first: {errors['unread']['named'][0]}")


def _stage_table(stages: list[Mapping[str, Any]]) -> Table:
    table = plain_table("stage", "shards", "rows", "shards/s", "left")
    for stage in stages:
        of = _NONE if stage["shards"] is None else count(stage["shards"])
        table.add_row(
            plain(stage["name"]),
            f"{count(stage['shards_done'])} of {of}",
            count(stage["rows"]),
            number(stage["shards_per_s"]),
            duration(stage["eta_s"]),
        )
    return table


def _plan_table(plan: list[Mapping[str, Any]]) -> Table:
    table = plain_table("plan entry", "kind", "asked", "routed", "threshold", left=3)
    for entry in plan:
        asked = ", ".join(f"{key} {float(value):g}" for key, value in entry["asked"].items())
        routed = _NONE if entry["routed_rows"] is None else count(entry["routed_rows"])
        table.add_row(f"{entry['entry']:03d}", entry["kind"], asked, routed, number(entry["threshold"]))
    return table
