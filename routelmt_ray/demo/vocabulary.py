"""Reads the nouns and adjectives of the English-Spanish-German demo."""

import bisect
import random
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from routelmt_ray.demo import english_forms, spanish_forms
from routelmt_ray.demo.data import lines, sections
from routelmt_ray.demo.thought import Adjective, Noun

ZIPF_OFFSET = 2.0
"""Mandelbrot's offset: the probability of the word of rank r is proportional to 1 / (r + offset)."""
_GENDERS = {"der": "m", "die": "f", "das": "n", "el": "m", "la": "f", "los": "m", "las": "f"}
T = TypeVar("T")


class Pool(Generic[T]):
    """A list to draw from, with Zipfian probabilities by rank.

    Args:
        members: Most frequent first; must not be empty.
    """

    def __init__(self, members: list[T]) -> None:
        if not members:
            raise ValueError("members: at least one is needed, got none")
        self.members = members
        total = 0.0
        self._cumulative: list[float] = []
        for rank in range(1, len(members) + 1):
            total += 1.0 / (rank + ZIPF_OFFSET)
            self._cumulative.append(total)

    def pick(self, rng: random.Random) -> T:
        """Draws one member; those earlier in the list are more likely."""
        return self.members[bisect.bisect(self._cumulative, rng.random() * self._cumulative[-1])]


@dataclass(frozen=True)
class Vocabulary:
    """All nouns by class, and the adjectives that fit each class."""

    nouns: dict[str, Pool[Noun]]
    adjectives: dict[str, Pool[Adjective]]
    """Adjectives beside a noun."""
    predicates: dict[str, Pool[Adjective]]
    """Adjectives that can be said of a noun."""

    def noun(self, kind: str, rng: random.Random) -> Noun:
        """Draws a noun of a class."""
        return self.nouns[kind].pick(rng)


def german_plural(word: str, suffix: str) -> str:
    """Builds the plural from its notation: `-n` adds letters, `=` repeats, else it is the plural."""
    if suffix == "=":
        return word
    return word + suffix[1:] if suffix.startswith("-") else suffix


def _noun(line: str, kind: str, flags: list[str]) -> Noun:
    line, _, pair = line.partition("~")
    line, _, place = line.partition("@")
    at, de_at, de_to = place.split() if place else ("", "", "")
    en, es, de = (part.strip() for part in line.split(" = "))
    en, _, en_plural = en.partition("/")
    mass, name = "mass" in flags, "name" in flags
    pair, human = pair.replace("~", " "), "human" in flags or (name and not place)
    en_many = en_plural or (en if "en" in pair else english_forms.plural(en))
    if name or de == "Hause":
        female = kind == "name.f" or " señora" in es
        gender = "f" if female else "m"
        return Noun(
            kind, en, en, es, es, gender, de, de, gender,
            at=at, de_at=de_at, de_to=de_to, mass=mass, pair=pair, human=human,
        )  # fmt: skip
    el = es.endswith(" f")
    article, _, es = es.removesuffix(" f").partition(" ")
    es, _, es_plural = es.partition("/")
    de_article, _, de = de.partition(" ")
    de, _, de_plural = de.partition("/")
    weak = de_plural.endswith("*")
    return Noun(
        kind, en, en_many, es,
        es if es_plural == "=" else es_plural or spanish_forms.plural(es),
        "f" if el else _GENDERS[article],
        de, german_plural(de, de_plural.rstrip("*")), _GENDERS[de_article],
        el=el, weak=weak, at=at, de_at=de_at, de_to=de_to, mass=mass, pair=pair, human=human,
    )  # fmt: skip


def _adjective(line: str, kinds: frozenset[str]) -> Adjective:
    line, _, flags = line.partition(";")
    en, es, de = (part.strip() for part in line.split(" = "))
    en, _, more_en = en.partition("/")
    de, _, more_de = de.partition("/")
    marks = flags.split()
    return Adjective(
        en, es, de, kinds, "e" in marks, "b" in marks, more_en, more_de, "p" not in marks, "a" not in marks
    )


@cache
def load_vocabulary() -> Vocabulary:
    """Reads the word lists; the same result in every process."""
    nouns: dict[str, list[Noun]] = {}
    for head, members in sections("words.txt"):
        kind, *flags = head.split()
        nouns.setdefault(kind, []).extend(_noun(line, kind, flags) for line in members)
    subsets: dict[str, list[Noun]] = {}
    for line in lines("subsets.txt"):
        name, _, rest = line.partition(" = ")
        base, _, chosen = rest.partition(": ")
        by_word = {noun.en: noun for noun in nouns[base]}
        if name not in nouns:
            subsets[name] = [by_word[word] for word in chosen.split(", ")]
    adjectives: dict[str, list[Adjective]] = {}
    for head, members in sections("adjectives.txt"):
        kinds = head.split()
        for line in members:
            if not line.endswith(" x"):
                for name in kinds:
                    adjectives.setdefault(name, []).append(_adjective(line, frozenset(kinds)))
    return Vocabulary(
        {name: Pool(found) for name, found in {**nouns, **subsets}.items()},
        {name: Pool(a) for name, found in adjectives.items() if (a := [x for x in found if x.attribute])},
        {name: Pool(a) for name, found in adjectives.items() if (a := [x for x in found if x.predicate])},
    )
