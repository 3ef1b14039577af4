"""Velmari (`qaa`): an invented language in Latin letters; the verb ends the clause, cases are suffixes.

Roots use plain letters and every suffix begins with a marked vowel, so a word can be split into root and suffixes in
only one way. Subordinate and relative clauses stand before the words that they belong to. Sentences begin with a
lower-case letter.
"""

from __future__ import annotations

from routelmt_ray.demo import meaning
from routelmt_ray.demo.meaning import InventedClause, InventedSentence, NounPhrase, Place, Time, translated

NAME = "Velmari"
PLURAL = "är"
CASES = {"subject": "", "object": "ën", "to": "üs", "in": "öth", "from": "ül", "of": "ïk"}
MOODS = {"past": "öta", "present": "", "future": "ëv", "can": "ümpa", "must": "ärka", "should": "ïsha", "want": "ölme"}
PARTICIPLE, IMPERATIVE = "äsh", "öi"
SUFFIXES = (PLURAL, *CASES.values(), *MOODS.values(), PARTICIPLE, IMPERATIVE)
"""All suffixes (some empty); each is one token."""
NUMBERS = ("dü", "trä", "këtro", "pëm", "sïks", "sëpto", "öht", "növe", "dëka", "dëkün", "dëkü")
_PRONOUNS = translated(meaning.PRONOUNS, "mä sä hö hï mër hör")
_DETERMINERS = {"the": "", "a": "ün", "this": "ëti", "every": "ömni"}
_CONJUNCTIONS = translated(meaning.CONJUNCTIONS, "än älo dö kür kän ëf prïn pöst tämen")
_POSTPOSITIONS = {"through": "trö", "near": "prëz", "behind": "tüla", "outside": "väno"}
_DEGREES = {"": "", "very": "sëlo", "too": "tröp"}
_TIMES = translated(meaning.TIMES, "ërni ëdi ëkras väs nästo ömni äbhi pösta dürna")
PARTICLES = ["nï", "kä", "köd", "kït", "prösh", "këth", "ës", "dërk"]
NOT, ASK, WHERE, WHO, PLEASE, THAT, BE, COST = PARTICLES
FUNCTION_WORDS = (
    *NUMBERS,
    *_PRONOUNS.values(),
    *_DETERMINERS.values(),
    *_CONJUNCTIONS.values(),
    *_DEGREES.values(),
    *_POSTPOSITIONS.values(),
    *_TIMES.values(),
    *PARTICLES,
)
"""Words that the renderer uses besides the roots of the lexicon (some are empty)."""


def render(sentence: InventedSentence) -> str:
    """Builds the Velmari sentence with its final mark."""
    kind = sentence.kind
    words = _clause(sentence.main, kind)
    if kind == "please":
        words = [PLEASE, *words]
    for conjunction, clause in sentence.joined:
        words = [*words[:-1], words[-1] + ",", _CONJUNCTIONS[conjunction], *_clause(clause)]
    if sentence.subordinate is not None:
        conjunction, clause = sentence.subordinate
        words = [*_clause(clause), _CONJUNCTIONS[conjunction] + ",", *words]
    if kind == "ask":
        words.append(ASK)
    return " ".join(word for word in words if word) + ("?" if kind in ("ask", "where", "who") else ".")


def _number(count: int) -> str:
    return NUMBERS[count - 2] if 2 <= count <= 12 else str(count)


def _noun_phrase(phrase: NounPhrase, case: str) -> list[str]:
    """Builds a noun phrase: modifiers stand before the noun, and only the noun has suffixes of number and case."""
    suffix = CASES[case]
    if phrase.price:
        assert phrase.noun is not None
        return [phrase.price.replace(".", ","), phrase.noun.velmari + suffix]
    if phrase.noun is None:
        return [_PRONOUNS[phrase.pronoun] + suffix]
    words: list[str] = []
    if phrase.relative is not None:
        words += _clause(phrase.relative)
    if phrase.owner is not None:
        words += _noun_phrase(phrase.owner, "of")
    elif phrase.det in meaning.POSSESSIVES:
        words.append(_PRONOUNS[meaning.POSSESSIVES[phrase.det]] + CASES["of"])
    elif phrase.det:
        words.append(_DETERMINERS[phrase.det])
    if phrase.count:
        words.append(_number(phrase.count))
    if phrase.measure is not None:
        words.append(phrase.measure.velmari)
    words += [adjective.velmari for adjective in phrase.adjectives]
    counted = phrase.count > 1
    words.append(phrase.noun.velmari + (PLURAL if phrase.plural and not counted else "") + suffix)
    return words


def object_case(root: str) -> str:
    """Chooses the case of a verb's object: that of a goal where the root ends in o or m, else that of an object."""
    return "to" if root.endswith(("o", "m")) else "object"


def _clause(clause: InventedClause, kind: str = "tell") -> list[str]:
    """Orders a clause: time, subject, place, recipient, object, content, adverb, negation, verb or adjective."""
    words: list[str] = []
    if clause.time is not None:
        words += _time(clause.time)
    if kind == "who":
        words.append(WHO)
    elif clause.gap != "subject" and kind != "please":
        words += _noun_phrase(clause.subject, "subject")
    if kind == "where":
        words.append(WHERE)
    elif clause.place is not None:
        words += _place(clause.place)
    if clause.recipient is not None:
        words += _noun_phrase(clause.recipient, "to")
    root = clause.verb.velmari if clause.verb else COST if clause.is_cost else BE
    if clause.object is not None and clause.gap != "object":
        words += _noun_phrase(clause.object, object_case(root))
    if clause.said is not None:
        words += [*_clause(clause.said), THAT]
    if clause.adverb is not None:
        words.append(clause.adverb.velmari)
    if clause.negated:
        words.append(NOT)
    if clause.adjective is not None:
        words.append(_DEGREES[clause.degree])
        root = clause.adjective.velmari
    ending = IMPERATIVE if kind == "please" else MOODS[clause.mood]
    words.append(root + ending + (PARTICIPLE if clause.gap else ""))
    return words


def _place(place: Place) -> list[str]:
    case = {"to": "to", "from": "from"}.get(place.preposition, "in")
    return [*_noun_phrase(place.phrase, case), _POSTPOSITIONS.get(place.preposition, "")]


def _time(time: Time) -> list[str]:
    locative = CASES["in"]
    if time.word is None:
        return [time.clock + locative] if time.kind == "clock" else [_TIMES[time.kind]]
    root = time.word.velmari
    if time.kind in ("last", "next", "every"):
        return [_TIMES[time.kind], root]
    if time.kind in ("ago", "in", "for"):
        return [_number(time.count), root, _TIMES[time.kind]]
    if time.kind == "date":
        return [str(time.year) if time.year else "", root + CASES["of"], str(time.count) + locative]
    return [root + locative]
