"""Words that join clauses, in the three languages, and the form of the clause that follows them."""

from collections.abc import Sequence
from typing import NamedTuple

from routelmt_ray.demo.data import lines


class Joint(NamedTuple):
    """The words that join a second clause to the first, in one language."""

    words: tuple[str, ...]
    form: str
    """Form of the second clause, as `connectors.txt` names it; empty for a whole clause."""
    comma: bool
    """True where a comma stands before it."""


class Connector(NamedTuple):
    """A way to join a second clause to the first."""

    en: Joint
    es: Joint
    de: Joint


def with_comma(words: Sequence[str]) -> list[str]:
    """Puts a comma behind the last word."""
    return [*words[:-1], words[-1] + ","]


def join(words: list[str], joint: Joint, follows: list[str], leads: bool) -> list[str]:
    """Joins a clause to the words so far: it leads them, or follows, perhaps after a comma."""
    linked = [*joint.words, *follows]
    if leads:
        return [*with_comma(linked), *words]
    return [*(with_comma(words) if joint.comma else words), *linked]


def _joint(text: str) -> Joint:
    words, _, form = text.partition("+")
    return Joint(tuple(words.strip(" ,").split()), form.strip(), text.strip().startswith(","))


CONNECTORS = {
    name.strip(): Connector(*map(_joint, joints))
    for name, *joints in (line.split("|") for line in lines("connectors.txt"))
}
