"""Checks whether a translation runs in a loop of words or characters.

A source may repeat itself, too. So the share that is repeated is compared with that in the source.
"""

import re
from collections.abc import Sequence

from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding
from routelmt_ray.checks.scripts import units
from routelmt_ray.corpus.languages import is_spaced

_LOOPS = tuple(
    re.compile(pattern, re.DOTALL) for pattern in (r"(\S.{0,15}?)\1{5,}", r"(\S.{2,15}?)\1{3,}", r"(\S.{7,23}?)\1{2,}")
)
"""Up to 16 characters six times or more, from 3 characters on four times, from 8 characters on three times."""
_FEWEST_CHARS = 10
_WORDS, _CHARS = 4, 12
"""Length of the sequences that are compared, in words and in characters."""
_FEWEST_SEQUENCES = 4


def looped_share(text: str) -> float:
    """Computes the share of a text that is in loops of up to 24 characters, without the first round of each."""
    text = text.casefold()
    fives = len(text) - 4
    # A loop has the same five characters again and again. To look for these first is faster.
    if fives - len(set(zip(text, text[1:], text[2:], text[3:], text[4:]))) < _FEWEST_CHARS - 4:
        return 0.0
    looped = max(sum(len(found[0]) - len(found[1]) for found in loop.finditer(text)) for loop in _LOOPS)
    return looped / len(text) if looped >= _FEWEST_CHARS else 0.0


def repeated_share(parts: Sequence[str], length: int) -> float:
    """Computes the share of the sequences of a given length that repeat an earlier one."""
    n = len(parts) - length + 1
    if n < _FEWEST_SEQUENCES or len(set(parts)) == len(parts):
        return 0.0
    return 1.0 - len(set(zip(*(parts[at:] for at in range(length))))) / n


def share(text: str, code: str) -> float:
    """Computes the share of a text that repeats what is before it."""
    words = is_spaced(code)
    return max(looped_share(text), repeated_share(units(text, words), _WORDS if words else _CHARS))


def open_check(plan: CheckPlan) -> Check:
    """Opens the check."""
    most = plan.config.repetition.max_share

    def check(output: CheckedOutput) -> Finding:
        found = share(output.translation, output.target_lang)
        if found <= most or found <= most + share(output.source, output.source_lang):
            return Finding(found, False)
        return Finding(found, True, f"{100 * found:.0f} % of it repeats what is before it")

    return check
