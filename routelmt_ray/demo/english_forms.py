"""English word forms: plurals, verb forms, numbers in words."""

from functools import cache

from routelmt_ray.demo.data import forms

_VOWELS = "aeiou"
_FORMS = forms("english_verbs.txt")
_IRREGULAR, _DOUBLING = _FORMS["irregular"], _FORMS["doubling"]
_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
""".split()
_TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def plural(word: str) -> str:
    """Forms the regular English plural of a noun."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def third(verb: str) -> str:
    """Forms the third person singular of the present."""
    if verb in ("be", "have"):
        return {"be": "is", "have": "has"}[verb]
    if verb.endswith("o"):
        return verb + "es"
    return plural(verb)


@cache
def past(verb: str) -> str:
    """Forms the simple past (`was` for *be*)."""
    return _IRREGULAR[verb].split()[0] if verb in _IRREGULAR else _regular(verb)


@cache
def participle(verb: str) -> str:
    """Forms the past participle."""
    return _IRREGULAR[verb].split()[1] if verb in _IRREGULAR else _regular(verb)


def _regular(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb[:-1] + "ied"
    return (verb + verb[-1] if verb in _DOUBLING else verb) + "ed"


@cache
def gerund(verb: str) -> str:
    """Forms the -ing form."""
    if verb == "lie":
        return "lying"
    if verb.endswith("e") and not verb.endswith("ee") and verb != "be":
        return verb[:-1] + "ing"
    return (verb + verb[-1] if verb in _DOUBLING else verb) + "ing"


def number(n: int) -> str:
    """Writes a number below a million in words."""
    if n < 20:
        return _ONES[n]
    if n < 100:
        return _TENS[n // 10] + (f"-{_ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{_ONES[n // 100]} hundred" + (f" and {number(n % 100)}" if n % 100 else "")
    rest = n % 1000
    return f"{number(n // 1000)} thousand" + (f" {'and ' if rest < 100 else ''}{number(rest)}" if rest else "")


def with_an(words: list[str]) -> list[str]:
    """Changes `a` to `an` where the next word begins with a vowel sound."""
    made = list(words)
    for i, word in enumerate(words[:-1]):
        if word in ("a", "A"):
            after = words[i + 1].lower().lstrip("\"'(")
            vowel = after[:1] in tuple(_VOWELS) and not after.startswith(("uni", "use", "euro", "one", "u-"))
            if vowel or after.startswith(("hour", "honest", "18", "11", "8")):
                made[i] = word + "n"
    return made
