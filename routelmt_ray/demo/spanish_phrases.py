"""Spanish noun phrases and places."""

from collections.abc import Callable
from dataclasses import replace

from routelmt_ray.demo.spanish_forms import agree, number, shortened
from routelmt_ray.demo.thought import Clause, Phrase

_AFTER_WORD = {"I": "mí", "we": "nosotros", "you": "usted", "he": "él", "she": "ella"}


def gender(p: Phrase) -> str:
    """Finds the grammatical gender of what a phrase means."""
    if p.also is not None:
        return "f" if gender(replace(p, also=None)) == gender(p.also) == "f" else "m"
    if p.pronoun == "she":
        return "f"
    if p.pronoun and p.pronoun not in ("they", "it"):
        return "m"
    return p.noun.es_gender if p.noun is not None else "m"


def is_plural(p: Phrase | None) -> bool:
    """Tells whether the phrase takes the plural."""
    if p is None:
        return False
    if p.noun is not None and p.noun.pair and p.also is None and not p.plural:
        return "es" in p.noun.pair  # *the trousers … they* is *el pantalón … es*
    return p.many


def phrase(p: Phrase, clause: Callable[[Clause], list[str]] | None = None) -> list[str]:
    """Builds a noun phrase, or a pronoun after a preposition. `clause` builds a relative clause."""
    if p.pronoun:
        if p.pronoun in _AFTER_WORD:
            return [_AFTER_WORD[p.pronoun]]
        return [{"m": "ellos", "f": "ellas"}[gender(p)] if is_plural(p) else {"m": "él", "f": "ella"}[gender(p)]]
    noun = p.noun
    assert noun is not None
    several, g = is_plural(replace(p, also=None)), noun.es_gender
    head = noun.es_plural if several else noun.es
    before = [a for a in p.adjectives if a.before]
    with_el = noun.el and not several and not before
    words: list[str] = []
    if p.measure is not None:
        m = p.measure
        words += [number(p.count, m.es_gender, True), m.es_plural if p.count > 1 else m.es, "de"]
    elif p.det in ("the", "all") or (p.owner is not None and p.det != "a"):
        article = ("los" if g == "m" else "las") if several else ("el" if g == "m" or with_el else "la")
        words += [agree("todo", g, several), article] if p.det == "all" else [article]
    elif p.det == "count":
        words.append(str(p.count) if p.digits else number(p.count, g, True))
    elif p.det == "a":
        words.append("un" if g == "m" or with_el else "una")
    elif p.det == "some" and several:
        words.append("unos" if g == "m" else "unas")
    elif p.det == "this":
        words.append({"m": ("este", "estos"), "f": ("esta", "estas")}[g][several])
    elif p.det == "my":
        stem = {"I": "mi", "we": agree("nuestro", g, False)}.get(p.of, "su")
        words.append(stem + ("s" if several else ""))
    elif p.det == "every":
        words.append("cada")
    elif p.det == "many":
        words.append(agree("mucho", g, True))
    words += [shortened(a.es, g, several) for a in before]
    words += head.split()
    words += [agree(a.es, g, several) for a in p.adjectives if not a.before]
    if p.owner is not None:
        words += ["de", *phrase(p.owner)]
    if p.also is not None:
        words += ["y", *phrase(p.also)]
    if p.relative is not None and clause is not None:
        words += ["que", *clause(p.relative)]
    return words


def place(p: Phrase, role: str) -> list[str]:
    """Builds `en la cocina` (role `l`) or `a la cocina` (role `g`)."""
    assert p.noun is not None
    return [p.noun.es_at if role == "l" else "a", *phrase(p)]
