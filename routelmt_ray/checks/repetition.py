"""Checks whether a translation runs in a loop of words or characters.

A source may repeat itself, too. So the share that is repeated is compared with that in the source.
"""

import re
from collections.abc import Sequence

from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding
from routelmt_ray.checks.words import by_words, units

_LOOP = re.compile(r"(\S.{0,15}?)\1{5,}", re.DOTALL)
"""Up to 16 characters, six times or more. A line of dashes or dots counts only where the source has none."""
_FEWEST_CHARS = 10
_WORDS, _CHARS = 4, 12
"""Length of the sequences that are compared, in words and in characters."""
_FEWEST_SEQUENCES = 4


def looped_share(text: str) -> float:
    """Computes the share of a text that is in loops of up to 16 characters, without the first round of each."""
    if len(text) < _FEWEST_CHARS:
        return 0.0
    looped = sum(len(match[0]) - len(match[1]) for match in _LOOP.finditer(text))
    return looped / len(text) if looped >= _FEWEST_CHARS else 0.0


def repeated_share(parts: Sequence[str], length: int) -> float:
    """Computes the share of the sequences of a given length that stand in the text a second time or more."""
    n = len(parts) - length + 1
    if n < _FEWEST_SEQUENCES or len(set(parts)) == len(parts):
        return 0.0
    return 1.0 - len(set(zip(*(parts[at:] for at in range(length))))) / n


def share(text: str, code: str) -> float:
    """Computes the share of a text that repeats what is before it.

    Args:
        text: the text.
        code: its language.
    """
    words = by_words(code)
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
