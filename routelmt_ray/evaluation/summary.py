"""The end of a translate run on the terminal, and the words and number formats its reports share."""

import math
import textwrap
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

_BIDI = frozenset("\u200e\u200f\u061c" + "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])))
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


def count(value: int, noun: str = "") -> str:
    """A count with thousands separators and, where one is given, its noun: ``12,345 rows``."""
    return f"{value:,}" if not noun else f"{value:,} {noun}{'' if value == 1 else 's'}"


def percent(part: float, whole: float) -> str:
    """A share as ``30.0 %``; what is not quite nothing or not quite all is never rounded to it."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    return ">99.9 %" if 99.9 < share < 100 else f"{share:.1f} %"


def number(value: float | None) -> str:
    """A score, gain or rate with about four significant digits; ``–`` where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}".replace("-", "−")


def rate(value: float | None) -> str:
    """Rows or tokens a second with about three significant digits; ``–`` where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``12.3 s``, ``4 min 12 s``, ``2 h 05 min``, ``3 d 04 h``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour:02d} h"
    return f"{hours} h {minute:02d} min" if hours else f"{minute} min {second:02d} s"


def plain(text: object) -> str:
    """A word of the user as one harmless line: control, surrogate and direction-changing characters become ``�``."""
    return "".join("�" if _unsafe(char) else char for char in " ".join(str(text).splitlines()))


def _unsafe(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs") or char in _BIDI or ord(char) & 0xFFFE == 0xFFFE


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
