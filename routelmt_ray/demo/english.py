"""Renders a meaning as an English sentence."""

from __future__ import annotations

from dataclasses import replace

from routelmt_ray.demo.meaning import InventedClause, InventedSentence, NounPhrase, Place, Time

NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_OBJECT = {"I": "me", "we": "us", "he": "him", "she": "her", "they": "them", "you": "you"}
_PLURAL_DET = {"this": "these"}
_MODAL = {"future": "will", "can": "can", "must": "must", "should": "should"}
_AN_EXCEPTIONS = ("uni", "use", "euro", "ewe", "one")
_CAPITALISED = (
    "the a an this these my your his her our their every i we he she they you when if because before "
    "after although please did do does will can must should where who was were is are am yesterday today "
    "tomorrow last next every in on at for"
)
CAPITALISED = _CAPITALISED.split()
"""Lower-case forms of the function words that can open a sentence (numbers and names can too)."""
_FUNCTION_WORDS = (
    "the a an this these my your his her our their every I we he she they you me us him them of who that "
    "did do does not will can must should want wants wanted to be is are am was were cost costs very too "
    "in at near behind outside from through on for ago last next yesterday today tomorrow and but so "
    "because when if before after although please where"
)
FUNCTION_WORDS = _FUNCTION_WORDS.split()
"""Words that the renderer uses besides those of the lexicon."""


def render(sentence: InventedSentence) -> str:
    """Builds the English sentence, with a capital letter and a final mark."""
    main = sentence.main
    if sentence.kind == "please":
        verb = main.verb.word if main.verb else "be"
        words = ["please", *(["do", "not"] if main.negated else []), verb, *_rest(main)]
    elif sentence.kind == "tell":
        words = _statement(replace(main, time=None) if sentence.time_first else main)
        if sentence.time_first and main.time is not None:
            words = [*_comma(_time(main.time)), *words]
    elif sentence.kind == "who":
        words = _statement(replace(main, subject=NounPhrase(pronoun="who")))
    elif sentence.kind == "where":
        words = ["where", *_question(replace(main, place=None))]
    else:
        words = _question(main)
    for conjunction, clause in sentence.joined:
        words = [*_comma(words), conjunction, *_statement(clause)]
    if sentence.subordinate is not None:
        conjunction, clause = sentence.subordinate
        if sentence.subordinate_first:
            words = [*_comma([conjunction, *_statement(clause)]), *words]
        else:
            words = [*words, conjunction, *_statement(clause)]
    for i, word in enumerate(words[:-1]):
        if word == "a" and _takes_an(words[i + 1]):
            words[i] = "an"
    text = " ".join(words)
    return text[0].upper() + text[1:] + ("?" if sentence.kind in ("ask", "where", "who") else ".")


def _takes_an(word: str) -> bool:
    return word.startswith("hon") or (word[0] in "aeiou" and not word.startswith(_AN_EXCEPTIONS))


def _comma(words: list[str]) -> list[str]:
    return [*words[:-1], words[-1] + ","]


def _number(count: int) -> str:
    return NUMBERS[count - 2] if 2 <= count <= 12 else str(count)


def _is_plural(phrase: NounPhrase) -> bool:
    return phrase.plural or phrase.pronoun in ("we", "they", "you")


def _noun_phrase(phrase: NounPhrase, as_object: bool = False) -> list[str]:
    if phrase.price:
        assert phrase.noun is not None
        return [phrase.price, phrase.noun.other]
    if phrase.noun is None:
        return [_OBJECT[phrase.pronoun] if as_object else phrase.pronoun]
    words: list[str] = []
    if phrase.owner is not None:
        words += _noun_phrase(phrase.owner)
        words[-1] += "'s"
    elif phrase.count:
        words.append(_number(phrase.count))
    elif phrase.det:
        words.append(_PLURAL_DET.get(phrase.det, phrase.det) if phrase.plural else phrase.det)
    if phrase.measure is not None:
        words += [phrase.measure.other, "of"]
    words += [adjective.word for adjective in phrase.adjectives]
    words.append(phrase.noun.other if phrase.plural else phrase.noun.word)
    if phrase.relative is not None:
        gap_is_person = phrase.noun.category == "person"
        words += ["who" if gap_is_person else "that", *_statement(phrase.relative)]
    return words


def _be(clause: InventedClause) -> str:
    if clause.mood == "past":
        return "were" if _is_plural(clause.subject) else "was"
    if clause.subject.pronoun == "I":
        return "am"
    return "are" if _is_plural(clause.subject) else "is"


def _do(clause: InventedClause) -> str:
    if clause.mood == "past":
        return "did"
    return "do" if _is_plural(clause.subject) or clause.subject.pronoun == "I" else "does"


def _predicate(clause: InventedClause) -> list[str]:
    """Builds the verb group of a statement."""
    base = clause.verb.word if clause.verb else "cost" if clause.is_cost else "be"
    not_ = ["not"] if clause.negated else []
    adverb = [clause.adverb.word] if clause.adverb else []
    if clause.mood in _MODAL:
        return [_MODAL[clause.mood], *not_, *adverb, base]
    if base == "be":
        return [_be(clause), *not_]
    if clause.mood == "want":
        third = _do(clause) == "does"
        return (
            [_do(clause), "not", "want", "to", base] if clause.negated else ["wants" if third else "want", "to", base]
        )
    if clause.negated:
        return [_do(clause), "not", *adverb, base]
    if clause.mood == "present":
        return [*adverb, "costs" if base == "cost" and _do(clause) == "does" else base]
    return [*adverb, clause.verb.other if clause.verb else "cost"]


def _statement(clause: InventedClause) -> list[str]:
    subject = [] if clause.gap == "subject" else _noun_phrase(clause.subject)
    return [*subject, *_predicate(clause), *_rest(clause)]


def _question(clause: InventedClause) -> list[str]:
    """Builds a question: the auxiliary stands before the subject."""
    subject = _noun_phrase(clause.subject)
    group = _predicate(clause)
    if clause.mood in _MODAL or (clause.verb is None and not clause.is_cost) or group[0] == _do(clause):
        return [group[0], *subject, *group[1:], *_rest(clause)]
    if clause.mood == "want":
        base = ["want", "to", group[-1]]
    else:
        base = [*([clause.adverb.word] if clause.adverb else []), clause.verb.word if clause.verb else "cost"]
    return [_do(clause), *subject, *base, *_rest(clause)]


def _rest(clause: InventedClause) -> list[str]:
    """Builds the part of a clause that follows the verb."""
    words: list[str] = []
    if clause.adjective is not None:
        words += [*([clause.degree] if clause.degree else []), clause.adjective.word]
    if clause.object is not None and clause.gap != "object":
        words += _noun_phrase(clause.object, as_object=True)
    if clause.recipient is not None:
        words += ["to", *_noun_phrase(clause.recipient, as_object=True)]
    if clause.place is not None:
        words += _place(clause.place)
    if clause.time is not None:
        words += _time(clause.time)
    if clause.said is not None:
        words += ["that", *_statement(clause.said)]
    return words


def _place(place: Place) -> list[str]:
    return [place.preposition, *_noun_phrase(place.phrase)]


def _time(time: Time) -> list[str]:
    if time.word is None:
        return ["at", time.clock] if time.kind == "clock" else [time.kind]
    if time.kind in ("last", "next", "every"):
        return [time.kind, time.word.word]
    if time.kind == "ago":
        return [_number(time.count), time.word.other, "ago"]
    if time.kind in ("in", "for"):
        return [time.kind, _number(time.count), time.word.other]
    if time.kind == "weekday":
        return ["on", time.word.word]
    if time.kind == "month":
        return ["in", time.word.word]
    return ["on", str(time.count), time.word.word, *([str(time.year)] if time.year else [])]
