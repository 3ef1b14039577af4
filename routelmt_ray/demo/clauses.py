"""Draws clauses: a predicate with its participants, tense, times and places."""

import random
from dataclasses import replace
from itertools import accumulate
from typing import Any

from routelmt_ray.demo import times
from routelmt_ray.demo.frames import load_frames, own_dets, whole_frame, words_for
from routelmt_ray.demo.phrases import PhraseDrawer
from routelmt_ray.demo.thought import Clause, Frame, Noun, Phrase
from routelmt_ray.demo.vocabulary import Pool

_TENSES = {
    "past": 36, "pres": 10, "prog": 7, "fut": 9, "going": 6, "perf": 5, "must": 4, "had_to": 4, "can": 3, "could": 2,
    "should": 4, "want": 4, "wanted": 2, "would": 3, "used": 3, "must_not": 1,
}  # fmt: skip
_HABIT_DETS = {
    **dict.fromkeys(["fruit", "veg", "fruit1", "reading", "letter", "doc", "writing", "exercise"], "pl"),
    **dict.fromkeys(["dish", "cake", "cookable", "cake1"], "a"), **dict.fromkeys(["food", "drink", "ingredient", "breakfast"], "bare"),
    "family": "my",
    "language": "bare",
    "subject": "bare", "kid": "my", "friend": "my", "goods": "a",
}  # fmt: skip
"""Determiners of what people do again and again: *bread*, *apples*, *the kitchen*."""
_SPOUSES = ("wife", "husband")
_HABITUAL = ("pres", "used")


def several(p: Phrase) -> bool:
    """Tells whether a phrase means more than one person, as *my parents* does."""
    return p.many or (p.noun is not None and "en" in p.noun.pair)


class ClauseDrawer:
    """Draws clauses with one random generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.drawer = PhraseDrawer(rng)
        self.frames: dict[str, list[Pool[Frame]]] = {}
        for (domain, _), pool in load_frames().items():
            self.frames.setdefault(domain, []).append(pool)
        self._sizes = {
            domain: list(accumulate(len(pool.members) for pool in pools)) for domain, pools in self.frames.items()
        }
        self._tenses: dict[int, tuple[tuple[str, ...], list[int]]] = {}
        """Tenses that a predicate allows, with their summed weights, by its identity: all predicates stay loaded."""

    def frame(self, domain: str) -> Frame:
        """Draws a predicate, from the larger pools more often."""
        return self.rng.choices(self.frames[domain], cum_weights=self._sizes[domain])[0].pick(self.rng)

    def tense(self, f: Frame) -> str:
        """Draws a tense that the predicate allows."""
        rng = self.rng
        if "st" in f.flags:
            allowed = f.options.get("T", ("pres", "pres", "state"))
            return rng.choice(allowed)
        if id(f) not in self._tenses:
            self._tenses[id(f)] = self._weighted_tenses(f)
        allowed, sums = self._tenses[id(f)]
        return rng.choices(allowed, cum_weights=sums)[0]

    def _weighted_tenses(self, f: Frame) -> tuple[tuple[str, ...], list[int]]:
        allowed = f.options.get("T", tuple(_TENSES))
        weights = (
            0
            if (tense == "prog" and "p-" in f.flags)
            or (tense == "could" and "n-" in f.flags)
            or (tense in _HABITUAL and "once" in f.flags and "T" not in f.options)
            else _TENSES.get(tense, 3)
            for tense in allowed
        )
        return allowed, list(accumulate(weights))

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
            if (tenses and tense not in tenses) or (tense == "going" and f.en[0] == "go"):
                continue
            if "sing" in f.flags and subject is not None and several(subject):  # *they took their coat off*
                continue
            break
        weather = f.subjects == ("weather",)
        if weather:
            who = None
        elif subject is not None:
            who = subject
        else:
            who = self.drawer.subject(f.subjects, f.options.get("S", ()))
        if "sing" in f.flags and who is not None and several(who):
            who = Phrase(pronoun="she")
        negated = "n-" not in f.flags and tense not in ("used", "had_to", "would", "going") and rng.random() < 0.11
        if tense == "pres" and "st" not in f.flags:
            negated = False  # *does not pick any apples every week*
        if tense == "could":
            negated = "n-" not in f.flags
        if tense == "must_not":
            negated = True
        slots = self.slots(f, who, negated, tense in _HABITUAL and "st" not in f.flags, tense == "prog")
        made = Clause(who, f, tense, slots, negated, short=short)
        return made if bare and tense not in _HABITUAL else self._with_additions(made, bare)

    def with_relative(self, c: Clause, domain: str) -> Clause:
        """Adds *that my sister bought* to the object, where a predicate of the domain fits it."""
        o = c.slots.get("o")
        crowded = (c.time is not None and not c.time_first) or c.place or c.companion or c.manner or c.gap
        if crowded or c.frame.en[-1] != "{o}" or c.frame.es[-1] != "{o}" or o is None or o.noun is None:
            return c
        if o.noun.mass or o.noun.human or o.det not in ("the", "a", "some") or o.owner is not None:
            return c
        for _ in range(30):
            f = self.frame(domain)
            inner = Clause(self.drawer.person(), f, "past", {})
            if (
                "person" not in f.subjects
                or f.en[0] not in words_for("told")
                or f.en[0] == c.frame.en[0]
                or not whole_frame(f)
                or "st" in f.flags
            ):
                continue
            kinds = {kind.partition("/")[0] for kind in f.slots["o"]}
            if not any(
                o.noun in self.drawer.words.nouns[kind].members for kind in kinds
            ) or "past" not in f.options.get("T", ("past",)):
                continue
            assert inner.subject is not None
            if c.subject is not None and inner.subject.noun is c.subject.noun:
                continue
            if inner.subject.pronoun in ("he", "she", "they"):  # whom *sie* means would be open
                continue
            slots = {k: v for k, v in self.slots(f, inner.subject, False).items() if k != "o"}
            relative = replace(inner, slots=slots, gap="o", short=c.short)
            return replace(c, slots={**c.slots, "o": replace(o, det="the", relative=relative)})
        return c

    def slots(
        self, f: Frame, who: Phrase | None, negated: bool, habitual: bool = False, prog: bool = False
    ) -> dict[str, Phrase]:
        """Draws what fills the slots of a predicate."""
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
            if who is not None and who.det == found.det == "my" and found.noun is not None and found.noun.human:
                noun, owner = self.drawer.spouse(found.noun, who.of)
                found = replace(found, noun=noun, of=owner)
            if letter in "dr" and found.plural and found.noun is not None and not found.noun.pair:
                found = replace(found, plural=found.det in ("count", "many", "some", "any", "bare"))
            if letter == "o" and not negated and not own_dets(kinds) and self.rng.random() < 0.04:
                measured = self.drawer.measured(negated)
                if measured is not None and measured.noun is not None and measured.noun.kind in kinds:
                    found = measured
            if prog and found.det == "count" and found.measure is None:
                found = replace(found, det="some")
            slots[letter] = found
        return slots

    def _with_additions(self, c: Clause, bare: bool) -> Clause:
        rng, f = self.rng, c.frame
        changes: dict[str, Any] = {}
        timed, weather = "t-" not in f.flags, f.subjects == ("weather",)
        if weather and c.tense == "pres":
            changes["time"] = times.now_or_today(rng)
        elif "st" in f.flags and c.tense == "pres":
            pass
        elif c.tense in _HABITUAL and timed:
            often = "far" in f.flags or ("day" not in f.flags and rng.random() < 0.45)  # nobody *often has dinner*
            if often and c.tense == "pres" and not c.negated:
                changes["often"] = times.how_often(rng, "far" in f.flags)
            else:
                changes["time"] = times.habit(rng, bool(f.flags & {"far", "#out"}))
                while "day" in f.flags and times.is_part_of_day(changes["time"]):
                    changes["time"] = times.habit(rng, bool(f.flags & {"far", "#out"}))
        elif c.tense == "perf" and not bare:
            if c.negated:
                changes["often"], changes["time"] = times.YET, times.AT_END_YET
            elif rng.random() < 0.6 and "once" not in f.flags:
                changes["often"] = times.ALREADY
        elif timed and not bare and rng.random() < 0.5:
            clock = bool(f.flags & {"#go", "#wait", "day"}) and "far" not in f.flags and not c.negated
            changes["time"] = times.moment(c.tense, rng, clock, "far" in f.flags)
            while "day" in f.flags and times.is_part_of_day(changes["time"]):
                changes["time"] = times.moment(c.tense, rng, False, False)
        if changes.get("time") and c.tense not in ("perf", "prog") and rng.random() < 0.33 and not c.negated:
            changes["time_first"] = True
        manners = f.options.get("M")
        fixed = c.slots.get("o")
        definite = fixed is None or fixed.det in ("the", "this", "my")
        if bare:
            return replace(c, **changes)
        if manners and definite and not c.negated and rng.random() < 0.35:
            changes["manner"] = times.MANNERS[rng.choice(manners)]
        elif "W" in f.flags and not c.negated and rng.random() < 0.25:
            company = self.drawer.person(pronouns=False)
            unlike = c.subject is None or company.noun is not c.subject.noun
            we = c.subject is not None and (c.subject.many or c.subject.pronoun == "you")
            if unlike and company.noun is not None and not (we and company.noun.en in _SPOUSES):
                if company.det == "my" and c.subject is not None:
                    owner = c.subject.of or self.drawer.possessor(c.subject)
                    noun, owner = self.drawer.spouse(company.noun, owner)
                    company = replace(company, noun=noun, of=owner)
                changes["companion"] = company
        places = f.options.get("L")
        if places and not c.negated and "companion" not in changes and rng.random() < 0.3:
            changes["place"] = self.drawer.place(places)
        if "dur" in f.flags and c.tense == "past" and not c.negated and not changes.get("time") and rng.random() < 0.4:
            changes["time"] = times.span("for", rng)
        return replace(c, **changes)

    def another(self, who: Phrase) -> Phrase:
        """Draws someone else than `who`, whom a pronoun could not be mistaken for."""
        while True:
            other = self.drawer.person()
            if other.pronoun in ("he", "she", "they") or (other.pronoun and other.pronoun == who.pronoun):
                continue
            if {who.pronoun, other.pronoun} <= {"I", "we"}:
                continue
            if not _nouns(other) & _nouns(who):
                return other


def _nouns(p: Phrase) -> set[Noun]:
    """Lists the nouns of one phrase or of two joined ones."""
    return {q.noun for q in (p, p.also) if q is not None and q.noun is not None}
