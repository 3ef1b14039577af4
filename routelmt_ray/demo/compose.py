"""Draws sentences about a domain."""

import random
from dataclasses import replace

from routelmt_ray.demo import dialogue, statements, times
from routelmt_ray.demo.clauses import ClauseDrawer
from routelmt_ray.demo.frames import whole_frame, words_for
from routelmt_ray.demo.links import Linker, again
from routelmt_ray.demo.thought import Clause, Sentence

DOMAINS = ("home", "travel", "shopping", "office", "school", "city", "nature", "health")
"""Subjects of the corpus, most frequent first."""
_OPENINGS = times.listed("openings")
_LEADING = ("when_future", "if", "although", "as_soon")
"""Connectors of clauses that can open a sentence."""
_TEMPORAL = ("before", "before_same", "after_same", "until", "while")


class Composer:
    """Draws sentences with one random generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.clauses = ClauseDrawer(rng)
        self.drawer = self.clauses.drawer
        self.linker = Linker(self.drawer)

    def sentence(self, domain: str) -> Sentence:
        """Draws one sentence about `domain`."""
        rng = self.rng
        short = rng.random() < 0.7
        draw = rng.random()
        if draw < 0.08:
            return dialogue.request(self.clauses, domain, short)
        if draw < 0.21:
            return dialogue.question(self.clauses, domain, short)
        if draw < 0.30:
            return Sentence("tell", statements.state(self.drawer, domain, short))
        if draw < 0.42:
            return self._longer(dialogue.reported(self.clauses, domain, short))
        if draw < 0.48:
            return Sentence("tell", statements.fact(self.drawer, domain, short))
        if draw < 0.54:
            return self._meanwhile(domain, short)
        if draw < 0.58:
            return self._contrast(domain, short)
        if draw < 0.63:
            return self._described(domain, short)
        return self._statement(domain, short, linked=draw < 0.87)

    def _statement(self, domain: str, short: bool, linked: bool) -> Sentence:
        """Draws a statement, with a second clause where one fits."""
        rng = self.rng
        for _ in range(20):
            main = self.clauses.clause(domain, short=short, bare=linked and rng.random() < 0.7)
            if not linked:
                known = main.subject is not None and main.subject.pronoun in ("I", "we", "you")
                opens = (
                    not known and not main.time_first and main.tense in ("past", "perf", "could") and rng.random() < 0.1
                )
                opens = opens and "inv" not in main.frame.flags
                opening = _OPENINGS[1 if main.negated else rng.choice((0, 2))]
                return Sentence("tell", main, opening=opening if opens else None)
            link = self.linker.link(replace(main, time_first=False), rng)
            if link is not None:
                if link[0] == "when":
                    o = main.slots.get("o")
                    if o is not None and o.det == "count" and o.measure is None:
                        main = replace(main, slots={**main.slots, "o": replace(o, det="some")})
                    main = replace(main, tense="pprog")
                second = self._second(main, link)
                if second is not None:
                    main, second = self._swap(replace(main, time_first=False), second)
                    return Sentence("tell", main, (link, second), True)
                first = link[0] in _LEADING and not _names_thing(link[1]) and rng.random() < 0.35
                main = replace(main, time_first=main.time_first and not first)
                if first:
                    main, link = self._swap(main, link)
                return Sentence("tell", main, (link,), first)
        return Sentence("tell", self.clauses.clause(domain, short=short))

    def _second(self, main: Clause, link: tuple[str, Clause]) -> tuple[str, Clause] | None:
        """Draws one more clause, to stand first: *although it was cold, they swam because …*."""
        if main.negated or link[0] in (*_LEADING, "and_same", "but", "so", "when"):
            return None
        other = self.linker.link(replace(main, time_first=False), self.rng, _LEADING)
        if other is None or other[1].frame is link[1].frame or _names_thing(other[1]):
            return None
        if other[0] in ("as_soon", "when_future") and link[0] in (*_TEMPORAL, "because"):
            return None
        subjects = [x[1].subject for x in (other, link)]
        alike = subjects[0] is subjects[1] is None or all(
            p is not None and p.pronoun in ("it", "they") for p in subjects
        )
        return None if alike else other

    def _described(self, domain: str, short: bool) -> Sentence:
        """Draws a statement about a thing with a relative clause: *the book that my sister wrote*."""
        for _ in range(30):
            main = self.clauses.clause(domain, short=short, bare=True)
            if main.frame.en[0] in words_for("told") or main.tense in ("pres", "used"):
                continue
            made = self.clauses.with_relative(main, domain)
            if made is not main:
                return Sentence("tell", made)
        return self._statement(domain, short, linked=True)

    def _swap(self, main: Clause, link: tuple[str, Clause]) -> tuple[Clause, tuple[str, Clause]]:
        """Names the subject in the clause that comes first, and lets the second have the pronoun."""
        name, linked = link
        if main.subject is None or linked.subject is None or not linked.subject.silent:
            return main, link
        if linked.subject.noun is not main.subject.noun:
            return main, link
        return replace(main, subject=again(main.subject)), (name, replace(linked, subject=main.subject))

    def _longer(self, sentence: Sentence) -> Sentence:
        """Adds a third clause to what somebody says."""
        name, told = sentence.links[0]
        if name != "that" or told.time is not None or self.rng.random() < 0.3:
            return sentence
        plain = replace(told, tense="past" if told.tense == "pperf" else "fut" if told.tense == "hoped" else told.tense)
        link = self.linker.link(plain, self.rng)
        if link is None or link[0] in ("when", "and_same", "but", "so", "after_same"):
            return sentence
        return replace(sentence, links=((name, told), link))

    def _meanwhile(self, domain: str, short: bool) -> Sentence:
        """Draws two things that happened at the same time."""
        rng = self.rng
        for _ in range(40):
            one = self.drawer.person(pronouns=False)
            two = self.clauses.another(one)
            if two.pronoun:
                continue
            main = self.clauses.clause(domain, short=short, bare=True, plain=True, tenses=("past",), subject=one)
            other = self.clauses.clause(domain, short=short, bare=True, plain=True, tenses=("past",), subject=two)
            stiff = {"p-", "inv", "once", "far"}
            if (main.frame.flags | other.frame.flags) & stiff or main.negated or other.negated:
                continue
            if main.frame is other.frame or main.frame.en[0] == other.frame.en[0]:
                continue
            where = [{p.noun for letter, p in c.slots.items() if letter in "ld"} for c in (main, other)]
            if where[0] & where[1]:  # *worked in the garden while he picked roses in the garden*
                continue
            first = rng.random() < 0.4
            return Sentence(
                "tell", replace(main, tense="meanwhile"), (("while", replace(other, tense="meanwhile")),), first
            )
        return Sentence("tell", self.clauses.clause(domain, short=short))

    def _contrast(self, domain: str, short: bool) -> Sentence:
        """Draws two people who do the same with different things: *Anna ordered tea, but David ordered coffee*."""
        rng = self.rng
        for _ in range(40):
            main = self.clauses.clause(domain, short=short, bare=True, plain=True, tenses=("past", "fut", "want"))
            o, subject = main.slots.get("o"), main.subject
            named = subject is not None and not subject.pronoun
            if not named or main.negated or o is None or o.noun is None or o.noun.human or not whole_frame(main.frame):
                continue
            assert subject is not None
            if set(main.slots) != {"o"}:
                continue
            second = self.clauses.another(subject)
            slots = self.clauses.slots(main.frame, second, False)
            other = slots["o"].noun
            if {o.noun.en, "" if other is None else other.en} & statements.WHOLE_KINDS:
                continue
            if second.pronoun or other is None or other.en in o.noun.en or o.noun.en in other.en:
                continue
            name = rng.choice(("and", "but"))
            return Sentence("tell", main, ((name, replace(main, subject=second, slots=slots)),))
        return Sentence("tell", self.clauses.clause(domain, short=short))


def _names_thing(c: Clause) -> bool:
    """Tells whether a clause is about a thing that another clause has to name before: *although it was cheap*."""
    p = c.subject
    return p is not None and p.pronoun in ("it", "they") and not (p.noun is not None and p.noun.human)
