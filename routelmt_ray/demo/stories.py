"""Draws paragraphs: two to six sentences about the same people and things."""

import random
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cache

from routelmt_ray.demo import times
from routelmt_ray.demo.data import sections
from routelmt_ray.demo.english_text import pronoun_of
from routelmt_ray.demo.links import again, read_frame
from routelmt_ray.demo.phrases import PhraseDrawer
from routelmt_ray.demo.thought import Clause, Frame, Noun, Phrase, Sentence, Words

_LATER = times.listed("later")
_SHARED = ("home", "travel", "nature", "shopping")
"""Domains whose stories can happen to *us*."""
_LAST = Words("in the end,", "al final", "am Ende")
_TIMED = frozenset((
    "at", "late", "later", "afternoon", "week", "days", "weeks", "Sunday", "midnight", "after", "early", "every", "before", "find",
    "morning", "hurt", "Monday", "Friday", "Saturday", "for", "twice", "night", "all", "internet",
))  # fmt: skip
"""Words of predicates that say when, so that they need no *then*."""
_DRAWS = 16
"""Times a sentence is drawn until it is accepted."""


@dataclass(frozen=True)
class Step:
    """One line of a story."""

    subject: str
    tense: str
    choices: tuple[tuple[Frame, bool], ...]
    """Predicates to choose from, each with whether it is negated."""
    optional: str
    """`?` for a line that may be left out, `&` and `+` for one that needs the line before it."""
    connector: str = ""
    """Connector of a line that is the second clause of the sentence before it."""


@dataclass(frozen=True)
class Story:
    """The lines of a story and the class of its second participant."""

    domain: str
    second: str
    steps: tuple[Step, ...]


@cache
def load_stories() -> dict[str, tuple[Story, ...]]:
    """Reads the stories, by domain."""
    found: dict[str, list[Story]] = {}
    for head, members in sections("stories.txt"):
        domain, second = head.split()
        story = Story(domain, second.removeprefix("B="), tuple(_step(line) for line in members))
        found.setdefault(domain, []).append(story)
    return {domain: tuple(stories) for domain, stories in found.items()}


def _step(line: str) -> Step:
    optional = line[:2].strip() if line[:2] in ("? ", "& ", "+ ") else ""
    who, text = line.removeprefix("? ").removeprefix("& ").removeprefix("+ ").split(" | ", 1)
    *connector, subject, tense = who.split()
    return Step(subject, tense, tuple(read_frame(part) for part in text.split(" // ")), optional, "".join(connector))


class Narrator:
    """Tells stories with one random generator."""

    def __init__(self, drawer: PhraseDrawer) -> None:
        self.drawer = drawer
        self.rng: random.Random = drawer.rng
        self.stories = load_stories()

    def paragraph(
        self, domain: str, least: int = 2, most: int = 6, accept: Callable[[Sentence], bool] = lambda _: True
    ) -> list[Sentence]:
        """Tells a part of a story of the domain. `accept` tells whether a sentence may be used; where none of several
        fits a step, the story ends before it."""
        while True:
            told = self._told(domain, accept)[: self.rng.randint(least, most)]
            if len(told) >= least:
                return told

    def _told(self, domain: str, accept: Callable[[Sentence], bool]) -> list[Sentence]:
        rng = self.rng
        story = rng.choice(self.stories[domain])
        steps: list[Step] = []
        for before, step in zip((None, *story.steps), story.steps):
            told_before = bool(steps) and steps[-1] is before
            if not step.optional or (rng.random() < 0.7 and (step.optional == "?" or told_before)):
                steps.append(step)
        told = _Telling(self.drawer, story)
        sentences: list[Sentence] = []
        # A sentence and its second clause are accepted or drawn again together.
        groups: list[list[tuple[int, Step]]] = []
        for i, step in enumerate(steps):
            if step.connector:
                groups[-1].append((i, step))
            else:
                groups.append([(i, step)])
        for group in groups:
            for _ in range(_DRAWS):
                kept = told.copy()
                sentence, *second = [told.say(step, i, len(steps)) for i, step in group]
                if second:
                    sentence = replace(sentence, links=((group[1][1].connector, second[0].main),))
                if accept(sentence):
                    sentences.append(sentence)
                    break
                told = kept
            else:
                break
        return self._joined(sentences, accept)

    def _joined(self, sentences: list[Sentence], accept: Callable[[Sentence], bool]) -> list[Sentence]:
        """Joins some neighbours that have the same subject with *and*."""
        made: list[Sentence] = []
        for sentence in sentences:
            before = made[-1] if made else None
            same = (
                before is not None
                and not before.links
                and sentence.main.subject is not None
                and sentence.main.subject.silent
                and before.main.subject is not None
                and pronoun_of(before.main.subject) == pronoun_of(sentence.main.subject)
                and before.main.tense == sentence.main.tense == "past"
                and sentence.opening is None
                and before.main.frame.en[0] != sentence.main.frame.en[0]
                and before.main.frame.de[0].removesuffix("_s") != sentence.main.frame.de[0].removesuffix("_s")
                and "it" not in [p.pronoun for p in sentence.main.slots.values()]
            )
            if before is not None and same and self.rng.random() < 0.5:
                joined = replace(before, links=(("and_same", sentence.main),))
                if accept(joined):
                    made[-1] = joined
                    continue
            made.append(sentence)
        return made


class _Telling:
    """Keeps who and what has been named in one paragraph."""

    def __init__(self, drawer: PhraseDrawer, story: Story) -> None:
        self.drawer, self.rng, self.story = drawer, drawer.rng, story
        rng = self.rng
        draw = rng.random()
        words = drawer.words
        if draw < 0.35:
            first = Phrase(pronoun=rng.choice(("I", "I", "we") if story.domain in _SHARED else ("I",)))
        elif draw < 0.75:
            first = Phrase(words.noun(rng.choice(("name.f", "name.m")), rng), "name")
        else:
            noun, of = drawer.spouse(
                words.noun("young" if story.domain == "school" else "family", rng), rng.choice(("I", "I", "we"))
            )
            while noun.pair:  # parents have no story of their own
                noun = words.noun("young", rng)
            first = Phrase(noun, "my", of=of)
        owner = pronoun_of(first)
        second = first
        while second is first or second.noun is first.noun or (second.noun is not None and unfit(second.noun, owner)):
            noun = words.noun(story.second, rng)
            if owner not in ("we", "they"):
                noun, owner = drawer.spouse(noun, owner)
            second = Phrase(noun, "the" if story.second in ("boss", "official") else "my", of=owner)
            if first.noun is None and not unfit(noun, owner):
                break
        self.people = {"A": first, "B": second}
        self.known: dict[str, Phrase] = {}
        self.named: set[str] = set()
        self.last_subject = ""
        self.last_thing = ""
        self.openings: list[Words] = []
        self.opened = self.joined = False
        self.short = rng.random() < 0.5

    def copy(self) -> "_Telling":
        """Keeps the state before a sentence that may be drawn again."""
        kept = copy(self)
        kept.known, kept.named, kept.openings = dict(self.known), set(self.named), list(self.openings)
        return kept

    def say(self, step: Step, index: int, total: int) -> Sentence:
        """Builds the sentence of one step."""
        f, negated = self.rng.choice(step.choices)
        slots: dict[str, Phrase] = {}
        self.joined = bool(step.connector)
        subject = self._subject(step.subject)
        thing = ""
        for letter, kinds in f.slots.items():
            kind, _, name = kinds[0].partition("=")
            if name in ("A", "B"):
                slots[letter] = self._participant(name)
            elif name and name in self.known:
                plain = letter == "o" and "{o}" in f.es
                slots[letter] = self._thing(name, plain)
                thing = name
            elif letter in "lg":
                slots[letter] = self.drawer.place((kind,))
            else:
                slots[letter] = self.drawer.slot((kind,), self.people["A"], negated=False)
                if name:
                    self.known[name] = slots[letter]
                    thing = name
        self.last_thing = thing or (step.subject if step.subject == "K" else "")
        c = Clause(subject, f, step.tense, slots, negated, short=self.short)
        self.last_subject = step.subject
        opening = None
        timed = bool(_TIMED & set(f.en))
        if index == 0 and not timed and step.tense in ("past", "had_to") and self.rng.random() < 0.6:
            c = replace(c, time=times.story_time(self.story.domain in ("travel", "nature"), self.rng), time_first=True)
        elif (
            not step.connector
            and index > 1
            and step.subject in ("A", "B")
            and step.tense == "past"
            and not timed
            and not self.opened
            and self.rng.random() < 0.25
        ):
            last = index == total - 1
            opening = _LAST if last else self._later()
        self.opened = opening is not None
        return Sentence("tell", c, opening=opening)

    def _later(self) -> Words:
        """Draws *later* or *after that*, each at most once in a paragraph while others are left."""
        fresh = [words for words in _LATER if words not in self.openings] or _LATER
        self.openings.append(self.rng.choice(fresh))
        return self.openings[-1]

    def _subject(self, name: str) -> Phrase | None:
        if name == "W":
            return None
        if name == "K":
            known = self.known["K"]
            return again(known) if self.last_thing == "K" else definite(known)
        if name in self.people:
            return self._participant(name, as_subject=True)
        kind, _, det = name.partition("/")
        det, _, several = det.partition(".")
        noun = self.drawer.words.noun(kind, self.rng)
        first = self.people["A"]
        if det == "my" and "A" not in self.named and not first.pronoun:  # *Leon's dog* before *his dog*
            self.named.add("A")
            return Phrase(noun, "the", owner=first)
        of = pronoun_of(first) if det == "my" else ""
        return Phrase(noun, det or "the", bool(several) or det == "many", of)

    def _participant(self, name: str, as_subject: bool = False) -> Phrase:
        p = self.people[name]
        first = name not in self.named
        self.named.add(name)
        if p.pronoun:
            return replace(p, silent=True)
        if first:
            return p
        other = self.people["B" if name == "A" else "A"]
        clear = pronoun_of(other) != pronoun_of(p) and self.last_subject in ("A", "B", "W")
        if as_subject and self.last_subject == name:
            return again(p)
        if clear and (self.joined or self.rng.random() < 0.6):
            return replace(again(p), silent=False)
        return p

    def _thing(self, name: str, plain: bool) -> Phrase:
        known = self.known[name]
        if plain and self.last_thing == name:
            return again(known)
        return definite(known)


def unfit(noun: Noun, owner: str) -> bool:
    """Tells whether someone cannot be the second participant: parents, and a wife of two people."""
    return "en" in noun.pair or (owner in ("we", "they") and noun.en in ("wife", "husband"))


def definite(p: Phrase) -> Phrase:
    """Repeats a thing that was named before: *a cake* becomes *the cake*."""
    if p.det == "my":
        return replace(p, adjectives=())
    return replace(p, det="the", adjectives=(), count=0, measure=None)
