"""Tables and text on the terminal."""

from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text


def printable(text: str, console: Console) -> str:
    """Replaces characters that the console cannot encode; a finished run must not fail while it prints its summary."""
    ascii_words = text if console.encoding.startswith("utf") else text.replace("–", "-").replace("−", "-")
    return ascii_words.encode(console.encoding, "replace").decode(console.encoding)


def print_facts(facts: str, console: Console, indent: int) -> None:
    """Prints lines of ``label|words``, with the words aligned."""
    for fact in facts.splitlines():
        label, _, words = printable(fact, console).partition("|")
        line = Text(label.ljust(indent), style="cyan").append(words, style="default")
        console.print(line, highlight=False, soft_wrap=True)


def aligned(rows: Iterable[Iterable[str]], first: Callable[[str, int], str] = str.ljust) -> list[str]:
    """Aligns the columns of a table of text: the first to the left, unless told otherwise, the others to the right."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    return ["   ".join([first(row[0], widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table]


def print_table(table: Table, rows: Iterable[Iterable[str]], console: Console, soft_wrap: bool = False) -> None:
    """Adds rows to a table and prints it."""
    for row in rows:
        table.add_row(*(Text(printable(cell, console)) for cell in row))  # brackets in a name are no markup
    console.print(table, soft_wrap=soft_wrap)


def plain_table(*heads: str, left: int = 1) -> Table:
    """Makes a table without lines; after the first `left` columns, columns are aligned to the right."""
    table = Table(*heads, box=None, pad_edge=False, header_style="cyan")
    for column in table.columns[left:]:
        column.justify = "right"
    return table
