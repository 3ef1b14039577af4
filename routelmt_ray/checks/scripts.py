"""The words and letters of a text, the scripts in which a language is written, and letters in other scripts."""

import re
from functools import lru_cache

import regex

from routelmt_ray.corpus.languages import standard_code

_PARTS = {
    "Hans": ("Hani",), "Hant": ("Hani",), "Jpan": ("Hani", "Hira", "Kana"), "Kore": ("Hang", "Hani"), "Hrkt": ("Hira", "Kana"),
}  # fmt: skip
"""Scripts of Unicode that a code for a way of writing stands for."""
_ALSO = {
    "sr": ("Latn",), "bs": ("Cyrl",), "sh": ("Cyrl",), "uz": ("Cyrl",), "az": ("Cyrl",), "kk": ("Latn", "Arab"), "tk": ("Cyrl",),
    "ky": ("Latn", "Arab"), "mn": ("Mong",), "ku": ("Arab", "Cyrl"), "pa": ("Arab",), "ms": ("Arab",), "ug": ("Latn", "Cyrl"),
    "ha": ("Arab",), "tg": ("Arab",), "tt": ("Latn",), "sd": ("Deva",), "ks": ("Deva",), "yi": ("Latn",),
}  # fmt: skip
"""Further scripts in which people write a language. They count where a code names no script."""
WORD = re.compile(r"\w+(?:['’]\w+)*")
"""A word, also one with an apostrophe."""
_UNSPACED_CHAR = re.compile(r"[^\W\d_]")


def units(text: str, words: bool) -> list[str]:
    """Lists the words of a text in lower case, or its letters."""
    return WORD.findall(text.casefold()) if words else _UNSPACED_CHAR.findall(text)


@lru_cache(maxsize=4096)
def scripts_of(code: str) -> tuple[str, ...]:
    """Lists the scripts of Unicode in which a language is written; empty where they are not known."""
    import langcodes

    standard = standard_code(code)
    if standard is None:
        return ()
    language = langcodes.Language.get(standard)
    full = language.maximize()
    script = full.script
    # langcodes takes a language of which it knows nothing for one of the United States in Latin letters.
    guessed = not language.script and (script, full.territory) == ("Latn", "US") and language.language != "en"
    if not script or script.startswith("Z") or guessed:
        return ()
    also = () if language.script else _ALSO.get(str(language.language), ())
    return (*_PARTS.get(script, (script,)), *also)


@lru_cache(maxsize=4096)
def foreign_letters(code: str) -> regex.Pattern[str] | None:
    """Compiles what matches letters in a row of other scripts than those of a language; None where they are not known."""
    known = scripts_of(code)
    if not known:
        return None
    own = "".join(rf"\p{{Script={name}}}" for name in (*known, "Common", "Inherited"))
    try:
        return regex.compile(rf"[\p{{L}}--[{own}]]+", regex.VERSION1)
    except regex.error:  # a script that this version of Unicode does not have
        return None


def is_latin(code: str) -> bool:
    """Tells whether ASCII letters are letters of a language."""
    return "Latn" in scripts_of(code)
