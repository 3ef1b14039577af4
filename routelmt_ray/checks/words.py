"""Cuts texts into words, or into characters where a language puts no blanks between words."""

import re

WORD = re.compile(r"\w+(?:['’]\w+)*")
"""A word, also one with an apostrophe."""
_UNSPACED_CHAR = re.compile(r"[^\W\d_]")


def units(text: str, words: bool) -> list[str]:
    """Lists the words of a text in lower case, or its letters."""
    return WORD.findall(text.casefold()) if words else _UNSPACED_CHAR.findall(text)
