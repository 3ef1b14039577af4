"""Draws people and things: noun phrases with determiners, adjectives and owners."""

import random
from dataclasses import replace

from routelmt_ray.demo.english_text import pronoun_of
from routelmt_ray.demo.thought import Adjective, Noun, Phrase
from routelmt_ray.demo.vocabulary import load_vocabulary

_OWN = frozenset(
    """
clothes shoes goods furniture vehicle luggage pet stationery device key goods1 suitcase device1 building3
""".split()
)
"""Classes of things that people call theirs."""
_NO_ADJECTIVE = frozenset(
    """
name.f name.m title family kid ache bodypart limb square1 pupil2 reply factory1 outfit
""".split()
)
_SINGLE = frozenset(
    ("room1x", "street", "square1", "bridge", "lamp", "transport", "appliance", "heat", "instrument", "weather_event")
    + ("limb", "doctor1")
)
"""Classes whose nouns are drawn in the singular only."""
_ONLY_ONE = frozenset(
    """
headmistress mayor president boss mother father grandmother grandfather wife husband passport
""".split()
)


class PhraseDrawer:
    """Draws noun phrases with one random generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.words = load_vocabulary()

    def person(self, *, pronouns: bool = True) -> Phrase:
        """Draws someone who acts: a pronoun, a name, a relative or a friend."""
        rng = self.rng
        draw = rng.random()
        if pronouns and draw < 0.45:
            return Phrase(pronoun=rng.choices(("I", "we", "you", "he", "she", "they"), (10, 8, 3, 7, 7, 4))[0])
        if draw < 0.62:
            return self.named()
        if draw < 0.9:
            noun, of = self.spouse(self.words.noun("family", rng), self._anyone())
            return Phrase(noun, "my", of=of)
        friend = self.words.noun("friend", rng)
        return Phrase(friend, "my", of=self._anyone(), plural=rng.random() < 0.2)

    def spouse(self, noun: Noun, of: str) -> tuple[Noun, str]:
        """Replaces husbands and wives that would not fit their owner."""
        if noun.en not in ("wife", "husband"):
            return noun, of
        if of in ("we", "they", "you"):  # two people have no wife together
            return next(n for n in self.words.nouns["family"].members if n.en == "sister"), of
        wanted = "husband" if of == "she" else "wife"
        return next(n for n in self.words.nouns["family"].members if n.en == wanted), of

    def _anyone(self) -> str:
        return self.rng.choices(("I", "we"), (10, 4))[0]  # *his* or *your* would mean the subject in Spanish

    def named(self) -> Phrase:
        """Draws a first name, or two of them."""
        rng = self.rng
        first = Phrase(self.words.noun(rng.choice(("name.f", "name.m")), rng), "name")
        if rng.random() < 0.1:
            second = Phrase(self.words.noun(rng.choice(("name.f", "name.m")), rng), "name")
            if second.noun is not first.noun:
                return replace(first, also=second)
        return first

    def subject(self, kinds: tuple[str, ...], dets: tuple[str, ...]) -> Phrase:
        """Draws the subject of a frame."""
        kind = self.rng.choice(kinds)
        if kind == "person":
            return self.person()
        if kind == "title":
            return Phrase(self.words.noun("title", self.rng), "name")
        noun = self.words.noun(kind, self.rng)
        if kind == "family":
            noun, of = self.spouse(noun, self._anyone())
            return Phrase(noun, "my", of=of)
        return self.around(noun, kind, dets or ("the",), Phrase(pronoun="I"), adjective=0.12, human_plural=True)

    def slot(
        self, kinds: tuple[str, ...], subject: Phrase | None, *, negated: bool, dets: tuple[str, ...] = ()
    ) -> Phrase:
        """Draws what fills a slot, given the classes and determiners of the frame."""
        choice = self.rng.choice(kinds)
        kind, _, own = choice.partition("/")
        allowed = tuple(own.split(",")) if own else dets
        if kind == "person":
            return self.person(pronouns=False)
        noun = self.words.noun(kind, self.rng)
        return self.around(noun, kind, allowed, subject, negated=negated)

    def around(
        self,
        noun: Noun,
        kind: str,
        dets: tuple[str, ...],
        subject: Phrase | None,
        *,
        negated: bool = False,
        adjective: float = 0.22,
        human_plural: bool = False,
    ) -> Phrase:
        """Builds a phrase around a noun: determiner, number, adjectives."""
        rng = self.rng
        det = "name" if noun.kind in ("city", "country") else self._determiner(noun, kind, dets, negated)
        single = kind in _SINGLE or noun.kind in _SINGLE or noun.en in _ONLY_ONE
        if single and det in ("some", "any", "many", "all", "count", "pl"):
            det = "the"
        if noun.kind == "dish" and det == "any":  # nobody cooks *no soups*
            det = "the"
        several = det in ("some", "any", "many", "all") and not noun.mass
        count, digits = 0, False
        if det == "count":
            large = kind in ("fruit", "veg", "cherryx")
            count = rng.choice((2, 3, 4, 5, 6, 8, 10, 12, 15, 20) if large else (2, 2, 2, 3, 3, 4))
            several, digits = True, count > 12 and rng.random() < 0.5
        elif det == "pl":
            det, several = ("any" if negated else "bare"), True
        elif det in ("the", "this", "my") and not (noun.mass or noun.pair):
            often = 0.2 if not noun.human or human_plural else 0.05
            several = noun.kind not in ("dish", "cake") and rng.random() < often
            several = several and not (det == "my" and noun.kind in ("furniture", "building", "vehicle"))
        if noun.kind == "shoes" and not noun.pair and det != "count":
            several, det = True, {"a": "any" if negated else "some"}.get(det, det)
        if kind in ("fruit", "veg", "cherryx") and det in ("the", "this", "my"):
            several = True
        several = several and not noun.pair and not single
        if det == "bare" and noun.kind in ("dish", "cake"):  # nobody orders *sandwich*
            det = "a"
        if det == "a" and noun.en.endswith("soup"):
            det = "the"
        if det == "bare" and noun.kind == "wild":
            several = True
        of = ""
        if det == "my":
            of = self.possessor(subject)
            noun, of = self.spouse(noun, of)
            several = several or (of in ("we", "they") and noun.kind == "clothes" and not noun.pair)
        if of == "he" and noun.en in ("dress", "skirt", "blouse"):
            det, of = "the", ""
        adjectives: tuple[Adjective, ...] = ()
        pool = self.words.adjectives.get(noun.kind)
        if (
            pool is not None
            and kind not in _NO_ADJECTIVE
            and noun.en not in ("class", "newspaper")
            and not (noun.human and " " in noun.es)
            and det != "every"
            and rng.random() < adjective
        ):
            adjectives = (pool.pick(rng),)
        found = Phrase(noun, det, several, of, count=count, digits=digits, adjectives=adjectives)
        if det == "the" and not dets and kind in _OWN and rng.random() < 0.12 and not noun.pair:
            owner = self.owner()
            if subject is None or owner.noun is not subject.noun:
                return replace(found, det="the", owner=owner, plural=False)
        return found

    def owner(self) -> Phrase:
        """Draws the owner of a thing."""
        if self.rng.random() < 0.6:
            return Phrase(self.words.noun(self.rng.choice(("name.f", "name.m")), self.rng), "name")
        return Phrase(self.words.noun("friend", self.rng), "my", of=self._anyone())

    def possessor(self, subject: Phrase | None) -> str:
        """Finds whose thing it is: the subject's, or mine."""
        owner = "it" if subject is None else pronoun_of(subject)
        return "I" if owner == "it" else owner

    def _determiner(self, noun: Noun, kind: str, dets: tuple[str, ...], negated: bool) -> str:
        rng = self.rng
        det = rng.choice(dets) if dets else self._usual(noun, kind)
        if det == "an":
            det = "a"
        if kind.startswith("name.") or kind == "title":
            return "name"
        if negated and det in ("a", "some", "bare", "many", "count"):
            det = "the" if noun.human or det in ("many", "count") else "any"
        if det == "one":  # *the piano*, never *the pianos*
            det = "the"
        if noun.pair and not noun.mass and det not in ("the", "my", "this"):
            det = "the"
        if noun.mass and det not in ("the", "my", "some", "any"):
            det = "any" if negated else "bare"
        return det

    def _usual(self, noun: Noun, kind: str) -> str:
        rng = self.rng
        if noun.kind in ("family", "kid"):
            return "my"
        if kind == "friend":
            return rng.choice(("my", "my", "my", "a"))
        if noun.human:
            return rng.choice(("the", "the", "a"))
        if kind in ("language", "subject"):
            return "bare"
        if noun.mass:
            return rng.choices(("bare", "the", "some"), (6, 3, 1))[0]
        if kind in ("fruit", "veg", "cherryx"):
            return rng.choice(("the", "some", "some", "count"))
        if noun.kind in ("dish", "cake"):
            return rng.choice(("the", "a", "a", "this"))
        if noun.kind == "goods":
            return rng.choice(("the", "a", "a", "this", "my" if kind in _OWN else "the"))
        own = 5 if kind in _OWN else 0
        return rng.choices(("the", "a", "some", "count", "this", "my"), (10, 9, 3, 3, 2, own))[0]

    def measured(self, negated: bool) -> Phrase | None:
        """Draws *two kilos of potatoes* or *a bottle of water*."""
        rng = self.rng
        choices = {
            "kilo": ("fruit", "veg"), "bottle": ("drink",), "packet": ("ingredient",), "litre": ("drink",),
        }  # fmt: skip
        measure = rng.choice([n for n in self.words.nouns["measure"].members if n.en in choices])
        noun = self.words.noun(rng.choice(choices[measure.en]), rng)
        dry = ("flour", "sugar", "salt")
        if (measure.en == "packet" and noun.en not in dry) or (
            measure.en == "litre" and noun.en not in ("milk", "water", "apple juice")
        ):
            return None
        if measure.en == "bottle" and noun.en in ("coffee", "tea", "milk"):
            return None
        count = rng.choice((1, 1, 2, 2, 3, 4, 6))
        det = "a" if count == 1 else "count"
        return Phrase(noun, det, not noun.mass, count=count, measure=measure)

    def place(self, kinds: tuple[str, ...]) -> Phrase:
        """Draws a place."""
        rng = self.rng
        noun = self.words.noun(rng.choice(kinds).partition("/")[0], rng)
        if noun.es[0].isupper() or noun.de == "Hause":
            return Phrase(noun, "name")
        det = "the"
        if noun.kind in ("stay", "eatery") and rng.random() < 0.4:
            det = "a"
        if noun.kind == "foodshop" and rng.random() < 0.15:
            det = "this"
        return Phrase(noun, det)
