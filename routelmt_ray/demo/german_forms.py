"""German declension: articles, adjective endings, nouns, pronouns, numbers in words."""

from routelmt_ray.demo.data import forms

CASES = {"n": 0, "a": 1, "d": 2, "g": 3}
"""Nominative, accusative, dative, genitive."""
_TABLES = {
    head: {word: [form.strip("-") for form in rest.split()] for word, rest in table.items()}
    for head, table in forms("german_forms.txt").items()
}
PRONOUNS = _TABLES["pronouns"]
REFLEXIVE = {"I": ("mich", "mir"), "we": ("uns", "uns")}
"""Accusative and dative; all other persons have *sich*."""
POSSESSIVES = {"I": "mein", "we": "unser", "you": "Ihr", "he": "sein", "she": "ihr", "they": "ihr", "it": "sein"}
_STEMS = {"teuer": "teur", "dunkel": "dunkl", "hoch": "hoh", "sauer": "saur", "flexibel": "flexibl", "sensibel": "sensibl"}  # fmt: skip
_INDECLINABLE = ("rosa", "lila", "prima", "orange")
_ONES, _TENS = _TABLES["numbers"]["ones"], _TABLES["numbers"]["tens"]
_UNCONTRACTED = {
    "in dem": "im", "an dem": "am", "zu dem": "zum", "zu der": "zur", "von dem": "vom", "bei dem": "beim",
    "in das": "ins", "an das": "ans",
}  # fmt: skip


def definite(gender: str, case: str) -> str:
    """Finds the definite article; gender `p` is the plural of all genders."""
    return _TABLES["definite"][gender][CASES[case]]


def like_dieser(stem: str, gender: str, case: str) -> str:
    """Inflects dies-, jed-, welch-, all-."""
    return stem + _TABLES["dieser"][gender][CASES[case]]


def like_ein(stem: str, gender: str, case: str) -> str:
    """Inflects ein, kein and possessives."""
    ending = _TABLES["ein"][gender][CASES[case]]
    return ("unser" if stem == "unser" and not ending else stem) + ending


def adjective(word: str, declension: str, gender: str, case: str) -> str:
    """Inflects an adjective. `declension` is `weak` (after der), `mixed` (after ein) or `strong` (after nothing or a
    number)."""
    if word in _INDECLINABLE:
        return word
    stem = _STEMS.get(word, word.removesuffix("e"))
    return stem + _TABLES[declension][gender][CASES[case]]


def noun(word: str, gender: str, case: str) -> str:
    """Inflects a noun in its given number (gender `p` for the plural form)."""
    if gender == "p":
        return word + "n" if case == "d" and not word.endswith(("n", "s")) else word
    if case == "g" and gender in ("m", "n"):
        if word.endswith("nis"):
            return word + "ses"
        short = sum(letter in "aeiouäöü" for letter in word.lower()) == 1 and not word.endswith(("h", "w"))
        return word + ("es" if word.endswith(("s", "ß", "x", "z", "sch", "st")) or short else "s")
    return word


def contracted(text: str) -> str:
    """Joins prepositions with unstressed articles (`im`, `zum`, `zur`)."""
    words = text.split(" ")
    made: list[str] = []
    for word in words:
        pair = f"{made[-1]} {word}" if made else ""
        low = pair[:1].lower() + pair[1:]
        if low in _UNCONTRACTED:
            joined = _UNCONTRACTED[low]
            made[-1] = joined if pair[0].islower() else joined.capitalize()
        else:
            made.append(word)
    return " ".join(made)


def number(n: int) -> str:
    """Writes a number below a million in words (`eins` for one)."""
    text = _compound(n)
    return text + "s" if n % 100 == 1 else text


def _compound(n: int) -> str:
    if n < 20:
        return _ONES[n]
    if n < 100:
        return (f"{_ONES[n % 10]}und" if n % 10 else "") + _TENS[n // 10]
    if n < 1000:
        return f"{_ONES[n // 100]}hundert" + (_compound(n % 100) if n % 100 else "")
    return f"{_compound(n // 1000)}tausend" + (_compound(n % 1000) if n % 1000 else "")
