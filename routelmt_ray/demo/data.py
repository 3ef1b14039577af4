"""Reads the data files of the demo: their lines, their sections, and words with their forms."""

from collections.abc import Iterator
from functools import cache
from importlib import resources


def lines(name: str) -> list[str]:
    """Reads the lines of a data file that are neither empty nor comments."""
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("# ")]


def sections(name: str) -> Iterator[tuple[str, list[str]]]:
    """Reads the sections of a data file: the words between brackets, and the lines below them."""
    head, members = "", list[str]()
    for line in lines(name):
        if line.startswith("["):
            if members:
                yield head, members
            head, members = line.strip("[]"), []
        else:
            members.append(line)
    yield head, members


@cache
def forms(name: str) -> dict[str, dict[str, str]]:
    """Reads the words of a data file with their forms, by section. Entries are separated by semicolons and line ends; the
    forms of a word follow it."""
    found: dict[str, dict[str, str]] = {}
    for head, members in sections(name):
        entries = (entry.strip().partition(" ") for line in members for entry in line.split(";"))
        found[head] = {word: rest for word, _, rest in entries}
    return found
