"""Says a thought in Spanish (of Spain, with *usted*)."""

import re
from dataclasses import replace

from routelmt_ray.demo.connectors import CONNECTORS, join, with_comma
from routelmt_ray.demo.spanish_forms import agree, attach
from routelmt_ray.demo.spanish_phrases import gender, is_plural, phrase, place
from routelmt_ray.demo.spanish_verbs import conjugate, gerund, participle
from routelmt_ray.demo.thought import Clause, Phrase, Sentence

_QUESTION = {"who": "quién", "what": "qué", "where": "dónde", "when": "cuándo", "why": "por qué"}
_SAME_FORM = frozenset("state used pperf pprog subj past_subj hoped wanted should would obliged meanwhile".split())
"""Tenses in which *yo* and *él* have one form."""
_CLOSE = ("mal", "bien", "rápido", "daño", "transbordo", "cola", "senderismo", "deporte", "mucho", "temprano", "tarde")
_REFLEXIVE = ("me", "se", "nos", "se")
_DATIVE = ("me", "le", "nos", "les")
_WITH_INFINITIVE = {
    "going": ("ir", "present", "a"), "can": ("poder", "present", ""), "could": ("poder", "preterite", ""),
    "must": ("tener", "present", "que"), "had_to": ("tener", "preterite", "que"),
    "obliged": ("tener", "imperfect", "que"), "must_not": ("deber", "present", ""), "want": ("querer", "present", ""), "wanted": ("querer", "imperfect", ""),
    "would": ("querer", "past_subjunctive", ""),
}  # fmt: skip
_SIMPLE = {"pres": "present", "past": "preterite", "event": "preterite", "state": "imperfect", "used": "imperfect", "fut": "future",
           "subj": "subjunctive",
    "hoped": "subjunctive",
    "meanwhile": "imperfect", "past_subj": "past_subjunctive"}  # fmt: skip


def say(sentence: Sentence) -> str:
    """Builds the Spanish sentence with its marks."""
    main, kind = sentence.main, sentence.kind
    if kind == "please":
        words = _command(main)
    elif kind == "tell":
        words = clause(main)
    elif kind == "who":
        words = ["quién", *clause(replace(main, gap="S"))]
    elif kind == "ask":
        words = clause(main, ask=True)
    else:
        words = [*_QUESTION[kind].split(), *clause(main, ask=True)]
    for i, (name, linked) in enumerate(sentence.links):
        joint = CONNECTORS[name].es
        linked = _unambiguous(linked, main)
        if name == "while" and linked.tense in ("prog", "pprog"):  # *mientras espera*
            linked = replace(linked, tense={"prog": "pres", "pprog": "meanwhile"}[linked.tense])
        if name in ("and_same", "but") and linked.tense == "past" and main.time is not None and main.time.near:
            linked = replace(linked, tense="perf")  # *hoy ha preparado … y la ha puesto*
        if joint.form == "infinitive":
            follows = _infinitive(linked)
        else:
            follows = clause(replace(linked, gap="S") if joint.form == "same" else linked)
        words = join(words, joint, follows, sentence.leads(i))
    if kind == "please":
        words = [*with_comma(words), "por", "favor"]
    if sentence.opening is not None and sentence.opening.es:
        words = [*sentence.opening.es.split(), *words]
    text = finish(" ".join(words))
    if kind in ("tell", "please"):
        return text[0].upper() + text[1:] + "."
    return "¿" + text[0].upper() + text[1:] + "?"


def _unambiguous(linked: Clause, main: Clause) -> Clause:
    """Asks for *yo* where the verb has the same form for the subject of the main clause."""
    first = linked.subject is not None and linked.subject.pronoun == "I"
    other = main.subject is not None and main.subject.pronoun != "I"
    if first and other and linked.subject is not None and linked.tense in _SAME_FORM:
        return replace(linked, subject=replace(linked.subject, stressed=True))
    return linked


def finish(text: str) -> str:
    """Contracts *a el* and *de el*, and changes *y* and *o* before the same sound."""
    text = re.sub(r"\b(a|A) el\b", r"\1l", text)
    text = re.sub(r"\b(de|De) el\b", r"\1l", text)
    text = re.sub(r"\by (?=(i|I|hi(?!e)|Hi(?!e)))", "e ", text)
    text = re.sub(r"\bcon mí\b", "conmigo", text)
    return re.sub(r"\bo (?=(o|O|ho|Ho))", "u ", text)


def _person(p: Phrase | None) -> int:
    if p is None:
        return 1
    if p.pronoun == "I":
        return 0
    if p.pronoun == "we":
        return 2
    return 3 if is_plural(p) else 1


def _subject(c: Clause) -> list[str]:
    p = c.subject
    if p is not None and p.stressed:
        return ["yo"]
    if p is None or p.silent or p.pronoun in ("I", "we", "it"):
        return []
    if p.det == "bare" and p.plural:  # a subject needs its article: *Los zorros viven …*
        p = replace(p, det="the")
    return phrase(p)


def _experienced(c: Clause) -> bool:
    return c.frame.es[0].endswith("!")


def _clitics(c: Clause) -> list[str]:
    """Finds the pronouns at the verb, in their order."""
    verb = c.frame.es[0].rstrip("!")
    found: list[str] = []
    if verb.endswith("se"):
        found.append(_REFLEXIVE[_person(c.subject)])
    if _experienced(c):
        return [*found, _DATIVE[_person(c.subject)]]
    r, o = c.slots.get("r"), c.slots.get("o")
    if r is not None and "{r}" in c.frame.es:
        found.append(_DATIVE[_person(r)])
    if o is not None and o.is_pronoun and "{o}" in c.frame.es and c.gap != "o":
        if o.pronoun in ("I", "we"):
            found.append({"I": "me", "we": "nos"}[o.pronoun])
        else:
            if found and found[-1] in ("le", "les"):
                found[-1] = "se"
            found.append(("l" + {"m": "o", "f": "a"}[gender(o)]) + ("s" if is_plural(o) else ""))
    return found


def _infinitive_of(c: Clause) -> str:
    verb = c.frame.es[0].rstrip("!")
    return verb[:-2] if verb.endswith("se") else verb


def _group(c: Clause) -> list[str]:
    """Builds the verb with its pronouns."""
    verb, clitics, tense = _infinitive_of(c), _clitics(c), c.tense
    who = _person(c.slots.get("o")) if _experienced(c) else _person(c.subject)
    if verb == "ir" and tense in ("prog", "pprog"):
        tense = {"prog": "pres", "pprog": "state"}[tense]
    if tense == "past" and c.time is not None and c.time.near:
        tense = "perf"
    if tense in _WITH_INFINITIVE or tense == "should":
        if tense == "should":
            return [("debería", "debería", "deberíamos", "deberían")[who], attach(verb, clitics)]
        modal, form, particle = _WITH_INFINITIVE[tense]
        return [conjugate(modal, form)[who], *particle.split(), attach(verb, clitics)]
    if tense in ("perf", "pperf"):
        return [*clitics, conjugate("haber", "present" if tense == "perf" else "imperfect")[who], participle(verb)]
    if tense in ("prog", "pprog"):
        return [*clitics, conjugate("estar", "present" if tense == "prog" else "imperfect")[who], gerund(verb)]
    form = conjugate(verb, _SIMPLE[tense])[who]
    if verb == "haber" and tense == "pres":
        form = "hay"
    return [*clitics, form]


def clause(c: Clause, ask: bool = False) -> list[str]:
    """Builds a clause; in a question the subject follows the verb."""
    subject = [] if c.gap == "S" else _subject(c)
    verb = _group(c)
    if c.negated:
        verb = ["no", *verb]
    often = c.often.es.split() if c.often else []
    if _experienced(c):
        experiencer = ["a", *subject] if subject else []
        words = [*often, *experiencer, *verb, *_rest(c)] if not ask else [*often, *verb, *_rest(c), *experiencer]
        if ask and experiencer and "{o}" in c.frame.es:
            words = [*often, *experiencer, *verb, *_rest(c)]
    elif ask:
        rest = _rest(c)
        close = rest[:1] != ["mucho"] or len(rest) == 1  # but *¿gastó Ana mucho dinero?*
        early = rest[:1] if rest and rest[0] in _CLOSE and close else []  # *¿durmió mal Ana?*
        split = 1 + c.negated if c.tense in _WITH_INFINITIVE and c.tense != "going" else len(verb)
        words = [*verb[:split], *early, *subject, *verb[split:], *often, *rest[len(early) :]]
        if early and split < len(verb):
            words = [*verb[:split], *subject, *verb[split:], *often, *rest]
        if c.tense == "perf":
            words = [*often, *verb, *subject, *rest]
    else:
        words = [*subject, *often, *verb, *_rest(c)]
    if c.time is not None and c.time_first:
        words = [*c.time.es.split(), *words]
        if len(c.time.es.split()) > 1:
            words[len(c.time.es.split()) - 1] += ","
    return words


def _infinitive(c: Clause) -> list[str]:
    return [*(["no"] if c.negated else []), attach(_infinitive_of(c), _clitics(c)), *_rest(c)]


def _command(c: Clause) -> list[str]:
    form = conjugate(_infinitive_of(c), "subjunctive")[1]
    if c.negated:
        return ["no", *_clitics(c), form, *_rest(c)]
    return [attach(form, _clitics(c)), *_rest(c)]


def _rest(c: Clause) -> list[str]:
    """Builds what follows the verb: complements, manner, company, place, time."""
    words: list[str] = []
    for token in c.frame.es[1:]:
        if token.startswith("@"):
            subject = c.subject if c.subject is not None else Phrase()
            words.append(agree(token[1:], gender(subject), is_plural(c.subject)))
        elif token.startswith("{my"):
            words.append(_my(c, token[4:6]))
        elif token.startswith("{"):
            letter, flag = token[1], token[2:-1]
            if letter == c.gap:
                continue
            filler = c.slots[letter]
            if letter in "lg" and not flag:
                words += place(filler, letter)
            elif letter == "r":
                words += [] if filler.is_pronoun else ["a", *phrase(filler, clause)]
            elif letter == "o" and not flag:
                if _experienced(c) or not filler.is_pronoun:
                    words += _object(c, filler)
            else:
                words += phrase(filler, clause)
        else:
            words.append(token)
    if c.manner is not None:
        words += c.manner.es.split()
    if c.companion is not None:
        words += ["con", *phrase(c.companion)]
    if c.place is not None:
        words += place(c.place, "l")
    if c.time is not None and not c.time_first:
        words += c.time.es.split()
    return words


def _object(c: Clause, filler: Phrase) -> list[str]:
    """Builds a direct object, with *a* before a certain person; subjects of `gustar` have no *a*."""
    if _experienced(c):
        return [] if filler.is_pronoun else phrase(filler, clause)
    person = (
        filler.noun is not None
        and (filler.noun.human or filler.noun.kind == "pet")
        and filler.det not in ("any", "bare")
    )
    person = person and _infinitive_of(c) not in ("tener", "buscar", "necesitar")
    return ["a", *phrase(filler, clause)] if person else phrase(filler, clause)


def _my(c: Clause, form: str) -> str:
    assert c.subject is not None
    several = form[1] == "p"
    stem = {"I": "mi", "we": agree("nuestro", form[0], False)}.get(c.subject.pronoun, "su")
    return stem + ("s" if several else "")
