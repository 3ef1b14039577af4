"""Meanings: what a sentence says, before it has words and an order in any language.

The three renderers (`english`, `velmari`, `tamzhar`) read the same tree; `derive.py` draws trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routelmt_ray.demo.lexicon import Lexeme

PRONOUNS = ("I", "you", "he", "she", "we", "they")
POSSESSIVES = dict(zip(("my", "your", "his", "her", "our", "their"), PRONOUNS))
"""The pronoun of each possessive."""
CONJUNCTIONS = ("and", "but", "so", "because", "when", "if", "before", "after", "although")
TIMES = ("yesterday", "today", "tomorrow", "last", "next", "every", "ago", "in", "for")
"""Kinds of `Time` that have a word in every language."""


def translated(keys: Sequence[str], words: str) -> dict[str, str]:
    """Maps meanings to the words of a language, which are separated by blanks and in the same order."""
    return dict(zip(keys, words.split(), strict=True))


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """Someone or something: a noun with its modifiers, a name, a pronoun or a price."""

    noun: Lexeme | None = None
    """Noun or name; None for pronouns and prices."""
    pronoun: str = ""
    """English subject form, such as `I`, when the phrase is a pronoun."""
    plural: bool = False
    det: str = ""
    """English determiner in the singular (`the`, `a`, `this`, `my` …); empty for names and counted nouns."""
    count: int = 0
    """The number of things; 0 when not counted."""
    measure: Lexeme | None = None
    """`bottle` in *two bottles of wine*: `count` then counts bottles."""
    adjectives: tuple[Lexeme, ...] = ()
    owner: NounPhrase | None = None
    """The owner, as in *Anna's key*; the phrase then has no determiner."""
    relative: InventedClause | None = None
    """A clause about the noun; its `gap` says which part the noun plays in it."""
    price: str = ""
    """Amount with a decimal point, such as `12.50`; `noun` is then the currency."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where, where to or where from."""

    preposition: str
    """English: `in`, `at`, `near`, `behind`, `outside`, `to`, `from` or `through`."""
    phrase: NounPhrase


@dataclass(frozen=True, slots=True)
class Time:
    """When: `kind` names the pattern, the other fields fill it."""

    kind: str
    """`yesterday`, `today`, `tomorrow`, `last`, `next`, `every`, `ago`, `in`, `for`, `weekday`, `month`,
    `date` or `clock`."""
    word: Lexeme | None = None
    count: int = 0
    year: int = 0
    clock: str = ""


@dataclass(frozen=True, slots=True)
class InventedClause:
    """One event or state."""

    subject: NounPhrase
    verb: Lexeme | None = None
    """None for the copula and for prices (`cost`)."""
    mood: str = "past"
    """`past`, `present`, `future`, `can`, `must`, `should` or `want`."""
    negated: bool = False
    object: NounPhrase | None = None
    recipient: NounPhrase | None = None
    adjective: Lexeme | None = None
    """What the copula says of the subject."""
    degree: str = ""
    """`very`, `too` or nothing, before the adjective of a copula."""
    adverb: Lexeme | None = None
    place: Place | None = None
    time: Time | None = None
    said: InventedClause | None = None
    """The clause after a verb of saying."""
    gap: str = ""
    """In a relative clause: `subject` or `object`, the part that the head noun plays."""

    @property
    def is_cost(self) -> bool:
        """Whether the clause states a price."""
        return self.verb is None and self.object is not None


@dataclass(frozen=True, slots=True)
class InventedSentence:
    """One to three clauses and the kind of utterance they make."""

    kind: str
    """`tell`, `ask`, `where` (asks for the place), `who` (asks for the subject) or `please`."""
    main: InventedClause
    joined: tuple[tuple[str, InventedClause], ...] = ()
    """Clauses that follow: (`and`, `but` or `so`, clause)."""
    subordinate: tuple[str, InventedClause] | None = None
    """(`because`, `when`, `if`, `before`, `after` or `although`, clause)."""
    subordinate_first: bool = False
    time_first: bool = False
    """In English, the main clause's time opens the sentence."""
