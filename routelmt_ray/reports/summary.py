"""The summary of a translate run on the terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from routelmt_ray.evaluation.formats import (
    count,
    device_hours,
    device_time,
    duration,
    number,
    percent,
    plain,
    points,
    rate,
)
from routelmt_ray.reports.budget_words import (
    about,
    by_cost,
    device,
    dry_headline,
    frontier_rows,
    frontier_words,
    lost_words,
    spend_parts,
    spent_words,
    unspent_words,
)
from routelmt_ray.reports.worth_words import verdict

_MOST_STATUSES = 6
_MOST_SHARDS = 3
_COLUMNS, _INDENT = 80, 13


def print_summary(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what a translate run did, in about twenty lines of at most 80 columns (paths may be longer).

    Without a terminal the output is plain text. Control characters in words of the corpus and the config are not shown.

    Args:
        report: the contents of ``report.json``.
        console: where to print; stdout by default.
    """
    console = console or Console()

    def show(label: str, words: str = "", style: str = "cyan") -> None:
        line = Text(_printable(label, console), style=style).append(_printable(words, console), style="default")
        console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    report = complete(report)
    dry = report["state"] == "dry run"
    show(headline(report), style="bold")
    for label, words in _dry_facts(report) if dry else _facts(report):
        lines = textwrap.wrap(words, min(console.width, _COLUMNS) - _INDENT)
        for i, line in enumerate(lines):
            show(("" if i else label).ljust(_INDENT), line)
    for i, line in enumerate(_frontier_lines(report["forecast"]) if dry and report["forecast"] else []):
        show(line, style="default" if i else "cyan")
    for i, line in enumerate(_stage_lines(report["stages"]) if report["stages"] else []):
        show(line, style="default" if i else "cyan")
    run_dir = plain(report["run_dir"]).rstrip("/")
    if not dry:
        show("output".ljust(_INDENT), f"{run_dir}/output/")
    show("report".ljust(_INDENT), f"{run_dir}/report.html")


def complete(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the report with every key that readers expect; missing values are empty.

    Reports of earlier versions have no device time, forecasts or audits; the report of a dry run has no results.
    """
    nothing: dict[str, Any] = {
        **dict.fromkeys(("spend", "plan", "forecast", "route_reasons", "audit", "quality")),
        "models_used": {"small": 0, "large": 0, "none": 0},
        "gain_histogram": {"edges": [], "small": [], "large": []},
        "statuses": {}, "pairs": [], "stages": [], "deaths": [], "fallbacks": 0, "quarantined": 0,
    }  # fmt: skip
    given = {key: value for key, value in report.items() if value is not None}
    rows = {"n_rows": report["input"]["rows"], "n_eligible": 0, "k": 0, "routed": 0, "threshold": None, "entries": 1}
    asked = {key: value for key, value in report["budget"].items() if value is not None}
    return {**nothing, **given, "budget": {**rows, **asked}}


def headline(report: Mapping[str, Any]) -> str:
    """Says in one sentence what the run did, or what a dry run would do."""
    if report["state"] == "dry run":
        return dry_headline(report)
    used, budget = report["models_used"], report["budget"]
    done = used["small"] + used["large"]
    if not budget["n_rows"]:
        return "The corpus has no rows: nothing to translate"
    if not done:
        return f"None of {count(budget['n_rows'], 'row')} could be translated"
    rows = f"{count(done, 'row')} translated"
    if not used["large"]:
        return f"{rows}, none by the large model"
    if not used["small"]:
        return f"{rows}, {'all ' if done > 1 else ''}by the large model"
    share = percent(used["large"], budget["n_eligible"])
    return f"{rows}; {count(used['large'])} ({share} of {count(budget['n_eligible'])} eligible) by the large model"


def spent(budget: Mapping[str, Any]) -> str:
    """Says how many rows were routed, out of how many the budget allows."""
    words = f"{count(budget['routed'])} of {count(budget['k'])} allowed"
    return words if budget["k"] else f"{words}: the budget routes no row"


def death_words(deaths: Sequence[Mapping[str, Any]]) -> str:
    """Says how often engines died, on which shards, and how many rows were to blame."""
    shards = ", ".join(str(death["shard"]) for death in deaths[:_MOST_SHARDS])
    more = len(deaths) - _MOST_SHARDS
    words = f"engines died {count(sum(death['deaths'] for death in deaths), 'time')} over {shards}"
    convicted = sum(death["convicted"] for death in deaths)
    return (
        words
        + (f" and {count(more)} more" if more > 0 else "")
        + (f"; {count(convicted, 'row')} to blame, answered as failed" if convicted else "; no row was to blame")
    )


def id_words(ids: Mapping[str, Any] | None) -> str:
    """Says how many rows have no id or an id of an earlier row; empty where there are none."""
    if not ids:
        return ""
    about = "" if ids["exact"] else "about "
    twice = f"{about}{count(ids['duplicates'], 'row')} with an id of an earlier row" if ids["duplicates"] else ""
    null = f"{count(ids['null'], 'row')} without one" if ids["null"] else ""
    words = " and ".join(filter(None, (twice, null)))
    return f"{words} ({plain(ids['column'])}); all are kept" if words else ""


def unread_words(corpus: Mapping[str, Any]) -> str:
    """Says how many files that may hold rows are not read; empty where there are none.

    Args:
        corpus: the section ``input`` of a report.
    """
    number = corpus.get("unread", {}).get("counted", 0)
    if not number:
        return ""
    return f"{count(number, 'file')} in the input {'may hold rows and is' if number == 1 else 'may hold rows and are'} not read"


def _printable(text: str, console: Console) -> str:
    """Replaces characters that the console cannot encode; a finished run must not fail while it prints its summary."""
    ascii_words = text if console.encoding.startswith("utf") else text.replace("–", "-").replace("−", "-")
    return ascii_words.encode(console.encoding, "replace").decode(console.encoding)


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    budget, used, corpus = report["budget"], report["models_used"], report["input"]
    facts = [("rows", f"{count(budget['n_rows'])} in {count(corpus['files'], 'file')}")]
    if corpus["damaged_files"]:
        facts.append(("damaged", f"{count(len(corpus['damaged_files']), 'input file')} could not be read to the end"))
    if words := unread_words(corpus):
        facts.append(("not read", f"{words}: see report.html"))
    if words := id_words(corpus.get("ids")):
        facts.append(("ids", words))
    routed = f"{spent(budget)} ({plain(budget['asked'])})"
    if report["spend"] and report["spend"]["budget_s"]:
        routed = f"{count(budget['routed'])}, {percent(budget['routed'], budget['n_eligible'])} of the eligible rows"
    if budget["threshold"] is not None:
        unit = plain(report["router"]["unit"]) + (" a second" if by_cost(report["config"]) else "")
        routed += f", threshold {number(budget['threshold'])} ({unit})"
    facts.append(("routed", routed))
    facts.append(("models", f"small {count(used['small'])}, large {count(used['large'])}, none {count(used['none'])}"))
    if report["fallbacks"]:
        facts.append(("fallbacks", f"{count(report['fallbacks'])} routed, but translated by the small model"))
    if report["quarantined"]:
        facts.append(("quarantine", f"{count(report['quarantined'], 'row')}, kept whole in quarantine/"))
    rows_of = {
        plain(name): status["rows"] for name, status in report["statuses"].items() if name != "ok" and status["rows"]
    }
    statuses = sorted(rows_of, key=lambda name: (-rows_of[name], name))
    if statuses:
        shown = ", ".join(f"{name} {count(rows_of[name])}" for name in statuses[:_MOST_STATUSES])
        more = len(statuses) - _MOST_STATUSES
        facts.append(("not ok", shown + (f" and {more} more" if more > 0 else "")))
    if report["deaths"]:
        facts.append(("deaths", plain(death_words(report["deaths"]))))
    if report["spend"]:
        facts += _spend_facts(report["spend"])
    if report["audit"]:
        facts.append(("audit", verdict(report["audit"])[0]))
    if report["quality"]:
        models = report["quality"]["by_model"].items()
        means = [f"{plain(name)} {m['mean']:.3f} ({count(m['rows'])})" for name, m in models if m["rows"]]
        facts.append((plain(report["quality"]["metric"]), ", ".join(means) or "no row has a reference"))
    return facts


def _spend_facts(spend: Mapping[str, Any]) -> list[tuple[str, str]]:
    parts = ", ".join(f"{plain(w)} {device_time(s)}" for key, w, s, _ in spend_parts(spend) if key != "unspent")
    facts = [(f"{device(spend['unit'])} time", f"{spent_words(spend)}: {parts}" if parts else spent_words(spend))]
    if left := unspent_words(spend):
        facts.append(("not spent", plain(left)))
    if sum(stage["lost"] for stage in spend["stages"]):
        facts.append(("engines", lost_words(spend)))
    return facts


def _dry_facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    budget, corpus, forecast = report["budget"], report["input"], report["forecast"]
    rows = f"{count(budget['n_rows'])} in {count(corpus['files'], 'file')}, {count(budget['n_eligible'])} can be routed"
    facts = [("rows", rows), ("asked", plain(budget["asked"]))]
    if not forecast:
        return facts
    asked = forecast["asked"]
    if asked:
        stages = ", ".join(f"{plain(s['name'])} {device_time(s['seconds'])}" for s in forecast["stages"])
        words = f"{about(asked['total_s'], forecast)} of {device(forecast['unit'])} time" + (
            f": {stages}" if stages else ""
        )
        facts.append(("would take", f"{words}; wall time {duration(asked['wall_s'])}"))
    if words := frontier_words(forecast):
        facts.append(("frontier", words))
    return facts


def _frontier_lines(forecast: Mapping[str, Any]) -> list[str]:
    """Lists a few budgets to choose from, in aligned columns, and says how to continue."""
    rows = frontier_rows(forecast)
    if not rows:
        return []
    table = [("budget.gpu_hours", "rows to large", "share", "predicted rise")] + [
        (device_hours(p["total_s"]), count(p["rows"]), percent(p["share"], 1), _points(p["gain_won"])) for p in rows
    ]
    widths = [max(map(len, column)) for column in zip(*table)]
    marks = ["", *("   <- asked" if point["asked"] else "" for point in rows)]
    lines = ["   ".join(map(str.rjust, row, widths)) + mark for row, mark in zip(table, marks)]
    return [*lines, "To go on: the same command with budget.dry_run=false; all scores are used again."]


def _points(gain: float | None) -> str:
    return "–" if gain is None else f"{points(gain)} points"


def _stage_lines(stages: list[Mapping[str, Any]]) -> list[str]:
    """Lists a header and a line for each stage, in aligned columns, and then the stages whose batches failed."""
    table = [("stage", "rows", "wall time", "rows/s")] + [
        (plain(s["name"])[:30], count(s["rows_this_start"]), duration(s["wall_s"] or None), rate(s["rows_per_s"]))
        for s in stages
    ]
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = ["   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table]
    return lines + [
        f"{plain(s['name'])}: a batch failed and was halved {count(halved, 'time')}, which is slow; see report.html"
        for s in stages
        if (halved := s.get("halved_batches", 0))
    ]
