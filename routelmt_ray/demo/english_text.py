"""Says a thought in English."""

from dataclasses import replace

from routelmt_ray.demo.connectors import CONNECTORS, join, with_comma
from routelmt_ray.demo.english_forms import gerund, number, participle, past, third, with_an
from routelmt_ray.demo.thought import Clause, Phrase, Sentence

_OBJECT = {"I": "me", "we": "us", "he": "him", "she": "her", "they": "them", "you": "you", "it": "it"}
_POSSESSIVE = {"I": "my", "we": "our", "he": "his", "she": "her", "they": "their", "you": "your", "it": "its"}
_SELF = {"I": "myself", "we": "ourselves", "he": "himself", "she": "herself", "they": "themselves", "you": "yourself"}
_MODAL = {
    "fut": "will",
    "hoped": "will", "can": "can", "could": "could", "must_not": "must", "should": "should", "would": "would like to",
}  # fmt: skip
_NOT = {"will": "won't", "can": "can't", "must": "mustn't", "am": "am not"}


def say(sentence: Sentence) -> str:
    """Builds the English sentence, with a capital letter and a final mark."""
    main, kind = sentence.main, sentence.kind
    if kind == "please":
        base = ["not", _base(main)] if main.negated else [_base(main)]
        lead = ["do", *base] if main.negated else base
        words = ["please", *lead, *_rest(main)]
        if main.short and main.negated:
            words[1:3] = ["don't"]
    elif kind == "tell":
        words = clause(main)
    elif kind == "who":
        words = ["who", *clause(replace(main, gap="S"))]
    elif kind == "ask":
        words = _question(main)
    else:
        words = [kind, *_question(main)]
    for i, (name, linked) in enumerate(sentence.links):
        joint = CONNECTORS[name].en
        words = join(words, joint, _linked(linked, joint.form), sentence.leads(i))
    if sentence.opening is not None and sentence.opening.en:
        words = [*sentence.opening.en.split(), *words]
    text = " ".join(with_an(words))
    text = text.replace(" 's", "'s")
    return text[0].upper() + text[1:] + ("." if kind in ("tell", "please") else "?")


def _linked(linked: Clause, form: str) -> list[str]:
    first, *rest = _base(linked).split(" ")
    negated = ["not"] if linked.negated else []
    if form == "gerund":
        return [*negated, gerund(first), *rest, *_rest(linked)]
    if form == "infinitive":
        return [*negated, "to", first, *rest, *_rest(linked)]
    if form == "object":
        assert linked.subject is not None
        return [*phrase(linked.subject, True), *negated, "to", first, *rest, *_rest(linked)]
    return clause(replace(linked, gap="S")) if form == "same" else clause(linked)


def _plural_verb(subject: Phrase | None) -> bool:
    if subject is None:
        return False
    return subject.many or subject.pronoun == "you" or (subject.noun is not None and "en" in subject.noun.pair)


def _person(c: Clause) -> int:
    """Counts 0 for *I*, 1 for the third person singular, 2 for plurals and *you*."""
    if c.subject is not None and c.subject.pronoun == "I":
        return 0
    there = c.slots.get("o") if c.frame.subjects == ("there",) else None
    return 2 if _plural_verb(c.subject) or _plural_verb(there) else 1


def phrase(p: Phrase, as_object: bool = False) -> list[str]:
    """Builds a noun phrase or pronoun."""
    if p.pronoun:
        return [_OBJECT[p.pronoun] if as_object else p.pronoun]
    noun = p.noun
    assert noun is not None
    words: list[str] = []
    several = p.plural or "en" in noun.pair
    if p.owner is not None:
        words += phrase(p.owner)
        words[-1] += "'" if words[-1].endswith("s") and p.owner.plural else "'s"
    elif p.det == "count":
        words.append(str(p.count) if p.digits else number(p.count))
    elif p.det == "my":
        words.append(_POSSESSIVE[p.of])
    elif p.det == "this":
        words.append("these" if several else "this")
    elif p.det == "all":
        words += ["all", "the"]
    elif p.det not in ("bare", "name"):
        words.append(p.det)
    if p.measure is not None:
        words += [p.measure.en_plural if p.count > 1 else p.measure.en, "of"]
    words += [a.en for a in p.adjectives]
    words += (noun.en_plural if several else noun.en).split()
    if p.also is not None:
        words += ["and", *phrase(p.also, as_object)]
    if p.relative is not None:
        words += ["who" if noun.human else "that", *clause(p.relative)]
    return words


def _base(c: Clause) -> str:
    return c.frame.en[0].replace("_", " ")


def _group(c: Clause, question: bool = False) -> tuple[list[str], list[str]]:
    """Builds the auxiliary and the rest of the verb group."""
    verb, *particle = _base(c).split(" ")
    who = _person(c)
    be = ("am", "is", "are")[who]
    was = ("was", "was", "were")[who]
    support = c.negated or question
    tense = c.tense
    if tense in _MODAL:
        aux, *rest = _MODAL[tense].split()
        return [aux], [*rest, verb, *particle]
    if tense in ("prog", "pprog", "meanwhile"):
        return [be if tense == "prog" else was], [gerund(verb), *particle]
    if tense in ("perf", "pperf"):
        return ["had" if tense == "pperf" else "has" if who == 1 else "have"], [participle(verb), *particle]
    if tense == "going":
        return [be], ["going", "to", verb, *particle]
    if tense in ("want", "wanted", "must", "had_to", "obliged", "used"):
        verb, *particle = (
            {"must": "have", "had_to": "have", "obliged": "have", "used": "use"}.get(tense, "want"),
            "to",
            verb,
            *particle,
        )
    present = tense in ("pres", "want", "must", "subj")
    if verb == "be":
        return [be if present else was], particle
    if support:
        return ["do" if present and who != 1 else "does" if present else "did"], [verb, *particle]
    if present:
        return [], [third(verb) if who == 1 else verb, *particle]
    return [], [past(verb), *particle]


def _shorten(subject: list[str], aux: list[str], c: Clause) -> tuple[list[str], list[str]]:
    """Contracts the auxiliary with *not* or with a pronoun, in informal sentences."""
    if not aux:
        return subject, aux
    word = aux[0]
    if c.negated:
        if not c.short:
            return subject, ["cannot"] if word == "can" else [word, "not"]
        return subject, [_NOT.get(word, word + "n't")]
    ending = {"will": "'ll", "would": "'d", "have": "'ve", "am": "'m", "are": "'re", "is": "'s"}.get(word)
    pronoun = c.subject is not None and c.subject.pronoun not in ("", "it") and not c.gap
    if c.short and pronoun and ending and (word != "have" or c.tense == "perf"):
        return [*subject[:-1], subject[-1] + ending], []
    return subject, aux


def subject_words(c: Clause) -> list[str]:
    """Builds the subject; *it* or *there* where there is none."""
    if c.subject is None:
        return ["there" if c.frame.subjects == ("there",) else "it"]
    return phrase(c.subject)


def clause(c: Clause) -> list[str]:
    """Builds a statement; a clause whose subject is the gap has no subject."""
    subject = [] if c.gap == "S" else subject_words(c)
    aux, rest = _group(c)
    subject, aux = _shorten(subject, aux, c)
    often = c.often.en.split() if c.often else []
    words = [*subject, *aux, *often, *rest, *_rest(c)] if aux or not subject else [*subject, *often, *rest, *_rest(c)]
    if c.time is not None and c.time_first:
        words = [*with_comma(c.time.en.split()), *words]
    return words


def _question(c: Clause) -> list[str]:
    aux, rest = _group(c, question=True)
    subject = subject_words(c)
    if c.negated:
        aux = [_NOT.get(aux[0], aux[0] + "n't")]
    return [*aux, *subject, *(c.often.en.split() if c.often else []), *rest, *_rest(c)]


def _rest(c: Clause) -> list[str]:
    """Builds what follows the verb: complements, manner, company, place, time."""
    words: list[str] = []
    late: list[str] = []
    owner = pronoun_of(c.subject) if c.subject is not None else "it"
    for token in c.frame.en[1:]:
        if token == "{my}":
            words.append(_POSSESSIVE[owner])
        elif token == "{self}":
            words.append(_SELF[owner])
        elif token.startswith("{"):
            letter = token[1]
            if letter == c.gap:
                continue
            filler = c.slots[letter]
            if letter in "lg":
                words += place(filler, letter)
            else:
                words += phrase(replace(filler, det="bare") if token[2] == "%" else filler, True)
                words += late
                late = []
        elif token.startswith("_"):
            o = c.slots.get("o")
            if "{o}" in c.frame.en and o is not None and o.is_pronoun:  # *pick it up*
                late = [token[1:]]
            else:
                words.append(token[1:])
        else:
            words.append(token)
    if c.manner is not None:
        words += c.manner.en.split()
    if c.companion is not None:
        words += ["with", *phrase(c.companion, True)]
    if c.place is not None:
        words += place(c.place, "l")
    if c.time is not None and not c.time_first:
        words += c.time.en.split()
    return words


def pronoun_of(p: Phrase) -> str:
    """Finds the English pronoun for a noun phrase: *he*, *she*, *it* or *they*."""
    if p.pronoun:
        return p.pronoun
    if p.many or (p.noun is not None and "en" in p.noun.pair):
        return "they"
    if p.noun is not None and p.noun.human:
        return "she" if p.noun.es_gender == "f" else "he"
    return "it"


def place(p: Phrase, role: str) -> list[str]:
    """Builds `in the kitchen` (role `l`) or `to the kitchen` (role `g`)."""
    assert p.noun is not None
    if p.noun.en == "home":
        return ["home"] if role == "g" else ["at", "home"]
    preposition = p.noun.at if role == "l" else "to"
    if p.noun.en in ("school", "university") and p.det == "the" and not p.adjectives:
        return [preposition, p.noun.en]
    return [preposition, *phrase(p, True)]
