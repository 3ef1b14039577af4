"""Times, amounts and other adverbials, drawn in three languages at once."""

import random

from routelmt_ray.demo import english_forms, german_forms, spanish_forms
from routelmt_ray.demo.data import sections
from routelmt_ray.demo.thought import Words

_FEMININE = ("week", "hour")
_LISTS = dict(sections("times.txt"))


def _parts(name: str) -> list[list[str]]:
    return [[part.strip() for part in line.split("=")] for line in _LISTS[name]]


def listed(name: str, near: bool = False) -> list[Words]:
    """Reads a list of `times.txt`."""
    return [Words(en, es, de, near) for en, es, de in _parts(name)]


_DAYS, _MONTHS, _SEASONS, _UNITS = map(_parts, ("days", "months", "seasons", "units"))
_PAST = listed("past")
_NEAR = listed("near", near=True)
_NEXT = listed("next")
_RECENT = [words for words in _PAST if not words.en.endswith(("month", "year", "summer"))]
_SOON = [words for words in _NEXT if not words.en.endswith(("month", "year", "summer"))]
"""Times for what people do not date by the month."""
_HABIT = listed("habit")
_NOW = listed("now")
_THEN = listed("then")
_OFTEN = listed("often")
ALREADY = Words("already", "ya", "schon")
YET = Words("", "todavía", "noch")
AT_END_YET = Words("yet", "", "")
MANNERS = {words.en: words for words in listed("manners")}


def _zipf(members: list[Words], rng: random.Random) -> Words:
    return members[min(int(rng.paretovariate(0.9)) - 1, 10_000) % len(members)]


def moment(tense: str, rng: random.Random, with_clock: bool = True, far: bool = True) -> Words | None:
    """Draws a time that suits a tense, or nothing where none does."""
    draw = rng.random()
    if tense in ("past", "had_to", "could"):
        if draw < 0.12 and tense == "past":
            return _zipf(_NEAR, rng)
        if draw < 0.50:
            return _zipf(_PAST if far else _RECENT, rng)
        if draw < 0.62:
            return span("ago", rng) if far else _zipf(_RECENT, rng)
        if draw < 0.76:
            return weekday(rng)
        if draw < 0.86:
            return date(rng)
        return (clock(rng) if with_clock else weekday(rng)) if draw < 0.96 or not far else year(rng)
    if tense in ("fut", "going", "must", "can", "want", "should", "would", "must_not"):
        if draw < 0.55:
            return _zipf(_NEXT if far else _SOON, rng)
        if draw < 0.72:
            return weekday(rng)
        if draw < 0.82:
            return span("in", rng) if tense in ("fut", "going") and far else _zipf(_SOON, rng)
        return date(rng) if draw < 0.9 else clock(rng) if with_clock else weekday(rng)
    if tense in ("pres", "used"):
        return habit(rng)
    if tense == "prog":
        return _zipf(_NOW, rng)
    return _zipf(_THEN, rng) if tense == "state" else None


def is_part_of_day(words: Words | None) -> bool:
    """Tells whether a time names a part of the day or the hour."""
    parts = ("morning", "afternoon", "evening", "night", "at ", "hour", "minute")
    return words is not None and any(part in words.en for part in parts) and words.en != "at the weekend"


def story_time(far: bool, rng: random.Random) -> Words:
    """Draws the past time of a story."""
    return _zipf(_PAST if far else _RECENT, rng)


def since(rng: random.Random) -> Words:
    """Draws the time of a change of prices."""
    return rng.choice((_PAST[4], _PAST[6]))


def habit(rng: random.Random, seasonal: bool = True) -> Words:
    """Draws a time of habit, such as *every Monday*."""
    if rng.random() < 0.3:
        en, es, de = rng.choice(_DAYS)
        return Words(f"every {en}", f"todos los {es if es.endswith('s') else es + 's'}", f"jeden {de}")
    if seasonal and rng.random() < 0.25:
        en, es, de = rng.choice(_SEASONS)
        return Words(f"in {en}", f"en {es}", f"im {de}")
    return _zipf(_HABIT, rng)


def now_or_today(rng: random.Random) -> Words:
    """Draws *today* or *at the moment*."""
    return rng.choice((_NEAR[1], _NOW[0]))


def how_often(rng: random.Random, rare: bool = False) -> Words:
    """Draws *often*, *always* …; of rare things only *often*, *sometimes* and *rarely*."""
    return rng.choice((_OFTEN[0], _OFTEN[3], _OFTEN[4])) if rare else _zipf(_OFTEN, rng)


def weekday(rng: random.Random) -> Words:
    """Draws a day of the week."""
    en, es, de = rng.choice(_DAYS)
    return Words(f"on {en}", f"el {es}", f"am {de}")


def date(rng: random.Random) -> Words:
    """Draws a day and a month."""
    day = rng.randint(1, 28)
    en, es, de = rng.choice(_MONTHS)
    return Words(f"on {day} {en}", f"el {day} de {es}", f"am {day}. {de}")


def year(rng: random.Random) -> Words:
    """Draws a year."""
    number = rng.randint(1985, 2024)
    return Words(f"in {number}", f"en {number}", f"im Jahr {number}")


def span(kind: str, rng: random.Random) -> Words:
    """Draws *three weeks ago* (`ago`), *in three weeks* (`in`) or *for three weeks* (`for`)."""
    en, es, dative, accusative = rng.choice(_UNITS[:4] if kind == "ago" else _UNITS if kind == "in" else _UNITS[4:])
    n = rng.choice((2, 2, 3, 3, 4, 5, 6, 8, 10))
    if en == "minute":
        n = rng.choice((5, 10, 15, 20, 30, 45))
    elif en == "year" or en == "month":
        n = rng.randint(2, 6)
    word = spanish_forms.number(n, "f" if en in _FEMININE else "m", True)
    many, count = f"{english_forms.number(n)} {en}s", german_forms.number(n)
    if kind == "ago":
        return Words(f"{many} ago", f"hace {word} {es}", f"vor {count} {dative}")
    if kind == "in":
        return Words(f"in {many}", f"dentro de {word} {es}", f"in {count} {dative}")
    return Words(f"for {many}", f"durante {word} {es}", f"{count} {accusative} lang")


def clock(rng: random.Random, hours: tuple[int, int] = (0, 0)) -> Words:
    """Draws a time of day, between two hours (below 13) if they are given."""
    hour = rng.randint(*hours) if hours[1] else rng.randint(7, 11) if rng.random() < 0.5 else rng.randint(1, 6)
    if rng.random() < 0.3 and not hours[1]:
        minute = rng.choice((10, 20, 25, 40, 50, 5, 35, 15, 30))
        hour = rng.randint(8, 20)
        made = Words(f"{hour}:{minute:02d}", f"las {hour}:{minute:02d}", f"{hour}:{minute:02d} Uhr")
    else:
        after = hour % 12 + 1
        name, es_name = english_forms.number, _hour
        part = rng.choice(("full", "half", "past", "to"))
        made = {
            "full": Words(f"{name(hour)} o'clock", es_name(hour), "ein Uhr" if hour == 1 else f"{german_forms.number(hour)} Uhr"),
            "half": Words(f"half past {name(hour)}", f"{es_name(hour)} y media", f"halb {german_forms.number(after)}"),
            "past": Words(f"quarter past {name(hour)}", f"{es_name(hour)} y cuarto", f"Viertel nach {german_forms.number(hour)}"),
            "to": Words(f"quarter to {name(after)}", f"{es_name(after)} menos cuarto", f"Viertel vor {german_forms.number(after)}"),
        }[part]  # fmt: skip
    return Words(f"at {made.en}", f"a {made.es}", f"um {made.de}")


def _hour(hour: int) -> str:
    return "la una" if hour == 1 else f"las {spanish_forms.number(hour, 'f')}"


def price(rng: random.Random, big: bool = False) -> Words:
    """Draws a price, in digits or in words."""
    draw = rng.random()
    if draw < 0.4 and not big:
        euros = rng.randint(9, 90)
        cents = rng.choice((50, 90, 99, 20, 75, 5))
        return Words(f"€{euros}.{cents:02d}", f"{euros},{cents:02d} €", f"{euros},{cents:02d} €")
    n = rng.randint(100, 2900) // 5 * 5 if big else rng.randint(9, 99) if draw < 0.8 else rng.randint(100, 195)
    return Words(f"{english_forms.number(n)} euros", f"{spanish_forms.number(n, 'm', True)} euros", f"{_euro(n)} Euro")


def _euro(n: int) -> str:
    text = german_forms.number(n)
    return text[:-1] if n % 100 == 1 else text


def percent(rng: random.Random) -> Words:
    """Draws a percentage for *rise by*."""
    n = rng.randint(2, 30)
    if rng.random() < 0.4:
        return Words(f"{n}.5 percent", f"un {n},5 %", f"{n},5 Prozent")
    return Words(f"{english_forms.number(n)} percent", f"un {spanish_forms.number(n, 'm', True)} por ciento",
                 f"{german_forms.number(n)} Prozent")  # fmt: skip
