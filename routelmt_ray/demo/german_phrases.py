"""German noun phrases and places."""

from dataclasses import replace

from routelmt_ray.demo import german_forms as forms
from routelmt_ray.demo.thought import Phrase

DEFINITE = ("the", "my", "this", "every", "all", "name")
"""Determiners of certain things."""
_LIKE_DIESER = {"this": "dies", "every": "jed", "all": "all"}
_KNOWN = ("the", "my", "this", "name")
"""Determiners of what the hearer knows."""


def gender(p: Phrase) -> str:
    """Finds the gender of a phrase: `m`, `f`, `n`, or `p` in the plural."""
    single = (
        p.noun is not None and p.noun.pair and p.also is None and not p.plural
    )  # *the trousers … they* is *die Hose*
    if (p.noun is not None and "de" in p.noun.pair) or (p.many and not single):
        return "p"
    if p.pronoun in ("he", "she"):
        return {"he": "m", "she": "f"}[p.pronoun]
    return p.noun.de_gender if p.noun is not None else "n"


def phrase(p: Phrase, case: str, negated: bool = False) -> list[str]:
    """Builds a noun phrase or pronoun in a case. With `negated`, an indefinite phrase gets *kein*."""
    if p.pronoun:
        name = p.pronoun
        if name == "it":
            name = {"m": "he", "f": "she", "n": "it", "p": "they"}[gender(p)]
        return [forms.PRONOUNS[name][forms.CASES[case]]]
    noun = p.noun
    assert noun is not None
    g = gender(replace(p, also=None))
    words, declension = _determiner(p, g, case, negated)
    if p.measure is not None:
        m = p.measure
        mg = m.de_gender if p.count == 1 else "p"
        amount = [forms.number(p.count)] if p.count > 1 else [forms.like_ein("ein", mg, case)]
        container = m.de_plural if p.count > 1 else m.de
        words, declension, case = [*amount, container], "strong", "n" if g == "p" else "a"
    words += [forms.adjective(a.de, declension, g, case) for a in p.adjectives]
    base = noun.de_plural if g == "p" or (noun.weak and case != "n") else noun.de
    if case != "n" and base.startswith("Herr "):
        base = "Herrn " + base[5:]
    words.append(
        base if p.det == "name" else forms.noun(base, "p" if noun.weak and g == "m" and case != "n" else g, case)
    )
    if p.owner is not None and p.owner.det != "name":
        words += phrase(p.owner, "g")
    if p.also is not None:
        words += ["und", *phrase(p.also, case)]
    return words


def _determiner(p: Phrase, g: str, case: str, negated: bool) -> tuple[list[str], str]:
    """Builds the article and says which endings the adjectives get."""
    det = p.det
    if p.owner is not None and p.owner.det == "name":
        assert p.owner.noun is not None
        name = p.owner.noun.de
        return [name + ("'" if name.endswith(("s", "x", "z")) else "s")], "strong"
    if p.owner is not None or det == "the":
        return [forms.definite(g, case)], "weak"
    if det in _LIKE_DIESER:
        return [forms.like_dieser(_LIKE_DIESER[det], g, case)], "weak"
    if det == "my":
        return [forms.like_ein(forms.POSSESSIVES[p.of], g, case)], "mixed"
    if negated and det in ("a", "any", "bare", "some"):
        return [forms.like_ein("kein", g, case)], "mixed"
    if det == "a":
        return [forms.like_ein("ein", g, case)], "mixed"
    if det == "count" and p.measure is None:
        return [str(p.count) if p.digits else forms.number(p.count)], "strong"
    if det == "some" and g == "p":
        return ["ein", "paar"], "strong"
    if det == "some":
        return ["etwas"], "strong"
    if det == "many":
        return [forms.adjective("viel", "strong", g, case)], "strong"
    return [], "strong"


def is_known_person(p: Phrase) -> bool:
    """Tells whether the phrase is a certain person, who comes before the time."""
    return not p.is_pronoun and p.noun is not None and p.noun.human and (p.det in _KNOWN or p.owner is not None)


def place(p: Phrase, role: str) -> list[str]:
    """Builds `in der Küche` (role `l`) or `in die Küche` (role `g`)."""
    noun = p.noun
    assert noun is not None
    if role == "l":
        return [noun.de_at, *phrase(p, "d")]
    return [noun.de_to, *phrase(p, "d" if noun.de_to in ("zu", "nach") else "a")]
