"""Finds the parts of a text that must stay as they are in a translation."""

import re
from collections import Counter
from collections.abc import Sequence
from html import unescape

_URL = r"(?:https?://|ftp://|www\.)[^\s<>\"'`{}|\\^\[\]]*[^\s<>\"'`{}|\\^\[\].,;:!?)、。，；：！？）]"
_EMAIL = r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+"
_TAG = r"</?[A-Za-z][\w:.-]*(?:\s[^<>]*)?/?>"
PATTERNS = {
    "code": re.compile(r"```.*?```|(?<!`)`[^`\n]+`(?!`)", re.DOTALL),
    "urls": re.compile(_URL),
    "emails": re.compile(_EMAIL),
    "tags": re.compile(_TAG + r"|&(?:#\d+|#x[0-9A-Fa-f]+|[A-Za-z][A-Za-z0-9]*);"),
    "placeholders": re.compile(
        r"""\{\{[^{}]+\}\} | \$\{[^{}]+\} | %\{\w+\} | \{[A-Za-z_0-9][\w.\-\[\]]*(?:![rsa])?(?::[^{}\s]*)?\} | \{\}
        | (?<![\d%])%(?:\(\w+\))?(?:\d+\$)?[-+#0]*\d*(?:\.\d+)?(?:hh|h|ll|l|z)?[sdifgeuxXc@](?![^\W\d_]{2}) | %%""",
        re.VERBOSE,
    ),
    # Single digits and times of day are left out: people write them in words, or in another way.
    "numbers": re.compile(
        r"(?<![\d:.,])(?!\d{1,2}[:.]\d\d(?!\d))\d(?:[.,’'٫٬\u00a0\u202f]?\d)+(?![\d:]|[.,]\d|\s?[月월])"
    ),
}
"""By kind. Text of an earlier kind does not count for later ones: a number in an address is not a number."""
_HINTS = {
    "code": re.compile("`"),
    "urls": re.compile("://|www"),
    "emails": re.compile("@"),
    "tags": re.compile("[<&]"),
    "placeholders": re.compile("[{%]"),
    "numbers": re.compile(r"\d"),
}
"""A text without it has no part of the kind. That is faster than the patterns."""
_VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
_NAME = re.compile(r"<(/?)([A-Za-z][\w:.-]*)[^<>]*?(/?)>")


def find_spans(text: str, kinds: Sequence[str]) -> Counter[tuple[str, str]]:
    """Counts the parts of a text that must stay as they are, by kind and form.

    Parts that differ only in how they are written have one form: blanks in a tag, marks in a number, its digits.
    `kinds` has those that count; see :data:`routelmt_ray.config.checks.PROTECTED`.
    """
    found: Counter[tuple[str, str]] = Counter()
    for kind, pattern in PATTERNS.items():
        if not _HINTS[kind].search(text):
            continue
        matches = pattern.findall(text)
        if matches:
            if kind in kinds:
                found.update((kind, _form(kind, match)) for match in matches)
            text = pattern.sub(" ", text)
    return found


def _form(kind: str, match: str) -> str:
    if kind == "numbers":
        return "".join(str(int(c)) for c in match if c.isdecimal())
    if kind == "tags" and match.startswith("<"):
        return " ".join(match.replace("/>", ">").split()).replace(" >", ">")
    if kind == "tags":
        return unescape(match)
    return match


def badly_nested(text: str) -> str | None:
    """Finds the first tag that is closed without being open, or is never closed; None where all are well nested."""
    if "<" not in text:
        return None
    opened: list[str] = []
    for closing, name, alone in _NAME.findall(text):
        name = name.lower()
        if alone or name in _VOID:
            continue
        if not closing:
            opened.append(name)
        elif not opened or opened.pop() != name:
            return name
    return opened[-1] if opened else None
