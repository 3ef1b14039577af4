"""The Jinja templates of the reports: HTML pages, text for the terminal, and the sentences that both share."""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from routelmt_ray.evaluation import formats
from routelmt_ray.reports import evaluation_words as measures
from routelmt_ray.reports import run_facts

_SENTENCES = ("sentences.jinja", "evaluation_sentences.jinja")


@cache
def environment() -> Environment:
    """Builds the environment of all templates; only pages (``.html.jinja``) escape what they print."""
    found = Environment(
        autoescape=lambda name: str(name).endswith(".html.jinja"),
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "n": formats.count,
        "number": formats.number,
        "rate": formats.rate,
        "duration": formats.duration,
        "device_time": formats.device_time,
        "amount": formats.amount,
        "asked_amount": formats.asked_amount,
        "points": formats.points,
        "interval": run_facts.interval,
        "percent": formats.percent,
        "share": lambda part, whole: unbroken(formats.percent(part, whole)),
        "unbroken": unbroken,
        "scale": lambda factor: "–" if factor is None else f"×{factor:.2f}",
        "size": _size,
        "moment": _moment,
        "plain": formats.plain,
        "cell": _markdown_cell,
        "versions": lambda versions: ", ".join(f"{name} {version}" for name, version in versions.items()),
        "yaml": lambda tree: yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100).rstrip(),
        "capital": lambda words: words[:1].upper() + words[1:],
        "measure": measures.measure_name,
    }
    found.globals |= {
        "say": say,
        "facts": run_facts,
        "measures": measures,
        "shown": measures.shown,
        "span": measures.interval_words,
        "share_words": measures.share_words,
    }
    return found


def render(template: str, **values: Any) -> str:
    """Renders a template of this folder: for a page, text in the values is escaped."""
    return environment().get_template(template).render(values)


def say(sentence: str, *about: Any) -> str:
    """Says a sentence of ``sentences.jinja`` or ``evaluation_sentences.jinja``, by the name of its macro, on one line.

    The macro takes parts of a report. The text is empty where there is nothing to say.
    """
    modules = (environment().get_template(name).module for name in _SENTENCES)
    macro = next(getattr(module, sentence) for module in modules if hasattr(module, sentence))
    return folded(macro(*about).strip().replace("\n", "\n "))


def folded(text: str) -> str:
    """Joins a line that begins with a blank to the line above; no blank is left in front of a mark such as a comma; a dot before a digit is none."""
    break_ = r"([ \t]*\n[ \t]+)+"
    return re.sub(break_, " ", re.sub(break_ + r"(?=[,;:.)](?!\d))", "", text))


def cleaned(value: Any) -> Any:
    """Makes every text in a report harmless, keys too: one line without control characters."""
    if isinstance(value, Mapping):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(item) for item in value]
    return formats.plain(value) if isinstance(value, str) else value


def unbroken(words: str) -> str:
    """Keeps a percent sign on the line of its number."""
    return words.replace(" %", "\u00a0%")


def _markdown_cell(text: object) -> str:
    return formats.plain(text).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def _moment(iso: str) -> str:
    try:
        return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M %Z}".strip()
    except (TypeError, ValueError):
        return str(iso)


def _size(n_bytes: int) -> str:
    size, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"
