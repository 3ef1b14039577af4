"""Draws sentences about a domain."""

from __future__ import annotations

import random
from dataclasses import replace

from routelmt_ray.demo import times
from routelmt_ray.demo.frames import frame, load_frames
from routelmt_ray.demo.links import Linker, again
from routelmt_ray.demo.phrases import PhraseDrawer
from routelmt_ray.demo.thought import Clause, Frame, Phrase, Sentence, Words
from routelmt_ray.demo.vocabulary import Pool

DOMAINS = ("home", "travel", "shopping", "office", "school", "city", "nature", "health")
"""Subjects of the corpus, most frequent first."""
_TENSES = {
    "past": 36, "pres": 10, "prog": 7, "fut": 9, "going": 6, "perf": 5, "must": 4, "had_to": 4, "can": 3, "could": 2,
    "should": 4, "want": 4, "wanted": 2, "would": 3, "used": 3, "must_not": 1,
}  # fmt: skip
_HABIT_DETS = {
    **dict.fromkeys(["fruit", "veg", "fruit1", "reading", "letter", "doc", "exercise", "letter"], "pl"),
    **dict.fromkeys(["dish", "cake", "cookable", "cake1"], "a"), **dict.fromkeys(["food", "drink", "ingredient"], "bare"),
    "family": "my",
    "language": "bare",
    "subject": "bare", "kid": "my", "friend": "my", "goods": "a",
}  # fmt: skip
"""Determiners of what people do again and again: *bread*, *apples*, *the kitchen*."""
_HABITUAL = ("pres", "used")
_THINGS = {
    "home": "dish cake furniture building appliance family pet vessel", "travel": "sight ride bookable transport vehicle",
    "office": "doc abstract boss device presentation", "school": "exam exercise reading teacher pupil subject",
    "nature": "plant scenery pet wild", "shopping": "clothes shoes goods opening furniture",
    "health": "medicine family doctor", "city": "citything building company show opening newsthing",
}  # fmt: skip
_EXCESSIVE = frozenset(
    [
        "small",
        "big",
        "expensive",
        "cold",
        "hot",
        "long",
        "short",
        "heavy",
        "difficult",
        "noisy",
        "narrow",
        "salty",
        "spicy",
        "sweet",
        "full",
    ]
)
"""What something can be *too*."""
_DEGREES = {"": Words("", "", ""), "very": Words("very", "muy", "sehr"), "too": Words("too", "demasiado", "zu"),
            "quite": Words("quite", "bastante", "ziemlich")}  # fmt: skip


class Composer:
    """Draws sentences with one random generator.

    Args:
        rng: Source of all chance; the same state gives the same sentences.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.drawer = PhraseDrawer(rng)
        self.linker = Linker(self.drawer)
        self.frames: dict[str, list[Pool[Frame]]] = {}
        for (domain, _), pool in load_frames().items():
            self.frames.setdefault(domain, []).append(pool)

    def frame(self, domain: str) -> Frame:
        """Draws a predicate, from the larger pools more often."""
        pools = self.frames[domain]
        return self.rng.choices(pools, [len(pool.members) for pool in pools])[0].pick(self.rng)

    def sentence(self, domain: str) -> Sentence:
        """Draws one sentence about `domain`."""
        rng = self.rng
        short = rng.random() < 0.7
        draw = rng.random()
        if draw < 0.09:
            return self._request(domain, short)
        if draw < 0.23:
            return self._question(domain, short)
        if draw < 0.34:
            return Sentence("tell", self.state(domain, short))
        if draw < 0.45:
            return self._reported(domain, short)
        if draw < 0.51:
            return Sentence("tell", self.fact(domain, short))
        linked = draw < 0.78
        for _ in range(20):
            main = self.clause(domain, short=short, bare=linked and rng.random() < 0.7)
            if not linked:
                if rng.random() < 0.45:
                    main = self.with_relative(main, domain)
                return Sentence("tell", main)
            link = self.linker.link(replace(main, time_first=False), rng)
            if link is not None:
                if link[0] == "when":
                    main = replace(main, tense="pprog")
                first = link[0] in ("when_future", "if", "although", "as_soon") and rng.random() < 0.35
                main = replace(main, time_first=main.time_first and not first)
                if first:
                    main, link = self._swap(main, link)
                return Sentence("tell", main, (link,), first)
        return Sentence("tell", self.clause(domain, short=short))

    def _swap(self, main: Clause, link: tuple[str, Clause]) -> tuple[Clause, tuple[str, Clause]]:
        """Names the subject in the clause that comes first, and lets the second have the pronoun."""
        name, linked = link
        if main.subject is None or linked.subject is None or not linked.subject.silent:
            return main, link
        if linked.subject.noun is not main.subject.noun:
            return main, link
        return replace(main, subject=again(main.subject)), (name, replace(linked, subject=main.subject))

    def tense(self, f: Frame) -> str:
        """Draws a tense that the predicate allows."""
        rng = self.rng
        if "st" in f.flags:
            allowed = f.options.get("T", ("pres", "pres", "state"))
            return rng.choice(allowed)
        allowed = f.options.get("T", tuple(_TENSES))
        weights = [
            0
            if (tense == "prog" and "p-" in f.flags)
            or (tense in _HABITUAL and "once" in f.flags and "T" not in f.options)
            else _TENSES.get(tense, 3)
            for tense in allowed
        ]
        return rng.choices(allowed, weights)[0]

    def clause(
        self,
        domain: str,
        *,
        short: bool,
        bare: bool = False,
        tenses: tuple[str, ...] = (),
        subject: Phrase | None = None,
        plain: bool = False,
    ) -> Clause:
        """Draws one clause.

        Args:
            domain: Subject of the vocabulary.
            short: English contractions.
            bare: Whether to leave out times and other additions.
            tenses: Tenses to choose from; empty for any.
            subject: Who acts; drawn where missing.
            plain: Whether only predicates of people will do.
        """
        rng = self.rng
        while True:
            f = self.frame(domain)
            people = "person" in f.subjects
            if (plain or subject is not None) and not people:
                continue
            tense = self.tense(f)
            if tenses and tense not in tenses:
                continue
            break
        weather = f.subjects == ("weather",)
        if weather:
            who = None
        elif subject is not None:
            who = subject
        else:
            who = self.drawer.subject(f.subjects, f.options.get("S", ()))
        negated = "n-" not in f.flags and tense not in ("used", "had_to", "would", "going") and rng.random() < 0.11
        if tense == "could":
            negated = "n-" not in f.flags
        if tense == "must_not":
            negated = True
        slots = self._slots(f, who, negated, tense in _HABITUAL and "st" not in f.flags)
        made = Clause(who, f, tense, slots, negated, short=short)
        return made if bare and tense not in _HABITUAL else self._with_additions(made, bare)

    def with_relative(self, c: Clause, domain: str) -> Clause:
        """Adds *that my sister bought* to the object, where a predicate of the domain fits it."""
        o = c.slots.get("o")
        crowded = (c.time is not None and not c.time_first) or c.place or c.companion or c.manner
        if crowded or c.frame.en[-1] not in ("{o}",) or c.frame.es[-1] != "{o}":
            return c
        if (
            o is None
            or o.noun is None
            or o.noun.mass
            or o.noun.human
            or o.det not in ("the", "a", "some")
            or o.owner is not None
            or c.gap
        ):
            return c
        for _ in range(30):
            f = self.frame(domain)
            inner = Clause(self.drawer.person(), f, "past", {})
            if "person" not in f.subjects or f.en[0] == c.frame.en[0] or not whole_frame(f) or "st" in f.flags:
                continue
            kinds = {kind.partition("/")[0] for kind in f.slots["o"]}
            if not any(
                o.noun in self.drawer.words.nouns[kind].members for kind in kinds
            ) or "past" not in f.options.get("T", ("past",)):
                continue
            assert inner.subject is not None
            if c.subject is not None and inner.subject.noun is c.subject.noun:
                continue
            slots = {k: v for k, v in self._slots(f, inner.subject, False).items() if k != "o"}
            relative = replace(inner, slots=slots, gap="o", short=c.short)
            return replace(c, slots={**c.slots, "o": replace(o, det="the", relative=relative)})
        return c

    def _slots(self, f: Frame, who: Phrase | None, negated: bool, habitual: bool = False) -> dict[str, Phrase]:
        slots: dict[str, Phrase] = {}
        for letter, kinds in f.slots.items():
            if letter in "lg":
                slots[letter] = self.drawer.place(kinds)
                continue
            dets = f.options.get("V", ()) if letter == "o" else ()
            if habitual and not own_dets(kinds) and not dets:
                kinds = tuple(kind + "/" + _HABIT_DETS.get(kind, "the") for kind in kinds)
            for _ in range(5):
                found = self.drawer.slot(kinds, who, negated=negated and letter == "o", dets=dets)
                if who is None or found.noun is None or found.noun is not who.noun or not found.noun.human:
                    break
            if (
                who is not None
                and who.det == "my"
                and found.det == "my"
                and found.noun is not None
                and found.noun.human
            ):
                found = replace(found, of=who.of)
            if letter == "o" and not negated and not own_dets(kinds) and self.rng.random() < 0.04:
                measured = self.drawer.measured(negated)
                if measured is not None and measured.noun is not None and measured.noun.kind in kinds:
                    found = measured
            slots[letter] = found
        return slots

    def _with_additions(self, c: Clause, bare: bool) -> Clause:
        rng, f = self.rng, c.frame
        changes: dict[str, object] = {}
        timed, weather = "t-" not in f.flags, f.subjects == ("weather",)
        if weather and c.tense == "pres":
            changes["time"] = times.now_or_today(rng)
        elif "st" in f.flags and c.tense == "pres":
            pass
        elif c.tense in _HABITUAL and timed:
            if rng.random() < 0.45 and c.tense == "pres" and not c.negated:
                changes["often"] = times.how_often(rng)
            else:
                changes["time"] = times.habit(rng)
        elif c.tense == "perf" and not bare:
            if c.negated:
                changes["often"], changes["time"] = times.YET, times.AT_END_YET
            elif rng.random() < 0.6 and "once" not in f.flags:
                changes["often"] = times.ALREADY
        elif timed and not bare and rng.random() < 0.5:
            clock = bool(f.flags & {"#go", "#wait", "inv"}) and not c.negated
            changes["time"] = times.moment(c.tense, rng, clock, "far" in f.flags)
        if changes.get("time") and c.tense != "perf" and rng.random() < 0.33 and not c.negated:
            changes["time_first"] = True
        manners = f.options.get("M")
        fixed = c.slots.get("o")
        definite = fixed is None or fixed.det in ("the", "this", "my")
        if bare:
            return replace(c, **changes)  # type: ignore[arg-type]
        if manners and definite and not c.negated and rng.random() < 0.35:
            changes["manner"] = times.MANNERS[rng.choice(manners)]
        elif "W" in f.flags and not c.negated and rng.random() < 0.25:
            company = self.drawer.person(pronouns=False)
            if c.subject is None or company.noun is not c.subject.noun:
                if company.det == "my" and c.subject is not None:
                    company = replace(company, of=c.subject.of or self.drawer._possessor(c.subject, True))
                changes["companion"] = company
        places = f.options.get("L")
        if places and "companion" not in changes and rng.random() < 0.3:
            changes["place"] = self.drawer.place(places)
        if "dur" in f.flags and c.tense == "past" and not c.negated and not changes.get("time") and rng.random() < 0.4:
            changes["time"] = times.span("for", rng)
        return replace(c, **changes)  # type: ignore[arg-type]

    def state(self, domain: str, short: bool) -> Clause:
        """Draws *the soup is very good* or a comparison."""
        rng = self.rng
        pool = self.drawer.words.predicates
        kinds = [kind for kind in _THINGS[domain].split() if kind in pool]
        kind = rng.choice(kinds)
        adjective = pool[kind].pick(rng)
        noun = self.drawer.words.noun(kind, rng)
        if adjective.en in noun.en:  # *the old town is old*
            noun = self.drawer.words.nouns[kind].members[0]
        who = self.drawer.around(noun, noun.kind, self._subject_dets(noun.kind), None, adjective=0.0, human_plural=True)
        be = "estar" if adjective.estar else "ser"
        if adjective.more_de and rng.random() < 0.25 and noun.kind not in ("family", "subject"):
            other = self.drawer.around(self.drawer.words.noun(kind, rng), noun.kind, ("the",), None, adjective=0.0)
            if other.noun is not noun:
                more = {"viejo": "más viejo", "bueno": "mejor", "malo": "peor"}.get(adjective.es, "más " + adjective.es)
                es = f"{be} {more.rpartition(' ')[0]} @{more.rpartition(' ')[2]} que {{d}}".replace("  ", " ")
                en = f"be {adjective.more_en or 'more ' + adjective.en} than {{d}}"
                f = replace(frame(f"{en} = {es} = ^ {adjective.more_de} als {{d.n}} sein"), flags=frozenset(("st",)))
                other = replace(other, plural=noun.kind == "shoes")
                return Clause(
                    replace(who, plural=noun.kind == "shoes"),
                    f,
                    rng.choice(("pres", "pres", "state")),
                    {"d": other},
                    short=short,
                )
        degrees = ("", "very", "quite") if adjective.more_de else ("",)
        if adjective.en in _EXCESSIVE and noun.kind not in ("sight", "plant"):
            degrees = (*degrees, "too")
        degree = _DEGREES[rng.choice(degrees)]
        f = frame(
            f"be {degree.en} {adjective.en} = {be} {degree.es} @{adjective.es.split()[0]} = ^ {degree.de} {adjective.de} sein"
        )
        tense = rng.choice(("pres", "pres", "state", "state"))
        if tense == "state" and noun.kind in ("show", "exam", "exercise", "ride", "appointment", "event"):
            tense = "past"
        negated = not degree.en and rng.random() < 0.2
        return Clause(who, f, tense, negated=negated, short=short)

    @staticmethod
    def _subject_dets(kind: str) -> tuple[str, ...]:
        if kind in ("clothes", "shoes", "goods", "furniture", "pet", "vehicle", "device"):
            return ("the", "the", "this", "my")
        return ("my",) if kind == "family" else ("the", "the", "this")

    def fact(self, domain: str, short: bool) -> Clause:
        """Draws a price, a time table, a date or a statistic."""
        rng, draw = self.rng, self.drawer
        kind = rng.choice({"travel": ("leave", "leave", "cost"), "city": ("rise", "open"), "nature": ("open", "grow"),
                           "school": ("begin", "date"), "office": ("begin", "date"),
                           "shopping": ("cost",), "home": ("cost",), "health": ("open",)}[domain])  # fmt: skip
        if kind == "cost":
            classes = {"travel": ("bookable",), "home": ("furniture", "appliance")}.get(
                domain, ("clothes", "goods", "shoes")
            )
            p = times.price(rng, big=domain != "shopping")
            f = frame(f"cost {p.en} = costar {p.es} = ^ {p.de} kosten")
            who = draw.slot(classes, None, negated=False, dets=("the", "this"))
            return Clause(replace(who, relative=None), f, rng.choice(("pres", "past", "pres")), short=short)
        if kind == "leave":
            at = times.clock(rng)
            f = frame(f"leave {at.en} = salir {at.es} = ^ {at.de} ab|fahren")
            noun = draw.words.noun(rng.choice(("train1x", "bus1x")), rng)
            return Clause(Phrase(noun, "the"), f, rng.choice(("pres", "pres", "past", "fut")), short=short)
        if kind == "rise":
            p = times.percent(rng)
            word = rng.choice((("rise", "subir", "steigen"), ("fall", "bajar", "sinken")))
            f = frame(f"{word[0]} by {p.en} = {word[1]} {p.es} = ^ um {p.de} {word[2]}")
            noun = draw.words.noun("statistic", rng)
            return Clause(
                Phrase(noun, "the", True),
                f,
                "past",
                time=times._zipf(times._PAST[3:4] + times._PAST[6:7], rng),
                short=short,
            )
        if kind == "open":
            at = times.clock(rng)
            word = rng.choice((("open", "abrir", "öffnen"), ("close", "cerrar", "schließen")))
            f = frame(f"{word[0]} {at.en} = {word[1]} {at.es} = ^ {at.de} {word[2]}")
            kindx = {"health": ("pharmacyx",), "nature": ("parkz",)}.get(domain, ("opening",))
            return Clause(draw.slot(kindx, None, negated=False, dets=("the", "this")), f, "pres", short=short)
        if kind == "begin":
            at = times.clock(rng)
            f = frame(f"start {at.en} = empezar {at.es} = ^ {at.de} beginnen")
            noun = draw.words.noun({"school": "schoolevent", "office": "officeevent"}[domain], rng)
            return Clause(Phrase(noun, "the"), f, rng.choice(("pres", "past", "fut")), short=short)
        if kind == "date":
            d = rng.choice((times.date, times.weekday))(rng)
            f = frame(f"be {d.en} = ser {d.es} = ^ {d.de} sein")
            noun = draw.words.noun({"school": "exam", "office": "appointment"}[domain], rng)
            return Clause(Phrase(noun, "the"), f, rng.choice(("pres", "past")), short=short)
        p = times.span("for", rng)
        f = frame(f"last {p.en} = durar {p.es.removeprefix('durante ')} = ^ {p.de.removesuffix(' lang')} dauern")
        return Clause(Phrase(draw.words.noun("storm1", rng), "the"), f, "past", short=short)

    def _request(self, domain: str, short: bool) -> Sentence:
        while True:
            c = self.clause(domain, short=short, bare=True, plain=True)
            if "please" in c.frame.flags or ("st" not in c.frame.flags and commandable(c)):
                break
        you = Phrase(pronoun="you")
        negated = "n-" not in c.frame.flags and self.rng.random() < 0.15
        slots = dict(self._slots(c.frame, you, negated).items())
        return Sentence("please", Clause(you, c.frame, "pres", slots, negated, short=short))

    def _question(self, domain: str, short: bool) -> Sentence:
        rng = self.rng
        kind = rng.choices(("ask", "where", "when", "why", "who", "what"), (52, 10, 10, 9, 9, 10))[0]
        tenses = ("past", "fut", "going") if kind in ("where", "when", "who", "what") else (
            "past", "fut", "can", "want", "must", "pres", "prog", "perf", "going")  # fmt: skip
        for _ in range(200):  # some domains have nothing to ask a *where* for
            c = self.clause(domain, short=short, tenses=tenses, plain=kind in ("who", "what"), bare=kind != "ask")
            if c.subject is None or c.subject.pronoun in ("I", "we") or "st" in c.frame.flags:
                continue
            if c.tense == "pres" and not (c.often or c.time):
                continue
            if kind == "where" and not ("L" in c.frame.options and not {"l", "g"} & set(c.frame.slots)):
                continue
            if kind == "what" and not (whole_object(c) and not c.slots["o"].noun.human and c.frame.en[0] not in _VAGUE):  # type: ignore[union-attr]
                continue
            if kind in ("what", "who", "when", "where") and c.negated:
                continue
            break
        else:
            return Sentence("tell", self.state(domain, short))
        c = replace(c, time_first=False)
        if c.negated and c.often is not None:
            c = replace(c, negated=False, often=None)
        if kind == "when":
            c = replace(c, time=None, often=None)
        if kind == "where":
            c = replace(c, place=None)
        if kind == "what":
            c = replace(c, gap="o")
        return Sentence(kind, c)

    def _reported(self, domain: str, short: bool) -> Sentence:
        """Draws *she says that …*, *I hope that …*, *he wants us to …*, *we don't know whether …*."""
        rng = self.rng
        who = self.drawer.person()
        kind = rng.choice(("say", "say", "think", "hope", "want", "know", "ask", "tell_me", "sure"))
        if kind == "want" or kind == "hope":
            main = frame("want = querer = wollen" if kind == "want" else "hope = esperar = hoffen")
            other = self._another(who)
            c = self.clause(domain, short=short, bare=rng.random() < 0.7, tenses=("fut", "going"), subject=other)
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
        if kind in ("say", "tell_me"):
            past = rng.random() < 0.6
            main = frame("say = decir = sagen")
            other = again(who) if rng.random() < 0.5 else self._another(who)
            tenses = ("past", "wanted") if past else ("past", "fut", "perf", "must", "want", "prog")
            c = self.clause(
                domain, short=short, tenses=("past",) if past and rng.random() < 0.6 else tenses[:6], subject=other
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
            c = self.clause(domain, short=short, tenses=("past", "fut", "must", "should", "perf"))
            return Sentence("tell", Clause(who, main, "pres", short=short), (("that", replace(c, time_first=False)),))
        verb = frame("know = saber = wissen" if kind == "know" else "ask = preguntar = fragen")
        negated = kind == "know"
        name = rng.choice(("whether", "why", "whether", "where" if kind == "know" else "whether"))
        c = self.clause(
            domain, short=short, bare=True, tenses=("past", "fut", "going"), plain=True, subject=self._another(who)
        )
        if name == "where" and not ("L" in c.frame.options and not {"l", "g"} & set(c.frame.slots)):
            name = "why"
        c = replace(c, place=None, negated=c.negated and name == "why", time_first=False)
        if kind == "ask":
            c = replace(c, tense="pperf")
        if c.negated != (name == "why" and c.negated):
            c = replace(c, negated=False)
        tense = "pres" if kind == "know" else "event"
        return Sentence("tell", Clause(who, verb, tense, negated=negated, short=short), ((name, c),))

    def _another(self, who: Phrase) -> Phrase:
        while True:
            other = self.drawer.person()
            if other.pronoun in ("he", "she", "they") or (other.pronoun and other.pronoun == who.pronoun):
                continue
            if other.noun is None or other.noun is not who.noun:
                return other


def own_dets(kinds: tuple[str, ...]) -> bool:
    """Tells whether the slot names its determiners."""
    return any("/" in kind for kind in kinds)


def whole_object(c: Clause) -> bool:
    """Tells whether the object is a plain one in all three languages, so that *what* can replace it."""
    return "o" in c.slots and whole_frame(c.frame)


def whole_frame(f: Frame) -> bool:
    """Tells whether the predicate has a plain object in all three languages."""
    if not all("{o}" in template for template in (f.en, f.es, f.de)):
        return False
    before = f.de[f.de.index("{o}") - 1]
    return before.startswith("{") or before.rpartition("|")[2].endswith(("n", "n_s"))


def commandable(c: Clause) -> bool:
    """Tells whether a predicate makes a sensible request."""
    first = c.frame.en[0]
    return first in _COMMANDS and not c.frame.flags & {"please-", "inv"}


_VAGUE = frozenset(("take", "make", "have", "miss", "put", "get"))
"""Verbs whose translation depends on the object that *what* replaces."""
_COMMANDS = frozenset(
    [
        "cook",
        "bake",
        "make",
        "cut",
        "peel",
        "wash",
        "iron",
        "put",
        "add",
        "clean",
        "tidy",
        "open",
        "close",
        "turn",
        "repair",
        "lay",
        "call",
        "phone",
        "help",
        "water",
        "look",
        "wait",
        "book",
        "take",
        "send",
        "write",
        "answer",
        "read",
        "sign",
        "print",
        "translate",
        "save",
        "delete",
        "prepare",
        "put",
        "cancel",
        "explain",
        "solve",
        "correct",
        "do",
        "draw",
        "learn",
        "bring",
        "show",
        "exchange",
        "return",
        "pay",
        "buy",
        "wear",
        "keep",
        "go",
        "stay",
        "rest",
        "cross",
        "wrap",
        "give",
        "pick",
        "pack",
        "feed",
        "visit",
        "invite",
    ]
)
