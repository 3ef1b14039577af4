"""An account on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from routelmt_ray.account.book import RESERVED, SCORING
from routelmt_ray.evaluation.formats import amount, count, number, percent, plain
from routelmt_ray.reports.terminal import plain_table

_INDENT = 12


def print_account(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what :func:`routelmt_ray.job.account_view.view` found; plain text without a terminal.

    Args:
        found: the account.
        console: where to print; stdout by default.
    """
    console = console or Console()
    unit, allowance = found["unit"], found["allowance"]

    def show(label: str, words: str) -> None:
        line = Text(label.ljust(_INDENT), style="cyan").append(plain(words), style="default")
        console.print(line, highlight=False, soft_wrap=True)

    def of_all(units: float) -> str:
        return f"{amount(units, unit)} ({percent(units, allowance)})"

    forecast = found["forecast"]
    show("account", found["path"])
    show("period", f"{found['first']} to {found['last']}, {count(found['days_left'], 'day')} after today (UTC)")
    show("allowance", amount(allowance, unit))
    show("spent", of_all(found["spent"]))
    show("reserved", of_all(found["reserved"]))
    show("left", of_all(found["left"]))
    if forecast:
        price = "" if forecast["price"] is None else f" at a price of {number(forecast['price'])}"
        show(
            "forecast",
            f"on {forecast['day']}, {amount(forecast['left'], unit)} were left for the rest of the period, which was expected to "
            f"take {amount(forecast['expected'], unit)}{price}",
        )
    table = plain_table("day", "run", "state", "rows", "granted", "spent", "price", left=3)
    for run in found["runs"]:
        held = run["state"] in (SCORING, RESERVED)
        state = "at work" if run["at_work"] and run["state"] == RESERVED else run["state"]
        spent = "–" if held else amount(run["spent"], unit)
        table.add_row(
            run["day"], plain(run["run_dir"]), state, count(run["rows"]), amount(run["granted"], unit), spent,
            number(run["price"]),
        )  # fmt: skip
    console.print(table, soft_wrap=True)
