"""The meaning of a sentence, before it has words in English, Spanish or German.

The renderers of the three languages read the same tree; `compose.py` draws trees.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun with its forms and genders."""

    kind: str
    """Selectional class, such as `fruit`."""
    en: str
    en_plural: str
    es: str
    es_plural: str
    es_gender: str
    de: str
    de_plural: str
    de_gender: str
    mass: bool = False
    """No plural and no *a*."""
    pair: str = ""
    """Languages in which the noun is always plural, such as `en es` of *scissors*."""
    el: bool = False
    """Spanish feminine noun with the article *el*."""
    weak: bool = False
    """German noun with -n in all cases but the nominative."""
    human: bool = False
    at: str = ""
    """English preposition of place."""
    de_at: str = ""
    de_to: str = ""
    es_at: str = "en"


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective and the nouns that it fits."""

    en: str
    es: str
    de: str
    kinds: frozenset[str]
    estar: bool = False
    before: bool = False
    """True where it comes before the Spanish noun."""
    more_en: str = ""
    """Comparative."""
    more_de: str = ""
    attribute: bool = True
    predicate: bool = True


@dataclass(frozen=True, slots=True)
class Phrase:
    """A person or a thing."""

    noun: Noun | None = None
    det: str = "the"
    """`the`, `a`, `some`, `any`, `bare`, `this`, `my` (see `of`), `count`, `every`, `many`, `all`, `name`, `pronoun`."""
    plural: bool = False
    of: str = ""
    """Pronoun (`I`, `she` …) of the possessor."""
    owner: Phrase | None = None
    count: int = 0
    digits: bool = False
    adjectives: tuple[Adjective, ...] = ()
    relative: Clause | None = None
    pronoun: str = ""
    """`I`, `we`, `you`, `he`, `she`, `it` or `they`."""
    silent: bool = False
    """Spanish leaves the pronoun out."""
    stressed: bool = False
    """Spanish says *yo*, since the verb alone could mean another person."""
    measure: Noun | None = None
    also: Phrase | None = None
    """A second member after *and*."""

    @property
    def is_pronoun(self) -> bool:
        """True for a pronoun; `noun` is then what it refers to."""
        return bool(self.pronoun)

    @property
    def many(self) -> bool:
        """True where the phrase means several."""
        return self.plural or self.pronoun in ("we", "they") or self.also is not None


@dataclass(frozen=True, slots=True)
class Frame:
    """A predicate: a template for each language, with slots such as `{o}`."""

    en: tuple[str, ...]
    es: tuple[str, ...]
    de: tuple[str, ...]
    slots: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Slot letter to the kinds of nouns that fill it."""
    flags: frozenset[str] = frozenset()
    options: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """`L`: kinds of places where it may happen; `M`: manners."""
    domain: str = ""
    subjects: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """An adverbial with its words in each language."""

    en: str
    es: str
    de: str
    near: bool = False
    """A past time that is not over, such as *today*: Spanish has then the perfect."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One event or state."""

    subject: Phrase | None
    """None for the dummy subject of weather."""
    frame: Frame
    tense: str = "pres"
    """`pres`, `prog`, `past`, `used`, `perf`, `pperf`, `pprog`, `fut`, `going`; `can`, `could`, `must`, `had_to`, `must_not`,
    `should`, `want`, `wanted`, `would`. `state` is the past of a state; `subj` and `past_subj` differ from present and past
    in Spanish only; `event` is a past with the German simple past; `meanwhile` lasts while something else does; `hoped` is a
    future that one hopes for, `obliged` a past duty in the background (Spanish imperfect)."""
    slots: dict[str, Phrase] = field(default_factory=dict, hash=False)
    negated: bool = False
    time: Words | None = None
    time_first: bool = False
    often: Words | None = None
    manner: Words | None = None
    companion: Phrase | None = None
    place: Phrase | None = None
    """Place of the event."""
    gap: str = ""
    """Part that is missing: `S`, a slot, `time`, `place`, `why` or `how`."""
    short: bool = False
    """English contractions."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One to three clauses and what kind of utterance they make."""

    kind: str
    """`tell`, `ask`, `please`, or a question word: `who`, `what`, `where`, `when`, `why`."""
    main: Clause
    links: tuple[tuple[str, Clause], ...] = ()
    """Clauses that are joined, with their connectors (see `connectors.py`)."""
    first: bool = False
    """The last linked clause opens the sentence."""
    opening: Words | None = None
    """A sentence adverb such as *fortunately* or *first*."""

    def leads(self, link: int) -> bool:
        """Tells whether a linked clause, by its number, opens the sentence."""
        return self.first and link == len(self.links) - 1
