"""The words of the demo grammar: English forms from `words.txt`, their translations from seeded syllables.

A lexeme is an English word in one domain. The same word in two domains is two lexemes with two translations, as *bank*
has in most languages. Within a list, the probability of a word falls with its rank (Zipf).
"""

from __future__ import annotations

import bisect
import random
from dataclasses import dataclass
from functools import cache
from importlib import resources

DOMAINS = ("travel", "shopping", "food", "home", "work", "leisure", "nature", "health")
"""Subjects of the corpus, most frequent first; the `domain` column holds one of them."""

ZIPF_OFFSET = 2.0
"""Mandelbrot's offset: the probability of the word of rank r is proportional to 1 / (r + offset)."""

_VOWELS = "aeiou"
_LATIN = {
    "onset": tuple("bdfgklmnprstvzh"),
    "rare": ("br", "dr", "gr", "kl", "tr", "sh", "pl"),
    "coda": tuple("lmnrstk"),
    "vowel": tuple(_VOWELS),
}
_CYRILLIC = {
    "onset": tuple("бвгджзклмнпрстфхцчш"),
    "rare": ("бр", "вл", "гр", "др", "зн", "кр", "пл", "ст", "тр"),
    "coda": tuple("взйклмнрстш"),
    "vowel": tuple("аеиоу"),
}
_CYRILLIC_LETTERS = dict(zip("abcdefghijklmnopqrstuvwyz", "абцдефгхижклмнопкрстуввыз")) | {"j": "дж", "x": "кс"}


@dataclass(frozen=True)
class Lexeme:
    """One word with its translations."""

    category: str
    """`thing`, `place`, `person`, `verb`, `adj`, `adverb`, `name`, `city` or a closed list such as `month`."""
    domain: str
    """A domain, `general`, or for a verb its frame (`motion`, `rest`, `give`, `say`); empty for closed lists."""
    word: str
    """English base form (singular, infinitive)."""
    other: str
    """English second form: plural of a noun, past tense of a verb, else the base form again."""
    velmari: str
    """Root in Velmari (Latin letters)."""
    tamzhar: str
    """Root in Tamzhar (Cyrillic letters)."""


class LexemePool:
    """A list of lexemes to draw from, with Zipfian probabilities by rank.

    Args:
        lexemes: Most frequent first; must not be empty.
    """

    def __init__(self, lexemes: list[Lexeme]) -> None:
        if not lexemes:
            raise ValueError("lexemes: at least one is needed, got none")
        self.lexemes = lexemes
        total = 0.0
        self._cumulative: list[float] = []
        for rank in range(1, len(lexemes) + 1):
            total += 1.0 / (rank + ZIPF_OFFSET)
            self._cumulative.append(total)

    def pick(self, rng: random.Random) -> Lexeme:
        """Draws one lexeme; those earlier in the list are more likely."""
        return self.lexemes[bisect.bisect(self._cumulative, rng.random() * self._cumulative[-1])]


@dataclass(frozen=True)
class Lexicon:
    """All lexemes, and the pools that they are drawn from."""

    lexemes: tuple[Lexeme, ...]
    pools: dict[tuple[str, str], LexemePool]

    def pool(self, category: str, domain: str = "") -> LexemePool:
        """Finds the pool of one section of `words.txt`.

        Raises:
            KeyError: If there is no such section.
        """
        return self.pools[category, domain]


def plural(word: str) -> str:
    """Forms the regular English plural of a noun."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def past(word: str) -> str:
    """Forms the regular English past tense of a verb."""
    if word.endswith("e"):
        return word + "d"
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ied"
    return word + "ed"


def _root(key: str, rank: int, sounds: dict[str, tuple[str, ...]], used: set[str]) -> str:
    """Makes a new root for `key`; frequent words are shorter, as in natural languages."""
    rng = random.Random(key)
    for attempt in range(1000):
        syllables = 1 + (rng.random() < 0.25 + 0.02 * rank + 0.02 * attempt) + (rng.random() < 0.012 * rank)
        parts = []
        for _ in range(max(2, syllables) if rank > 3 else syllables):
            parts.append(rng.choice(sounds["rare" if rng.random() < 0.15 else "onset"]))
            parts.append(rng.choice(sounds["vowel"]))
        if rng.random() < 0.55:
            parts.append(rng.choice(sounds["coda"]))
        root = "".join(parts)
        if len(root) > 2 and root not in used:
            used.add(root)
            return root
    raise RuntimeError(f"no free root for {key!r}")


def transliterate(name: str) -> str:
    """Writes a Latin-letter name in Cyrillic letters."""
    return "".join(_CYRILLIC_LETTERS[letter] for letter in name.lower()).capitalize()


@cache
def load_lexicon() -> Lexicon:
    """Reads `words.txt` and makes the translations; the same result in every process.

    Raises:
        ValueError: If a section is malformed or repeats a word.
    """
    text = resources.files(__package__).joinpath("words.txt").read_text(encoding="utf-8")
    sections: dict[tuple[str, str], list[str]] = {}
    words: list[str] = []
    for line in text.splitlines():
        if line.startswith("["):
            category, _, domain = line.strip("[]").partition(" ")
            words = sections.setdefault((category, domain), [])
        elif not line.startswith("#"):
            words += line.split()
    used_velmari = {entry.split("/")[0].split("=")[0].lower() for entries in sections.values() for entry in entries}
    used_tamzhar: set[str] = set()
    shared: dict[str, tuple[str, str]] = {}
    lexemes: list[Lexeme] = []
    pools: dict[tuple[str, str], LexemePool] = {}
    for (category, domain), entries in sections.items():
        made = []
        for rank, entry in enumerate(entries):
            spelling, _, same_as = entry.partition("=")
            word, _, other = spelling.partition("/")
            regular = {
                "verb": past,
                "thing": plural,
                "place": plural,
                "person": plural,
                "period": plural,
                "currency": plural,
                "measure": plural,
            }.get(category, str)
            if category in ("name", "city"):
                roots = (word, transliterate(word))
            else:
                key = f"{'noun' if category in ('thing', 'place') else category} {domain} {same_as or word}"
                if key not in shared:
                    shared[key] = (
                        _root("velmari " + key, rank, _LATIN, used_velmari),
                        _root("tamzhar " + key, rank, _CYRILLIC, used_tamzhar),
                    )
                roots = shared[key]
            made.append(Lexeme(category, domain, word, other or regular(word), *roots))
        if len({lexeme.word for lexeme in made}) != len(made):
            twice = sorted({x.word for x in made if sum(y.word == x.word for y in made) > 1})
            raise ValueError(f"words.txt [{category} {domain}]: listed twice: {', '.join(twice)}")
        pools[category, domain] = LexemePool(made)
        lexemes += made
    return Lexicon(tuple(lexemes), pools)
