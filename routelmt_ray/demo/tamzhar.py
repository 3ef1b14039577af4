"""Tamzhar (`qab`): an invented language in Cyrillic letters; the verb opens the clause and nothing is inflected.

Modifiers follow the noun. Before each adjective stands a linking word that agrees with the noun's class, which the last
letter of the noun shows. Tense, number and negation are separate words. Sentences begin with a lower-case letter.
"""

from __future__ import annotations

from routelmt_ray.demo import meaning
from routelmt_ray.demo.meaning import InventedClause, InventedSentence, NounPhrase, Place, Time, translated

NAME = "Tamzhar"
PLURAL, OF, TO_PERSON, THAT_RELATIVE = "ры", "ю", "дю", "якы"
LINKS = {"a": "тя", "vowel": "нэ", "consonant": "ек"}
MOODS = {"past": "бы", "present": "", "future": "эй", "can": "мо", "must": "дя", "should": "ся", "want": "хэ"}
NUMBERS = ("дэ", "трэ", "чэты", "пю", "шэсы", "сэмы", "вэсы", "дэвя", "дэся", "дэсэн", "дэсэд")
_PRONOUNS = translated(meaning.PRONOUNS, "мя ты ло ла мы лы")
_CONJUNCTIONS = translated(meaning.CONJUNCTIONS, "и аля тэ бэк кэда эс прэд пося хоця")
_PREPOSITIONS = translated(
    ("in", "at", "near", "behind", "outside", "to", "from", "through"), "ву у бя зы вня ко от чэ"
)
_DEGREES = {"very": "вэль", "too": "надэ"}
_TIMES = translated(meaning.TIMES, "вчэ днэсь зютра прюш слэд всэ назэд чэрэ прэ")
PARTICLES = ["эл", "этэ", "всэ", "не", "ли", "гдэ", "кты", "прошэ", "жэ", "ёс", "цэн", "на"]
THE, THIS, EVERY, NOT, ASK, WHERE, WHO, PLEASE, THAT, BE, COST, ON = PARTICLES
FUNCTION_WORDS = (
    PLURAL,
    OF,
    TO_PERSON,
    THAT_RELATIVE,
    *LINKS.values(),
    *MOODS.values(),
    *NUMBERS,
    *_PRONOUNS.values(),
    *_CONJUNCTIONS.values(),
    *_PREPOSITIONS.values(),
    *_DEGREES.values(),
    *_TIMES.values(),
    *PARTICLES,
)
"""Words that the renderer uses besides the roots of the lexicon (one is empty)."""


def render(sentence: InventedSentence) -> str:
    """Builds the Tamzhar sentence with its final mark."""
    kind = sentence.kind
    words = [
        {"ask": ASK, "where": WHERE, "who": WHO, "please": PLEASE}.get(kind, ""),
        *_clause(sentence.main, kind),
    ]
    for conjunction, clause in sentence.joined:
        words = [*words[:-1], words[-1] + ",", _CONJUNCTIONS[conjunction], *_clause(clause)]
    if sentence.subordinate is not None:
        conjunction, clause = sentence.subordinate
        words = [*words[:-1], words[-1] + ",", _CONJUNCTIONS[conjunction], *_clause(clause)]
    return " ".join(word for word in words if word) + ("?" if kind in ("ask", "where", "who") else ".")


def _number(count: int) -> str:
    return NUMBERS[count - 2] if 2 <= count <= 12 else str(count)


def link(root: str) -> str:
    """Chooses the linking word that agrees with a noun, by the last letter of its root."""
    if root.endswith("а"):
        return LINKS["a"]
    return LINKS["vowel" if root[-1] in "еиоу" else "consonant"]


def _noun_phrase(phrase: NounPhrase) -> list[str]:
    """Builds a noun phrase: article, plural word, noun, then its modifiers."""
    if phrase.price:
        assert phrase.noun is not None
        return [phrase.noun.tamzhar, phrase.price.replace(".", ",")]
    if phrase.noun is None:
        return [_PRONOUNS[phrase.pronoun]]
    words = [{"the": THE, "every": EVERY}.get(phrase.det, "")]
    if phrase.owner is not None:
        words.append(THE)
    if phrase.plural and not phrase.count:
        words.append(PLURAL)
    root = phrase.noun.tamzhar
    words.append(root)
    for adjective in phrase.adjectives:
        words += [link(root), adjective.tamzhar]
    if phrase.measure is not None:
        words += [OF, phrase.measure.tamzhar]
    if phrase.count:
        words.append(_number(phrase.count))
    if phrase.det == "this":
        words.append(THIS)
    elif phrase.det in meaning.POSSESSIVES:
        words += [OF, _PRONOUNS[meaning.POSSESSIVES[phrase.det]]]
    if phrase.owner is not None:
        words += [OF, *_noun_phrase(phrase.owner)]
    if phrase.relative is not None:
        words += [THAT_RELATIVE, *_clause(phrase.relative)]
    return words


def _clause(clause: InventedClause, kind: str = "tell") -> list[str]:
    """Orders a clause: negation, tense, verb or adjective, subject, object, recipient, adverb, place, time, content."""
    words = [NOT if clause.negated else "", "" if kind == "please" else MOODS[clause.mood]]
    if clause.adjective is not None:
        words += [clause.adjective.tamzhar, _DEGREES.get(clause.degree, "")]
    else:
        words.append(clause.verb.tamzhar if clause.verb else COST if clause.is_cost else BE)
    if clause.gap != "subject" and kind not in ("please", "who"):
        words += _noun_phrase(clause.subject)
    if clause.object is not None and clause.gap != "object":
        words += _noun_phrase(clause.object)
    if clause.recipient is not None:
        words += [TO_PERSON, *_noun_phrase(clause.recipient)]
    if clause.adverb is not None:
        words.append(clause.adverb.tamzhar)
    if clause.place is not None and kind != "where":
        words += _place(clause.place)
    if clause.time is not None:
        words += _time(clause.time)
    if clause.said is not None:
        words += [THAT, *_clause(clause.said)]
    return [word for word in words if word]


def _place(place: Place) -> list[str]:
    return [_PREPOSITIONS[place.preposition], *_noun_phrase(place.phrase)]


def _time(time: Time) -> list[str]:
    if time.word is None:
        return [ON, time.clock] if time.kind == "clock" else [_TIMES[time.kind]]
    root = time.word.tamzhar
    if time.kind in ("last", "next", "every"):
        return [root, _TIMES[time.kind]]
    if time.kind in ("ago", "in", "for"):
        return [_TIMES[time.kind], root, _number(time.count)]
    if time.kind == "date":
        return [ON, root, str(time.count), *([OF, str(time.year)] if time.year else [])]
    return [ON, root]
