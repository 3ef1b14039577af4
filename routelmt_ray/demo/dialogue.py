"""Draws requests, questions and what people say, think, hope and want."""

from dataclasses import replace

from routelmt_ray.demo.clauses import ClauseDrawer
from routelmt_ray.demo.english_text import pronoun_of
from routelmt_ray.demo.frames import frame, has_free_place, whole_frame, words_for
from routelmt_ray.demo.links import again
from routelmt_ray.demo.statements import state
from routelmt_ray.demo.thought import Clause, Phrase, Sentence


def request(clauses: ClauseDrawer, domain: str, short: bool) -> Sentence:
    """Draws a polite request."""
    while True:
        c = clauses.clause(domain, short=short, bare=True, plain=True)
        if "please" in c.frame.flags or ("st" not in c.frame.flags and _commandable(c)):
            break
    you = Phrase(pronoun="you")
    negated = "n-" not in c.frame.flags and clauses.rng.random() < 0.15
    slots = clauses.slots(c.frame, you, False)
    o = slots.get("o")
    if negated and o is not None and o.noun is not None and o.det in ("a", "some", "count", "bare"):
        slots["o"] = replace(o, det="the", count=0, measure=None)
    return Sentence("please", Clause(you, c.frame, "pres", slots, negated, short=short))


def question(clauses: ClauseDrawer, domain: str, short: bool) -> Sentence:
    """Draws a question."""
    rng = clauses.rng
    kind = rng.choices(("ask", "where", "when", "why", "who", "what"), (52, 10, 10, 9, 9, 10))[0]
    tenses = ("past", "fut", "going") if kind in ("where", "when", "who", "what") else (
        "past", "fut", "can", "want", "must", "pres", "prog", "perf", "going")  # fmt: skip
    for _ in range(200):  # some domains have nothing to ask a *where* for
        c = clauses.clause(domain, short=short, tenses=tenses, plain=kind in ("who", "what"), bare=kind != "ask")
        if c.subject is None or c.subject.pronoun in ("I", "we") or "st" in c.frame.flags:
            continue
        if c.tense == "pres" and not (c.often or c.time):
            continue
        if kind == "where" and not has_free_place(c.frame):
            continue
        if kind == "what" and not _askable(c):
            continue
        if kind == "who" and any(p.det == "my" for p in c.slots.values()):
            continue
        if "inv" in c.frame.flags and (c.negated or kind in ("why", "when")):
            continue
        if c.negated and (kind in ("what", "who", "when", "where") or c.tense in ("must", "perf")):
            continue
        break
    else:
        return Sentence("tell", state(clauses.drawer, domain, short))
    c = replace(c, time_first=False)
    if c.negated and c.often is not None:
        c = replace(c, negated=False, often=None)
    if kind == "when":
        c = replace(c, time=None, often=None)
    o = c.slots.get("o")
    if (
        kind in ("where", "when") and o is not None and o.det in ("a", "some", "count", "many")
    ):  # *where did he buy the bags*
        c = replace(c, slots={**c.slots, "o": replace(o, det="the", count=0)})
    if kind == "where":
        c = replace(c, place=None)
    if kind == "who":  # *who* is singular in all three languages
        c = replace(c, subject=Phrase(pronoun="he"))
    if kind == "what":
        c = replace(c, gap="o")
    return Sentence(kind, c)


def reported(clauses: ClauseDrawer, domain: str, short: bool) -> Sentence:
    """Draws *she says that …*, *I hope that …*, *he wants us to …*, *we don't know whether …*."""
    rng = clauses.rng
    who = clauses.drawer.person()
    while who.pronoun == "you":  # nobody tells others what they think
        who = clauses.drawer.person()
    kind = rng.choice(("say", "say", "say", "think", "hope", "want", "know", "ask", "sure"))
    if kind == "want" or kind == "hope":
        main = frame("want = querer = wollen" if kind == "want" else "hope = esperar = hoffen")
        other = clauses.another(who)
        while True:
            c = clauses.clause(domain, short=short, bare=rng.random() < 0.7, tenses=("fut", "going"), subject=other)
            if "inv" not in c.frame.flags or c.negated:
                break
        past = kind == "want" and rng.random() < 0.4
        c = replace(
            c,
            tense="past_subj" if past else "subj" if kind == "want" else "hoped",
            time_first=False,
            negated=c.negated and kind == "hope",
        )
        if past:
            c = replace(c, time=None)
        return Sentence(
            "tell",
            Clause(who, main, "state" if past else "pres", short=short),
            (("want_to" if kind == "want" else "that", c),),
        )
    if kind == "say":
        while who.pronoun in ("I", "we", "you"):
            who = clauses.drawer.person()
        past = rng.random() < 0.6
        main = frame("say = decir = sagen")
        other = again(who) if rng.random() < 0.5 else clauses.another(who)
        tenses = ("past", "wanted") if past else ("past", "fut", "perf", "must", "want", "prog")
        c = clauses.clause(
            domain, short=short, tenses=("past",) if past and rng.random() < 0.6 else tenses, subject=other
        )
        if past and c.tense == "past":
            c = replace(c, tense="pperf", time=None)
        return Sentence(
            "tell",
            Clause(who, main, "event" if past else "pres", short=short),
            (("that", replace(c, time_first=False)),),
        )
    if kind == "think" or kind == "sure":
        main = frame("think = creer = glauben" if kind == "think" else "be sure = estar @seguro de = ^ sicher sein")
        c = clauses.clause(domain, short=short, tenses=("past", "fut", "must", "should", "perf"))
        if c.subject is not None and c.subject.pronoun in ("he", "she", "they"):
            same = pronoun_of(who) == c.subject.pronoun
            c = replace(c, subject=replace(c.subject, silent=same))
        return Sentence("tell", Clause(who, main, "pres", short=short), (("that", replace(c, time_first=False)),))
    verb = frame("know = saber = wissen" if kind == "know" else "ask = preguntar = fragen")
    negated = kind == "know"
    name = rng.choice(("whether", "why", "whether", "where" if kind == "know" else "whether"))
    c = clauses.clause(
        domain, short=short, bare=True, tenses=("past", "fut", "going"), plain=True, subject=clauses.another(who)
    )
    if name == "where" and not has_free_place(c.frame):
        name = "why"
    c = replace(c, place=None, negated=c.negated and name == "why" and "inv" not in c.frame.flags, time_first=False)
    if kind == "ask":
        c = replace(c, tense="pperf")
    tense = "pres" if kind == "know" else "event"
    return Sentence("tell", Clause(who, verb, tense, negated=negated, short=short), ((name, c),))


def _askable(c: Clause) -> bool:
    """Tells whether *what* can replace the object."""
    o = c.slots.get("o")
    plain = o is not None and o.noun is not None and not o.noun.human and whole_frame(c.frame)
    return plain and len(c.slots) == 1 and c.frame.en[0] in words_for("asked")


def _commandable(c: Clause) -> bool:
    """Tells whether a predicate makes a sensible request."""
    return c.frame.en[0] in words_for("commands") and not c.frame.flags & {"please-", "inv"}
