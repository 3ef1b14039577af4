"""English word forms: plurals, verb forms, numbers in words."""

from functools import cache

_VOWELS = "aeiou"
_IRREGULAR = """
be was been; have had had; do did done; go went gone; come came come; become became become; buy bought bought
bring brought brought; think thought thought; catch caught caught; teach taught taught; eat ate eaten
drink drank drunk; write wrote written; read read read; ride rode ridden; drive drove driven; take took taken
give gave given; get got got; forget forgot forgotten; leave left left; lose lost lost; find found found
make made made; meet met met; pay paid paid; say said said; sell sold sold; send sent sent; spend spent spent
sit sat sat; sleep slept slept; speak spoke spoken; stand stood stood; steal stole stolen; swim swam swum
tell told told; understand understood understood; wake woke woken; wear wore worn; win won won; put put put
cut cut cut; hurt hurt hurt; let let let; cost cost cost; break broke broken; choose chose chosen; know knew known
grow grew grown; draw drew drawn; fly flew flown; throw threw thrown; see saw seen; sing sang sung; ring rang rung
begin began begun; run ran run; feel felt felt; keep kept kept; hear heard heard; hold held held; lie lay lain
build built built; lend lent lent; bite bit bitten; hide hid hidden; fall fell fallen; feed fed fed; shine shone shone
show showed shown; blow blew blown; dig dug dug; hang hung hung; light lit lit; rise rose risen; set set set
shut shut shut; lay laid laid; burst burst burst; withdraw withdrew withdrawn; freeze froze frozen; lead led led; fight fought fought; beat beat beaten; bake baked baked
sweep swept swept; mean meant meant; bend bent bent; shake shook shaken; stick stuck stuck; fit fit fit
"""
_TABLE = {
    parts[0]: (parts[1], parts[2])
    for parts in (entry.split() for entry in _IRREGULAR.replace("\n", ";").split(";"))
    if parts
}
_DOUBLING = frozenset(
    """
plan clap stop shop chat cut put sit swim run win get forget begin let dig chop drop fit hug grab trim hit jog refer
set wrap pat travel cancel shut mop peel_
""".split()
)
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
    return _TABLE[verb][0] if verb in _TABLE else _regular(verb)


@cache
def participle(verb: str) -> str:
    """Forms the past participle."""
    return _TABLE[verb][1] if verb in _TABLE else _regular(verb)


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
