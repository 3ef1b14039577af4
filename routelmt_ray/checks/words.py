"""Cuts texts into words, or into characters where a language puts no blanks between words."""

import re
from functools import lru_cache

from routelmt_ray.corpus.languages import is_spaced

WORD = re.compile(r"\w+(?:['’]\w+)*")
"""A word, also one with an apostrophe."""
_UNSPACED_CHAR = re.compile(r"[^\W\d_]")


@lru_cache(maxsize=4096)
def by_words(code: str) -> bool:
    """Tells whether a language is compared by words, not by characters."""
    return is_spaced(code)


def units(text: str, words: bool) -> list[str]:
    """Lists the words of a text in lower case, or its letters."""
    return WORD.findall(text.casefold()) if words else _UNSPACED_CHAR.findall(text)
