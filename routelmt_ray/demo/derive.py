"""Draws meanings: a random `InventedSentence` in a domain, with Zipfian words."""

from __future__ import annotations

import random

from routelmt_ray.demo.lexicon import DOMAINS, Lexeme, Lexicon
from routelmt_ray.demo.meaning import InventedClause, InventedSentence, NounPhrase, Place, Time

_PRONOUNS = ("I", "we", "he", "she", "they", "you")
_DETERMINERS = (
    ("the",) * 10 + ("a",) * 6 + ("this",) * 2 + ("my",) * 3 + ("your", "his", "her", "our", "their", "every")
)
_PAST_TIMES = ("yesterday", "last", "ago", "for", "weekday", "month", "date", "clock")
_OTHER_TIMES = ("tomorrow", "today", "next", "every", "in", "weekday", "date", "clock")
_MOODS = ("past",) * 10 + ("future",) * 4 + ("present",) * 3 + ("can", "must", "should", "want")


class Deriver:
    """Draws sentences from a lexicon with one random generator.

    Args:
        lexicon: The words.
        rng: Source of all chance; the same state gives the same sentences.
    """

    def __init__(self, lexicon: Lexicon, rng: random.Random) -> None:
        self._lexicon = lexicon
        self._rng = rng

    def sentence(self, domain: str) -> InventedSentence:
        """Draws one sentence about `domain`."""
        rng = self._rng
        kind = rng.choices(("tell", "ask", "where", "who", "please"), (78, 9, 4, 3, 6))[0]
        if kind == "please":
            main = self._request(domain)
        elif kind in ("where", "who"):
            main = self._action(domain, rng.choice(("past", "past", "future", "can")), depth=1)
        else:
            main = self.clause(domain, depth=0, top=True)
        joined: tuple[tuple[str, InventedClause], ...] = ()
        subordinate = None
        extra = rng.random()
        if extra < 0.16:
            joined = ((rng.choice(("and", "but", "so")), self.clause(domain, depth=1)),)
        if 0.12 < extra < 0.36 and kind != "who":
            word = rng.choice(("because", "when", "if", "before", "after", "although"))
            subordinate = (word, self.clause(domain, depth=1, mood="present" if word == "if" else "past"))
        if kind != "tell":
            joined = ()
        first = subordinate is not None and kind == "tell" and rng.random() < 0.4
        time_first = kind == "tell" and not first and main.time is not None and rng.random() < 0.35
        return InventedSentence(kind, main, joined, subordinate, first, time_first)

    def clause(self, domain: str, *, depth: int, mood: str = "", top: bool = False) -> InventedClause:
        """Draws one clause; `depth` counts the clauses around it and keeps nesting small.

        Args:
            domain: Subject of the vocabulary.
            depth: 0 for a main clause.
            mood: Fixed mood, or empty for any.
            top: Whether a clause of saying may be drawn.
        """
        rng = self._rng
        mood = mood or rng.choice(_MOODS)
        draw = rng.random()
        if top and draw < 0.10:
            said = self.clause(domain, depth=1)
            verb = self._lexicon.pool("verb", "say").pick(rng)
            subject = self._person(depth + 1)
            return InventedClause(subject, verb, self._fit(rng.choice(("past", "past", "present")), subject), said=said)
        if draw < 0.26:
            return self._state(domain, mood, depth)
        if draw < 0.31:
            price = NounPhrase(noun=self._lexicon.pool("currency").pick(rng), price=self._amount())
            mood = mood if mood in ("past", "future", "present") else "present"
            return InventedClause(self._thing(domain, depth, determined=True), None, mood, rng.random() < 0.1, price)
        return self._action(domain, mood, depth)

    def _action(self, domain: str, mood: str, depth: int) -> InventedClause:
        rng = self._rng
        subject = self._person(depth)
        mood = self._fit(mood, subject)
        negated = rng.random() < 0.12
        time = self._time(mood) if rng.random() < 0.38 else None
        adverb = self._lexicon.pool("adverb").pick(rng) if mood == "past" and rng.random() < 0.14 else None
        draw = rng.random()
        if draw < 0.16:
            verb = self._lexicon.pool("verb", "motion").pick(rng)
            goal = Place(rng.choice(("to", "to", "to", "from", "through")), self._where(domain))
            return InventedClause(subject, verb, mood, negated, adverb=adverb, place=goal, time=time)
        if draw < 0.28:
            verb = self._lexicon.pool("verb", "rest").pick(rng)
            place = self._place(domain) if rng.random() < 0.8 else None
            return InventedClause(subject, verb, mood, negated, adverb=adverb, place=place, time=time)
        thing = self._thing(domain, depth)
        if draw < 0.39:
            verb = self._lexicon.pool("verb", "give").pick(rng)
            return InventedClause(subject, verb, mood, negated, thing, self._person(depth + 1), time=time)
        verb = self._lexicon.pool("verb", domain).pick(rng)
        place = self._place(domain) if rng.random() < 0.22 else None
        return InventedClause(subject, verb, mood, negated, thing, adverb=adverb, place=place, time=time)

    def _state(self, domain: str, mood: str, depth: int) -> InventedClause:
        rng = self._rng
        mood = mood if mood in ("past", "future", "present") else "present"
        time = self._time(mood) if rng.random() < 0.2 else None
        if rng.random() < 0.35:
            subject = self._person(depth)
            adjective = self._lexicon.pool("adj", "person").pick(rng)
        else:
            subject = self._thing(domain, depth, determined=True)
            if rng.random() < 0.25:
                return InventedClause(subject, None, mood, rng.random() < 0.15, place=self._place(domain), time=time)
            adjective = self._adjective(domain)
        degree = rng.choice(("", "", "very", "too"))
        return InventedClause(subject, None, mood, rng.random() < 0.15, adjective=adjective, degree=degree, time=time)

    def _request(self, domain: str) -> InventedClause:
        rng = self._rng
        you = NounPhrase(pronoun="you")
        thing = self._thing(domain, 0)
        if rng.random() < 0.5:
            verb = self._lexicon.pool("verb", "give").pick(rng)
            recipient = NounPhrase(pronoun="I") if rng.random() < 0.6 else self._person(1)
            return InventedClause(you, verb, "present", object=thing, recipient=recipient)
        verb = self._lexicon.pool("verb", domain).pick(rng)
        place = self._place(domain) if rng.random() < 0.3 else None
        return InventedClause(you, verb, "present", rng.random() < 0.2, thing, place=place)

    def _fit(self, mood: str, subject: NounPhrase) -> str:
        """Replaces the present by the past after a third person singular, whose verb form is not in the lists."""
        singular = (subject.noun is not None and not subject.plural) or subject.pronoun in ("he", "she")
        return "past" if mood == "present" and singular else mood

    def _person(self, depth: int) -> NounPhrase:
        rng = self._rng
        draw = rng.random()
        if draw < 0.34:
            return NounPhrase(pronoun=rng.choice(_PRONOUNS))
        if draw < 0.50:
            return NounPhrase(noun=self._lexicon.pool("name").pick(rng))
        noun = self._lexicon.pool("person").pick(rng)
        adjective = (self._lexicon.pool("adj", "person").pick(rng),) if rng.random() < 0.22 else ()
        relative = None
        if depth == 0 and rng.random() < 0.13:
            relative = self._relative(rng.choice(DOMAINS), "subject")
        return self._determined(noun, adjective, relative)

    def _thing(self, domain: str, depth: int, determined: bool = False) -> NounPhrase:
        rng = self._rng
        source = domain if rng.random() < 0.85 else rng.choice(DOMAINS)
        noun = self._lexicon.pool("thing", source).pick(rng)
        adjectives: list[Lexeme] = []
        draw = rng.random()
        if draw < 0.45:
            adjectives.append(self._adjective(source))
        if draw < 0.08:
            more = self._adjective(source)
            if more is not adjectives[0]:
                adjectives.append(more)
        if not determined and source == "food" and rng.random() < 0.15:
            measure = self._lexicon.pool("measure").pick(rng)
            return NounPhrase(
                noun=noun, plural=True, count=self._count(), measure=measure, adjectives=tuple(adjectives)
            )
        relative = self._relative(domain, "object") if depth == 0 and rng.random() < 0.10 else None
        if rng.random() < 0.08:
            owner = self._owner()
            return NounPhrase(
                noun=noun,
                plural=rng.random() < 0.25,
                adjectives=tuple(adjectives),
                owner=owner,
                relative=relative,
            )
        return self._determined(noun, tuple(adjectives), relative)

    def _owner(self) -> NounPhrase:
        if self._rng.random() < 0.6:
            return NounPhrase(noun=self._lexicon.pool("name").pick(self._rng))
        return NounPhrase(noun=self._lexicon.pool("person").pick(self._rng), det="the")

    def _determined(self, noun: Lexeme, adjectives: tuple[Lexeme, ...], relative: InventedClause | None) -> NounPhrase:
        rng = self._rng
        if rng.random() < 0.13:
            count = self._count()
            return NounPhrase(noun=noun, plural=count > 1, count=count, adjectives=adjectives, relative=relative)
        det = rng.choice(_DETERMINERS)
        plural = det not in ("a", "every") and rng.random() < 0.3
        return NounPhrase(noun=noun, plural=plural, det=det, adjectives=adjectives, relative=relative)

    def _count(self) -> int:
        rng = self._rng
        return (
            rng.randint(2, 5)
            if rng.random() < 0.6
            else rng.randint(6, 12)
            if rng.random() < 0.6
            else rng.randint(13, 400)
        )

    def _relative(self, domain: str, gap: str) -> InventedClause:
        """A short clause without the part that the head noun plays (a stand-in fills it)."""
        rng = self._rng
        mood = rng.choice(("past", "past", "future"))
        verb = self._lexicon.pool("verb", domain).pick(rng)
        head = NounPhrase(pronoun="he")
        place = self._place(domain) if rng.random() < 0.2 else None
        if gap == "subject":
            return InventedClause(head, verb, mood, object=self._thing(domain, 1), place=place, gap=gap)
        return InventedClause(self._person(1), verb, mood, object=head, place=place, gap=gap)

    def _adjective(self, domain: str) -> Lexeme:
        return self._lexicon.pool("adj", domain if self._rng.random() < 0.4 else "general").pick(self._rng)

    def _where(self, domain: str) -> NounPhrase:
        rng = self._rng
        if rng.random() < (0.5 if domain == "travel" else 0.2):
            return NounPhrase(noun=self._lexicon.pool("city").pick(rng))
        noun = self._lexicon.pool("place", domain if rng.random() < 0.7 else rng.choice(DOMAINS)).pick(rng)
        adjectives = (self._adjective(domain),) if rng.random() < 0.2 else ()
        return NounPhrase(noun=noun, det=rng.choice(("the", "the", "the", "a", "this", "our")), adjectives=adjectives)

    def _place(self, domain: str) -> Place:
        phrase = self._where(domain)
        if phrase.noun is not None and phrase.noun.category == "city":
            return Place("in", phrase)
        return Place(self._rng.choice(("in", "in", "at", "near", "behind", "outside")), phrase)

    def _time(self, mood: str) -> Time:
        rng = self._rng
        kind = rng.choice(_PAST_TIMES if mood == "past" else _OTHER_TIMES)
        if kind in ("last", "next", "every"):
            return Time(kind, self._lexicon.pool("period").pick(rng))
        if kind in ("ago", "in", "for"):
            return Time(kind, self._lexicon.pool("period").pick(rng), count=self._count())
        if kind == "weekday":
            return Time(kind, self._lexicon.pool("weekday").pick(rng))
        if kind == "month":
            return Time(kind, self._lexicon.pool("month").pick(rng))
        if kind == "date":
            year = rng.randint(1950, 2029) if rng.random() < 0.4 else 0
            return Time(kind, self._lexicon.pool("month").pick(rng), count=rng.randint(1, 28), year=year)
        if kind == "clock":
            return Time(kind, clock=f"{rng.randint(1, 23)}:{rng.choice((0, 15, 20, 30, 40, 45, 55)):02d}")
        return Time(kind)

    def _amount(self) -> str:
        rng = self._rng
        if rng.random() < 0.5:
            return str(rng.randint(2, 999))
        return f"{rng.randint(1, 99)}.{rng.randint(0, 99):02d}"
