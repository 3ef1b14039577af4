"""Spanish conjugation of four persons: yo, él (and usted), nosotros, ellos."""

from functools import cache

from routelmt_ray.demo.data import forms
from routelmt_ray.demo.spanish_forms import plain

_FORMS = forms("spanish_verbs.txt")
_IE, _UE, _I = _FORMS["ie"], _FORMS["ue"], _FORMS["i"]


@cache
def conjugate(verb: str, tense: str) -> tuple[str, str, str, str]:
    """Forms the four persons of a tense from an infinitive without -se. Tenses are `present`, `preterite`, `imperfect`,
    `future`, `subjunctive` and `past_subjunctive`."""
    persons = {
        "present": _present,
        "preterite": _preterite,
        "imperfect": _imperfect,
        "future": _future,
        "subjunctive": _subjunctive,
        "past_subjunctive": _past_subjunctive,
    }[tense](verb)
    return persons[0], persons[1], persons[2], persons[3]


def _changed(verb: str, stem: str) -> str:
    """Changes the last vowel of a stressed stem."""
    if verb in _FORMS["accent"]:
        return stem[:-1] + "í"
    for verbs, old, new in ((_IE, "e", "ie"), (_UE, "o", "ue"), (_I, "e", "i")):
        if verb in verbs:
            at = stem.rfind("u" if verb == "jugar" else old)
            return stem[:at] + new + stem[at + 1 :]
    if verb.endswith("uir") and not verb.endswith("guir"):
        return stem + "y"
    return stem


def _weak(verb: str, stem: str) -> str:
    """Changes the last vowel of an -ir verb before a stressed ending with i or a: pidió, durmamos."""
    if verb.endswith("ir") and verb in _IE | _I:
        at = stem.rfind("e")
        return stem[:at] + "i" + stem[at + 1 :]
    if verb.endswith("ir") and verb in _UE:
        at = stem.rfind("o")
        return stem[:at] + "u" + stem[at + 1 :]
    return stem


def _spelled(verb: str, stem: str, ending: str) -> str:
    """Joins stem and ending so that the consonant keeps its sound."""
    front = ending[0] in "eéií"
    if verb.endswith("ar") and front:
        for old, new in (("c", "qu"), ("g", "gu"), ("z", "c")):
            if stem.endswith(old):
                return stem[: -len(old)] + new + ending
    if not verb.endswith("ar") and not front:
        if stem.endswith("gu"):
            return stem[:-1] + ending
        if stem.endswith("g"):
            return stem[:-1] + "j" + ending
        if stem.endswith("c"):
            return stem[:-1] + ("zc" if stem[-2] in "aeiou" and verb != "hacer" else "z") + ending
    return stem + ending


def _present(verb: str) -> list[str]:
    if verb in _FORMS["present"]:
        return _FORMS["present"][verb].split()
    stem, kind = verb[:-2], plain(verb)[-2]
    third, plural, they = {"a": ("a", "amos", "an"), "e": ("e", "emos", "en"), "i": ("e", "imos", "en")}[kind]
    strong = _changed(verb, stem)
    first = _FORMS["first"].get(verb) or _spelled(verb, strong, "o")
    return [first, _spelled(verb, strong, third), stem + plural, _spelled(verb, strong, they)]


def _preterite(verb: str) -> list[str]:
    if verb in _FORMS["preterite"]:
        return _FORMS["preterite"][verb].split()
    if verb in _FORMS["strong"]:
        stem = _FORMS["strong"][verb]
        return [stem + "e", stem + "o", stem + "imos", stem + ("eron" if stem.endswith("j") else "ieron")]
    stem = verb[:-2]
    if verb.endswith("ar"):
        return [_spelled(verb, stem, "é"), stem + "ó", stem + "amos", stem + "aron"]
    if stem[-1] in "aeo" or (verb.endswith("uir") and not verb.endswith("guir")):  # leer, caer, oír, construir
        accent = "í" if stem[-1] in "aeo" else "i"
        return [stem + "í", stem + "yó", stem + accent + "mos", stem + "yeron"]
    weak = _weak(verb, stem)
    return [stem + "í", weak + "ió", stem + "imos", weak + "ieron"]


def _imperfect(verb: str) -> list[str]:
    if verb in _FORMS["imperfect"]:
        return _FORMS["imperfect"][verb].split()
    stem = verb[:-2]
    if verb.endswith("ar"):
        return [stem + "aba", stem + "aba", stem + "ábamos", stem + "aban"]
    return [stem + "ía", stem + "ía", stem + "íamos", stem + "ían"]


def _future(verb: str) -> list[str]:
    stem = _FORMS["future"].get(verb, plain(verb) if verb in ("oír", "reír", "freír") else verb)
    return [stem + "é", stem + "á", stem + "emos", stem + "án"]


def _subjunctive(verb: str) -> list[str]:
    if verb in _FORMS["subjunctive"]:
        return _FORMS["subjunctive"][verb].split()
    stem, first = verb[:-2], conjugate(verb, "present")[0]
    if verb.endswith("ar"):
        strong = _changed(verb, stem)
        both = [_spelled(verb, strong, "e")] * 2
        return [*both, _spelled(verb, stem, "emos"), _spelled(verb, strong, "en")]
    base = first[:-1]
    if verb in _FORMS["first"] or not (verb in _IE or verb in _UE or verb in _I):
        we = base + "amos"
    else:
        we = _spelled(verb, _weak(verb, stem), "amos")
    return [base + "a", base + "a", we, base + "an"]


def _past_subjunctive(verb: str) -> list[str]:
    stem = conjugate(verb, "preterite")[3][:-3]
    accented = stem[:-1] + {"a": "á", "e": "é"}[stem[-1]]
    return [stem + "ra", stem + "ra", accented + "ramos", stem + "ran"]


@cache
def participle(verb: str) -> str:
    """Forms the masculine past participle."""
    if verb in _FORMS["participle"]:
        return _FORMS["participle"][verb]
    stem = verb[:-2]
    if verb.endswith("ar"):
        return stem + "ado"
    return stem + ("ído" if stem[-1] in "aeo" else "ido")


@cache
def gerund(verb: str) -> str:
    """Forms the gerund."""
    stem = verb[:-2]
    if verb == "ir":
        return "yendo"
    if verb in ("reír", "freír"):
        return stem[:-1] + "iendo"
    if verb.endswith("ar"):
        return stem + "ando"
    if stem[-1] in "aeo" or (verb.endswith("uir") and not verb.endswith("guir")):
        return stem + "yendo"
    return ("pud" if verb == "poder" else _weak(verb, stem)) + "iendo"
