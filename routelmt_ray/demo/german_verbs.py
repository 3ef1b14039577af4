"""German conjugation of four persons: ich, er, wir, sie (and Sie)."""

from dataclasses import dataclass
from functools import cache

from routelmt_ray.demo.data import forms

_FORMS = forms("german_verbs.txt")
_STRONG, _SEIN = _FORMS["strong"], _FORMS["sein"]
_PREFIXES = ("be", "ver", "er", "ent", "zer", "emp", "ge", "über", "unter", "wieder", "miss")
_NO_PREFIX = frozenset(["geben", "gehen", "bellen", "beten", "ernten", "gelten"])
_APART = frozenset(("spazieren", "einkaufen", "schwimmen", "tanzen"))
"""Infinitives before *gehen*, which stay words of their own."""
_NO_GE = frozenset(("bereiten", "durchsuchen"))
"""Weak verbs whose participle has no ge- though they look as if it had."""


@dataclass(frozen=True)
class Verb:
    """The forms of a verb; `particle` is the separable part."""

    infinitive: str
    particle: str
    present: tuple[str, str, str, str]
    past: tuple[str, str, str, str]
    participle: str
    aux: str
    """`haben` or `sein`."""

    @property
    def whole(self) -> str:
        """The infinitive in one word."""
        return self.joined(self.infinitive)

    @property
    def zu(self) -> str:
        """The infinitive with *zu*."""
        if self.particle in _APART:
            return f"{self.particle} zu {self.infinitive}"
        return f"{self.particle}zu{self.infinitive}" if self.particle else f"zu {self.infinitive}"

    def joined(self, form: str) -> str:
        """Writes the separable part before a form (`spazieren gehen` stays two words)."""
        return self.particle + (" " if self.particle in _APART else "") + form


@cache
def verb(entry: str) -> Verb:
    """Builds the forms of a verb. `entry` is the infinitive, with `|` after a separable part, such as `auf|machen`, and
    `_s` where it has *sein*."""
    with_sein = entry.endswith("_s")
    entry = entry.removesuffix("_s")
    particle, _, base = entry.rpartition("|")
    stem, prefix = "" if entry == "auf|hängen" else base, ""  # *hängen* is weak where one hangs something up
    if stem not in _STRONG and base not in _NO_PREFIX | _NO_GE:
        for candidate in _PREFIXES:
            if base.startswith(candidate) and base[len(candidate) :] in _STRONG:
                stem, prefix = base[len(candidate) :], candidate
    if stem in _STRONG:
        third, past, participle, *with_s = _STRONG[stem].split()
        aux = "sein" if with_s and not prefix else "haben"
        if prefix:
            third, past = prefix + third, prefix + past
            participle = prefix + participle.removeprefix("ge") if participle.startswith("ge") else prefix + participle
        root = base[:-2] if base.endswith("en") else base[:-1]
        ich = _FORMS["ich"].get(base, root + "e")
        plural = "sind" if base == "sein" else base
        plural_past = past + ("n" if past.endswith("e") else "en")
        present, preterite = (ich, third, plural, plural), (past, past, plural_past, plural_past)
    else:
        aux = "haben"
        root = base[:-2] if base.endswith("en") else base[:-1]
        soft = root.endswith(("t", "d", "chn", "ffn", "gn", "dn", "tm"))
        link = "e" if soft else ""
        ich = root[:-2] + "le" if base.endswith("eln") else root + "e"
        present = (ich, root + link + "t", base, base)
        past = root + link + "te"
        preterite = (past, past, past + "n", past + "n")
        prefixed = base.startswith(_PREFIXES) and base not in _NO_PREFIX and not particle
        bare = base.endswith("ieren") or base in _NO_GE or prefixed
        participle = ("" if bare else "ge") + root + link + "t"
    if with_sein or entry in _SEIN or (base in _SEIN and not particle):
        aux = "sein"
    gap = " " if particle in _APART else ""
    return Verb(base, particle, present, preterite, particle + gap + participle, aux)
