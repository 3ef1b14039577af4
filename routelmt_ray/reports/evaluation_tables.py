"""The tables of an evaluation as files, and its summary on the terminal."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from routelmt_ray import storage
from routelmt_ray.evaluation.formats import count
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.scorers import Scored
from routelmt_ray.reports.evaluation_words import flat, headline_keys, rows_in_order, shown
from routelmt_ray.reports.templates import cleaned, say

_CELL = ("value", "low", "high")
_SHORT = {
    "spearman": "rho", "hit_rate": "hit %", "mean_delta": "delta", "pgr": "PGR", "severe_loss": "sev %",
    "caught": "fail %",
    "area_calls": "calls", "area_characters": "chars", "area_seconds": "secs",
}  # fmt: skip
"""Column heads on the terminal."""


def write_tables(out: Path, result: Mapping[str, Any]) -> None:
    """Writes the CSV tables: headline, measures, paired, groups and curves."""
    keys = headline_keys(result)
    head = ["scorer", "title", "unit", "seconds_a_row", "cascade"]
    rows = [
        [s["name"], s["title"], s["unit"], s["seconds_a_row"], s["cascade"]]
        + [result["overall"][s["name"]][key][part] for key in keys for part in _CELL]
        for s in rows_in_order(result)
    ]
    _write(out / "headline.csv", head + [f"{k}{e}" for k in keys for e in ("", "_low", "_high")], rows)
    _write(out / "measures.csv", ["scorer", "measure", *_CELL], flat(result, result["overall"]))
    paired = ([result["reference"], *row] for row in flat(result, result["paired"]))
    _write(out / "paired.csv", ["reference", "scorer", "measure", "difference", "low", "high", "probability"], paired)
    groups = (
        [kind, name, group["rows"], *row]
        for kind, table in result["groups"].items()
        for name, group in table["groups"].items()
        for row in flat(result, group["scorers"])
    )
    _write(out / "groups.csv", ["kind", "group", "rows", "scorer", "measure", *_CELL], groups)
    curves = (
        [axis, name, share, *point]
        for axis, by_scorer in result["curves"].items()
        for name, curve in by_scorer.items()
        for share, *point in zip(result["grid"], curve["quality"], curve["low"], curve["high"])
    )
    _write(out / "curves.csv", ["axis", "scorer", "share", "quality_over_small", "low", "high"], curves)


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_safe(value) for value in row] for row in rows)
    storage.write_text(path, text.getvalue())


def _safe(value: Any) -> Any:
    # A spreadsheet would run text that begins like a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def write_scores(path: Path, rows: Labelled, scored: Sequence[Scored]) -> None:
    """Writes every score of every measured row, with the row's place in the labelled set."""
    columns: dict[str, Any] = {"place": rows.places, "gain": rows.gain}
    columns |= {f"score_{s.name}": s.score for s in scored}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    storage.write_bytes(path, buffer.getvalue())


def print_summary(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints the headline, the table of the headline measures, and what was left out or noted."""
    result, console = cleaned(result), console or Console()

    def show(words: str, style: str = "", whole: bool = True) -> None:
        """Prints words, where there are any; `whole` leaves lines as long as they are."""
        if words:
            console.print(Text(words, style=style), soft_wrap=whole)

    show(say("winner", result), "bold")
    given, dropped = result["input"], sum(result["input"]["dropped"].values())
    facts = f"{count(given['rows'], 'row')} of {count(given['documents'], 'document')}, gain by {result['metric']}"
    show(facts + (f", {count(dropped, 'row')} dropped" if dropped else ""), whole=False)
    table = Table(box=None, pad_edge=False, header_style="cyan")
    table.add_column("scorer", no_wrap=True, max_width=26)
    keys = headline_keys(result)
    for key in keys:
        table.add_column(_SHORT[key.partition("@")[0]], justify="right", no_wrap=True)
    for s in rows_in_order(result):
        cells = [shown(key, result["overall"][s["name"]][key]["value"]) for key in keys]
        style = "dim" if s["family"] == "oracle" else "bold" if s["name"] == result["leader"]["name"] else None
        table.add_row(s["title"], *cells, style=style)
    console.print(table)
    show(
        f"at p = {result['p']:g}: rho Spearman, hit HitRate, delta MeanDelta (points a routed row), sev severe losses (beyond "
        f"{result['tau']:g}); calls, chars, secs: normalised area (random 0, oracle 1)",
        "dim",
        whole=False,
    )
    show(say("caught", result), whole=False)
    show(say("over_all_budgets", result), whole=False)
    show(say("cascade", result), whole=False)
    show(say("labels_missing", result), whole=False)
    show(say("metric_missing", result), whole=False)
    for s in result["skipped"]:
        if not s["reason"].endswith(("is null", "is empty", "is false")):
            show(f"left out: {s['title']}: {s['reason']}")
    for warning in result["warnings"]:
        show(f"note: {warning}")
    show(say("mean_quality", result), "bold", whole=False)
    show(say("quality_for_seconds", result), "bold", whole=False)
    show(f"report  {Path(result['config']['out']) / 'report.html'}")
