"""Says a thought in German (with *Sie*)."""

from dataclasses import replace

from routelmt_ray.demo import german_forms as forms
from routelmt_ray.demo.connectors import CONNECTORS, join, with_comma
from routelmt_ray.demo.german_phrases import DEFINITE, gender, is_known_person, phrase, place
from routelmt_ray.demo.german_verbs import Verb, verb
from routelmt_ray.demo.thought import Clause, Phrase, Sentence

_QUESTION = {"who": "wer", "what": "was", "where": "wo", "when": "wann", "why": "warum"}
_MODAL = {
    "can": ("können", "present"), "could": ("können", "past"), "must": ("müssen", "present"),
    "had_to": ("müssen", "past"), "obliged": ("müssen", "past"), "must_not": ("dürfen", "present"), "should": ("sollen", "past"),
    "want": ("wollen", "present"), "wanted": ("wollen", "past"), "fut": ("werden", "present"),
    "going": ("werden", "present"),
}  # fmt: skip
_WOULD = ("möchte", "möchte", "möchten", "möchten")
_SIMPLE_PAST = ("sein", "haben", "wissen", "wollen", "müssen", "können")


def say(sentence: Sentence) -> str:
    """Builds the German sentence with its marks."""
    main, kind = sentence.main, sentence.kind
    opening = sentence.opening.de.split() if sentence.opening else []
    if kind == "please":
        words = clause(main, "command")
    elif kind == "tell":
        words = clause(main, "first" if sentence.first or opening else "second")
    elif kind == "who":
        words = ["wer", *clause(replace(main, gap="S"), "first")]
    elif kind == "ask":
        words = clause(main, "first")
    else:
        words = [_QUESTION[kind], *clause(main, "first")]
    words = [*opening, *words]
    for i, (name, linked) in enumerate(sentence.links):
        joint = CONNECTORS[name].de
        order = joint.form or "last"
        if order == "same":
            linked, order = replace(linked, gap="S"), "first"
        follows = clause(linked, order)
        if joint.form == "same" and len(follows) > 1 and _shares_auxiliary(main, linked):
            del follows[0]
        words = join(words, joint, follows, sentence.leads(i))
    text = forms.contracted(" ".join(words)).replace(" ,", ",").replace(",,", ",")
    text = text.removesuffix(",")
    return text[0].upper() + text[1:] + ("." if kind in ("tell", "please") else "?")


def _shares_auxiliary(one: Clause, other: Clause) -> bool:
    (finite, end), (again, more) = _predicate(one), _predicate(other)
    return (
        finite == again
        and bool(end)
        and bool(more)
        and one.tense == other.tense == "past"
        and not one.frame.flags & {"prät"}
    )


def _person(p: Phrase | None) -> int:
    if p is None:
        return 1
    if p.pronoun in ("I", "we", "you"):
        return {"I": 0, "we": 2, "you": 3}[p.pronoun]
    return 3 if gender(p) == "p" else 1


def _relative(c: Clause, g: str) -> list[str]:
    case = "n"
    if c.gap != "S":
        case = next((token[3] for token in c.frame.de if token.startswith("{" + c.gap + ".")), "a")
    pronoun = forms.definite(g, case)
    if case == "d" and g == "p":
        pronoun = "denen"
    return [pronoun, *clause(c, "last")]


def _verb(c: Clause) -> tuple[Verb, str, list[str]]:
    """Finds the verb, the case of its reflexive pronoun (or nothing) and the tokens of its complements."""
    head, *rest = c.frame.de
    reflexive = {"sich": "a", "sich3": "d"}.get(head, "")
    if reflexive:
        head, *rest = rest
    return verb(head), reflexive, rest


def _predicate(c: Clause) -> tuple[str, list[str]]:
    """Builds the finite verb, and the words at the end of the clause."""
    v = _verb(c)[0]
    who, tense = _person(c.subject), c.tense
    if tense == "would":
        return _WOULD[who], [v.whole]
    if tense == "going" and c.time is not None:
        tense = "pres"
    if tense in _MODAL:
        modal, form = _MODAL[tense]
        return getattr(verb(modal), form)[who], [v.whole]
    particle = [v.particle] if v.particle else []
    if tense in ("pres", "prog", "subj", "hoped"):
        return v.present[who], particle
    simple = v.whole in _SIMPLE_PAST or "prät" in c.frame.flags
    if tense in ("state", "used", "pprog", "past_subj", "event", "meanwhile") or (tense in ("past", "perf") and simple):
        return v.past[who], particle
    aux = verb(v.aux)
    return (aux.past if tense == "pperf" else aux.present)[who], [v.participle]


def clause(c: Clause, order: str) -> list[str]:
    """Builds a clause. `order` is `second` (the verb follows the subject or time), `first` (the verb leads), `last`,
    `zu` or `command`."""
    for letter, filler in c.slots.items():
        if filler.relative is not None:  # *hat das Buch gelesen, das …*
            core = replace(c, slots={**c.slots, letter: replace(filler, relative=None)})
            words = clause(core, order)
            return [*with_comma(words), *_relative(filler.relative, gender(filler)), ","]
    v = _verb(c)[0]
    front: list[str] = []
    time_in_front = c.time is not None and c.time_first and order == "second"
    middle = _middle(replace(c, time=None) if time_in_front else c, order == "last")
    subject = [] if c.gap == "S" else phrase(c.subject, "n") if c.subject is not None else ["es"]
    if order == "zu":
        return [*middle, v.zu]
    if order == "command":
        finite = "seien" if v.whole == "sein" else v.present[3]
        return ["bitte", finite, "Sie", *middle, *([v.particle] if v.particle else [])]
    finite, end = _predicate(c)
    if order == "last":
        if len(end) == 1 and end[0] == v.particle:
            return [*subject, *middle, v.joined(finite)]
        return [*subject, *middle, *end, finite]
    if order == "second" and not time_in_front:
        return [*subject, finite, *middle, *end]
    if time_in_front:
        assert c.time is not None
        front = c.time.de.split()
    named = c.subject is not None and not c.subject.is_pronoun and c.gap != "S"
    if named and middle and middle[0] in ("sich", "mich", "uns", "mir"):
        return [*front, finite, middle[0], *subject, *middle[1:], *end]
    return [*front, finite, *subject, *middle, *end]


def _middle(c: Clause, linked: bool = False) -> list[str]:
    """Orders what stands between the finite verb and the end.

    Pronouns, time, certain objects, *nicht*, manner, company, place, new objects, other complements.
    """
    _, reflexive, tokens = _verb(c)
    before, after = _split(tokens)
    slots = [t for t in before if t.startswith("{") and not t.startswith("{my") and t[1] != c.gap]
    pronouns = [(t[1], _case(t)) for t in slots if c.slots[t[1]].is_pronoun]
    words: list[str] = []
    early = [t for t in slots if is_known_person(c.slots[t[1]])]
    if reflexive:
        name = c.subject.pronoun if c.subject is not None else ""
        words.append(forms.REFLEXIVE[name][reflexive == "d"] if name in forms.REFLEXIVE else "sich")
    for letter, case in sorted(pronouns, key=lambda pair: pair[1]):  # acc. before dat.
        words += phrase(c.slots[letter], case)
    for token in early:  # people come before the time
        words += phrase(c.slots[token[1]], _case(token))
    if c.tense == "used":
        words.append("früher")
    if c.time is not None:
        words += c.time.de.split()
    if c.often is not None and c.tense != "perf":  # *schon* and *noch* follow what is known, *oft* leads it
        words += c.often.de.split()
    now = c.tense in ("prog", "pprog") and not linked and (c.tense == "pprog" or c.time is None)
    if now and not c.negated and c.subject is not None:
        words.append("gerade")
    new: list[str] = []
    negated = c.negated
    for token in before:
        if not token.startswith("{") or token.startswith("{my"):
            words += _token(c, token)
            continue
        filler, case = c.slots.get(token[1]), _case(token)
        if filler is None or token[1] == c.gap or filler.is_pronoun or token in early:
            continue
        indefinite = filler.det not in DEFINITE and filler.owner is None
        if indefinite:
            new += phrase(filler, case, negated)
            negated = negated and filler.det == "count"
        else:
            words += phrase(filler, case)
    if c.often is not None and c.tense == "perf":
        words += c.often.de.split()
    if now and c.negated:
        words.append("gerade")
    without = negated and any(token.startswith("%") for token in after)
    if negated and not without:
        words.append("nicht")
    if c.manner is not None:
        words += c.manner.de.split()
    if c.companion is not None:
        words += ["mit", *phrase(c.companion, "d")]
    if c.place is not None:
        words += place(c.place, "l")
    words += new
    for token in after:
        words += _token(c, token, without)
    return words


def _split(tokens: list[str]) -> tuple[list[str], list[str]]:
    """Divides the complements into those before and after the place of *nicht*."""
    if "^" in tokens:
        at = tokens.index("^")
        return tokens[:at], tokens[at + 1 :]
    at = 0
    while at < len(tokens) and tokens[at].startswith("{") and tokens[at][1] not in "lg" and tokens[at] != "{my":
        at += 1
    return tokens[:at], tokens[at:]


def _case(token: str) -> str:
    return token[3] if token[2] == "." else "a"


def _token(c: Clause, token: str, without: bool = False) -> list[str]:
    """Builds one complement; `%f:Zeit` is a noun with *kein* when negated, `%1f:Frage` has *ein* too."""
    if token.startswith("%"):
        kind, _, noun = token[1:].partition(":")
        g = kind[-1]
        article = forms.like_ein("kein", g, "a") if without else forms.like_ein("ein", g, "a") if kind[0] == "1" else ""
        return [article, noun] if article else [noun]
    if token.startswith("{my"):
        assert c.subject is not None
        name = c.subject.pronoun or {"m": "he", "n": "it", "f": "she", "p": "they"}[gender(c.subject)]
        return [forms.like_ein(forms.POSSESSIVES[name], token[4], token[5])]
    if token.startswith("{"):
        letter = token[1]
        if letter == c.gap:
            return []
        filler = c.slots[letter]
        if token[4:5] == "b":  # Klavier spielen
            filler = replace(filler, det="bare")
        return place(filler, letter) if letter in "lg" else phrase(filler, _case(token))
    return [token]
