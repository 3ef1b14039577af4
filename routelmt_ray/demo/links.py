"""Second clauses that make sense after a first one: reasons, times, conditions, aims."""

import random
from dataclasses import dataclass, replace
from functools import cache

from routelmt_ray.demo import phrases
from routelmt_ray.demo.data import lines
from routelmt_ray.demo.english_text import pronoun_of
from routelmt_ray.demo.frames import frame
from routelmt_ray.demo.thought import Clause, Frame, Phrase

PAST = frozenset(("past", "event", "obliged", "had_to", "could", "wanted", "pprog", "pperf"))
FUTURE = frozenset(("fut", "going", "must", "should", "want", "would", "can"))
_EFFORTS = frozenset(("#cook", "#work", "#study", "#out", "#read", "#play", "#go"))
"""Topics that a tired person leaves for later."""
_GROWN_UP = frozenset(
    ("parents", "grandparents", "mother", "father", "grandmother", "grandfather", "aunt", "uncle", "wife", "husband")
)
"""People whose parents do not come home."""


@dataclass(frozen=True)
class Link:
    """One line of `links.txt`."""

    topic: str
    negated: bool
    connector: str
    subject: str
    after_past: str
    """Tense after a past main clause; `-` where the link does not fit one."""
    otherwise: str
    frame: Frame
    frame_negated: bool


def read_frame(text: str) -> tuple[Frame, bool]:
    """Reads an inline predicate, and whether it starts with *not*."""
    text = text.strip()
    negated = text.startswith("not ")
    return frame(text.removeprefix("not ")), negated


@cache
def load_links() -> dict[tuple[str, bool], tuple[Link, ...]]:
    """Reads the links, by topic and polarity of the main clause."""
    found: dict[tuple[str, bool], list[Link]] = {}
    for line in lines("links.txt"):
        head, connector, who, text = (part.strip() for part in line.split(" | ", 3))
        topic, polarity = head.split()
        subject, tenses = who.split()
        after_past, otherwise = tenses.split("/")
        predicate, negated = read_frame(text)
        link = Link(topic, polarity == "-", connector, subject, after_past, otherwise, predicate, negated)
        found.setdefault((topic, link.negated), []).append(link)
    return {key: tuple(members) for key, members in found.items()}


def again(p: Phrase) -> Phrase:
    """Repeats a participant as a pronoun that Spanish leaves out."""
    if p.pronoun in ("I", "we", "you"):
        return replace(p, silent=True)
    noun = p.noun
    if p.also is not None and p.also.noun is not None and p.also.noun.es_gender == "m":
        noun = p.also.noun  # a pair with one man is masculine in Spanish
    return Phrase(noun, plural=p.many, pronoun=pronoun_of(p), silent=True)


class Linker:
    """Draws links for main clauses."""

    def __init__(self, drawer: phrases.PhraseDrawer) -> None:
        self.drawer = drawer
        self.links = load_links()

    def fitting(self, main: Clause) -> list[Link]:
        """Finds the links that fit a clause; those of its topic count twice."""
        found: list[Link] = []
        for topic in (flag for flag in main.frame.flags if flag.startswith("#")):
            found += self.links.get((topic, main.negated), ()) * 2
        found += self.links.get(("any", main.negated), ())
        return sorted(
            (link for link in found if self._fits(link, main)),
            key=lambda link: (link.frame.key, link.connector, link.topic),
        )

    def link(self, main: Clause, rng: random.Random, connectors: tuple[str, ...] = ()) -> tuple[str, Clause] | None:
        """Draws a connector and a clause that fit `main`, or nothing. `connectors` has those to choose from; empty for
        any."""
        fitting = [
            link for link in self.fitting(main) if not connectors or link.connector.removesuffix(".f") in connectors
        ]
        if not fitting:
            return None
        link = rng.choice(fitting)
        if link.frame.key == "ring" and (
            "#out" in main.frame.flags or rng.random() < 0.75
        ):  # it fits nearly everything
            return None
        return self.build(link, main, rng)

    def _fits(self, link: Link, main: Clause) -> bool:
        past = main.tense in PAST
        tense = link.after_past if past else link.otherwise
        if tense == "-" or (not past and main.tense not in FUTURE | {"prog"}):
            return False
        if link.connector == "so" and main.time is not None and main.time.near:  # *hoy ha perdido … tuvo que*
            return False
        if main.tense == "prog" and tense in ("subj", "perf", "must", "had_to", "fut", "prog"):
            return False
        if link.connector in ("if.f", "when_future") and (
            main.tense not in ("fut", "going", "would", "should") or (main.time is not None and link.subject == "W")
        ):
            return False
        if main.tense in ("prog", "could", "must_not") and link.connector not in ("because", "although"):
            return False
        if link.topic in ("#pass", "#late") and main.tense not in ("past", "perf", "fut"):
            return False
        if main.tense in ("could", "can") and link.frame.key.startswith("feel like"):
            return False
        who = main.subject
        if link.subject == "S" and (who is None or not (who.pronoun or (who.noun is not None and who.noun.human))):
            return False
        topics = {flag for flag in main.frame.flags if flag.startswith("#")}
        if link.topic == "any" and not self._general(link, main, topics):
            return False
        if main.negated and (main.tense not in ("past", "could", "perf", "fut", "can", "prog")):
            return False
        if link.connector == "when_past" and (
            main.tense != "past" or "p-" in main.frame.flags or "T" in main.frame.options or main.negated
        ):
            return False
        if main.time is not None and link.connector.startswith(
            ("before", "after", "when", "as_soon", "until", "while")
        ):
            return False
        if main.negated and link.connector.startswith(("before", "after", "until")):
            return False
        if main.tense in ("wanted", "had_to", "want", "would") and link.connector in (
            "when_past",
            "while",
            "until",
            "as_soon",
        ):
            return False
        o = main.slots.get("o")
        if link.subject == "O" and o is not None and o.adjectives:
            return False
        if link.connector == "until" and link.topic == "#out" and "dur" not in main.frame.flags:
            return False
        if _odd(link, main):
            return False
        if "hungry" in link.frame.key and "b" in main.slots:  # one cooks for others without being hungry
            return False
        if "salty" in link.frame.key and (o is None or o.noun is None or o.noun.kind != "dish"):
            return False
        needs_object = link.subject == "O" or ("=O",) in link.frame.slots.values()
        if needs_object and (
            o is None or o.is_pronoun or o.noun is None or o.noun.human or o.also is not None or o.det == "any"
        ):
            return False
        return link.frame.key.split()[0] != main.frame.key.split()[0]

    @staticmethod
    def _general(link: Link, main: Clause, topics: set[str]) -> bool:
        """Tells whether a link for any topic makes sense here."""
        f = main.frame
        if "person" not in f.subjects or f.flags & {"inv", "st"} or (main.negated and not topics & _EFFORTS):
            return False
        routine = f.domain in ("home", "school") and "T" not in f.options and "once" not in f.flags
        return routine or not link.connector.startswith(("before_same", "after_same", "while"))

    def build(self, link: Link, main: Clause, rng: random.Random) -> tuple[str, Clause]:
        """Builds the clause of a link."""
        tense = link.after_past if main.tense in PAST else link.otherwise
        subject: Phrase | None = None
        if link.subject == "S":
            assert main.subject is not None
            subject = again(main.subject)
        elif link.subject == "O":
            subject = again(main.slots["o"])
        elif link.subject != "W":
            subject = self.outsider(link.subject, main.subject)
            for named in main.slots.values():  # *waits for the train because it is late*
                if named.noun is not None and named.noun is subject.noun:
                    subject = again(named)
        slots = {}
        for letter, kinds in link.frame.slots.items():
            if kinds == ("=S",):
                assert main.subject is not None
                slots[letter] = again(main.subject)
            elif kinds == ("=O",):
                slots[letter] = again(main.slots["o"])
            else:
                slots[letter] = self.drawer.slot(kinds, subject, negated=False)
        connector = {"if.f": "if", "when_past": "when"}.get(link.connector, link.connector)
        if connector == "after_same":
            tense = "pperf" if main.tense in PAST else "perf"
        return connector, Clause(subject, link.frame, tense, slots, link.frame_negated, short=main.short)

    def outsider(self, spec: str, owner: Phrase | None) -> Phrase:
        """Builds a third participant from `class/determiner`, with `.pl` for several."""
        kind, _, det = spec.partition("/")
        det, _, several = det.partition(".")
        noun = self.drawer.words.noun(kind, self.drawer.rng)
        if noun.kind == "someone":
            return Phrase(noun, "name")
        of = ""
        if det == "my":
            of = again(owner).pronoun if owner is not None else "I"
            of = "I" if of == "it" else of
        return Phrase(noun, det or "the", bool(several) or det == "many", of)


def _odd(link: Link, main: Clause) -> bool:
    """Tells whether a pair of clauses is good language but makes no sense."""
    said, begins, tense = link.frame.key, main.frame.key, main.tense
    noun = main.subject.noun if main.subject is not None else None
    if "live there" in said or "again" in said:  # nobody lives in a cathedral
        return "g" not in main.slots
    if link.connector == "purpose" and said.startswith(("visit", "meet")) and "g" not in main.slots:
        return True
    if begins.startswith("add") and "hungry" in said:
        return True
    if link.connector == "as_soon" and begins.startswith(("add", "peel", "cut", "put")):
        return True
    if said.startswith("be open") and begins.startswith("book"):
        return True
    if begins.startswith("add") and "on the table" in said:
        return True
    if begins.startswith(("go on holiday", "move")) and link.connector == "purpose":
        return True
    if "on special offer" in said:  # a restaurant has no sales
        return begins.startswith("order")
    if "sunny" in said:
        return tense in ("must", "had_to") or "sun" in begins or (tense in FUTURE and main.time is not None)
    if link.connector == "although" and said.startswith("have enough time"):
        return tense in ("could", "can")
    if link.connector == "although" and link.subject.startswith("neighbour"):
        return tense in ("should", "must", "had_to")
    if begins.startswith(("go on holiday", "move")):
        return link.subject == "W" or said.startswith("call")
    return link.subject.startswith("parents") and noun is not None and noun.en in _GROWN_UP
