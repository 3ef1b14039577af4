"""The end of a translate run on the terminal."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from routelmt_ray.evaluation.formats import count, duration, number, percent, plain, rate

_MOST_STATUSES = 6
_COLUMNS, _INDENT = 80, 13


def print_summary(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what a translate run did, in about twenty lines of at most 80 columns (paths may be longer).

    Without a terminal it is plain text. Words of the corpus and the config are shown without control characters.

    Args:
        report: the contents of ``report.json``.
        console: where to print; stdout by default.
    """
    console = console or Console()

    def show(label: str, words: str = "", style: str = "cyan") -> None:
        line = Text(_printable(label, console), style=style).append(_printable(words, console), style="default")
        console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    show(headline(report), style="bold")
    for label, words in _facts(report):
        lines = textwrap.wrap(words, min(console.width, _COLUMNS) - _INDENT)
        for i, line in enumerate(lines):
            show(("" if i else label).ljust(_INDENT), line)
    for i, line in enumerate(_stage_lines(report["stages"]) if report["stages"] else []):
        show(line, style="default" if i else "cyan")
    run_dir = Path(plain(report["run_dir"]))
    show("output".ljust(_INDENT), f"{run_dir / 'output'}/")
    show("report".ljust(_INDENT), str(run_dir / "report.html"))


def headline(report: Mapping[str, Any]) -> str:
    """What the run did, in one sentence."""
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
    """Rows routed out of the rows the budget allows."""
    words = f"{count(budget['routed'])} of {count(budget['k'])} allowed"
    return words if budget["k"] else f"{words}: the budget routes no row"


def _printable(text: str, console: Console) -> str:
    """What the console's encoding can hold; a finished run must not fail while it says so."""
    ascii_words = text if console.encoding.startswith("utf") else text.replace("–", "-").replace("−", "-")
    return ascii_words.encode(console.encoding, "replace").decode(console.encoding)


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    budget, used, corpus = report["budget"], report["models_used"], report["input"]
    facts = [("rows", f"{count(budget['n_rows'])} in {count(corpus['files'], 'file')}")]
    if corpus["damaged_files"]:
        facts.append(("damaged", f"{count(len(corpus['damaged_files']), 'input file')} could not be read to the end"))
    routed = f"{spent(budget)} ({plain(budget['asked'])})"
    if budget["threshold"] is not None:
        routed += f", threshold {number(budget['threshold'])} ({plain(report['router']['unit'])})"
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
    if report["quality"]:
        models = report["quality"]["by_model"].items()
        means = [f"{plain(name)} {m['mean']:.3f} ({count(m['rows'])})" for name, m in models if m["rows"]]
        facts.append((plain(report["quality"]["metric"]), ", ".join(means) or "no row has a reference"))
    return facts


def _stage_lines(stages: list[Mapping[str, Any]]) -> list[str]:
    """A header and a line for each stage, columns aligned."""
    table = [("stage", "rows", "wall time", "rows/s")] + [
        (plain(s["name"])[:30], count(s["rows_this_start"]), duration(s["wall_s"] or None), rate(s["rows_per_s"]))
        for s in stages
    ]
    widths = [max(map(len, column)) for column in zip(*table)]
    return ["   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table]
