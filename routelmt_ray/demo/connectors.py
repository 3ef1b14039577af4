"""Words that join clauses, in the three languages, and the form of the clause that follows them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Connector:
    """A way to join a second clause to the first."""

    en: str
    es: str
    de: str
    form_en: str = "statement"
    """`statement`, `gerund`, `infinitive`, `object` (*wants him to …*) or `same` (the subject is not repeated)."""
    form_es: str = "statement"
    """`statement`, `infinitive` or `same`."""
    form_de: str = "last"
    """Place of the verb: `last`, `second`, `first` (after a word that takes the first place), `zu` or `same`."""
    comma_en: bool = False
    comma_es: bool = False
    comma_de: bool = True


def with_comma(words: Sequence[str]) -> list[str]:
    """Puts a comma behind the last word."""
    return [*words[:-1], words[-1] + ","]


def join(words: list[str], linked: list[str], comma: bool, leads: bool) -> list[str]:
    """Joins a clause that begins with its connector to the words so far; it leads them, or follows, perhaps with a comma."""
    if leads:
        return [*with_comma(linked), *words]
    return [*(with_comma(words) if comma else words), *linked]


CONNECTORS = {
    "because": Connector("because", "porque", "weil"),
    "when": Connector("when", "cuando", "als"),
    "when_future": Connector("when", "cuando", "wenn"),
    "as_soon": Connector("as soon as", "en cuanto", "sobald"),
    "while": Connector("while", "mientras", "während"),
    "if": Connector("if", "si", "wenn"),
    "although": Connector("although", "aunque", "obwohl", comma_en=True, comma_es=True),
    "before": Connector("before", "antes de que", "bevor"),
    "before_same": Connector("before", "antes de", "bevor", "gerund", "infinitive"),
    "after_same": Connector("after", "después de", "nachdem", "gerund", "infinitive"),
    "purpose": Connector("", "para", "um", "infinitive", "infinitive", "zu"),
    "without": Connector("without", "sin", "ohne", "gerund", "infinitive", "zu"),
    "so_that": Connector("so that", "para que", "damit"),
    "so_that_same": Connector("so that", "para", "damit", form_es="infinitive"),
    "until": Connector("until", "hasta que", "bis"),
    "that": Connector("that", "que", "dass"),
    "whether": Connector("whether", "si", "ob"),
    "want_to": Connector("", "que", "dass", "object"),
    "and": Connector("and", "y", "und", form_de="second", comma_en=True, comma_de=False),
    "and_same": Connector("and", "y", "und", "same", "same", "same", comma_de=False),
    "but": Connector("but", "pero", "aber", form_de="second", comma_en=True, comma_es=True),
    "so": Connector("so", "así que", "deshalb", form_de="first", comma_en=True, comma_es=True),
    "where": Connector("where", "dónde", "wo"),
    "why": Connector("why", "por qué", "warum"),
}
