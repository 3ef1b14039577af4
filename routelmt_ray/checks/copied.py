"""Checks whether a translation is a copy of its source.

A translation is compared by sequences of three words: one word is the same in two languages too often, three in
a row seldom are. Names and numbers are left out on both sides, because they stay as they are.
"""

import re
from collections.abc import Sequence

from routelmt_ray.checks.close import are_alike
from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding
from routelmt_ray.checks.scripts import WORD, units
from routelmt_ray.corpus.languages import is_spaced

_SEQUENCE = 3
_CHARS_OF_A_WORD = 2
_NAME_AFTER = re.compile(r"(?<=[^.!?…:\s\"'“„«(\[])\s{1,3}([A-ZÀ-ÞΑ-ΫЀ-Я]\w*)")
_ALL_CAPITALS = re.compile(r"\b[A-ZÀ-ÞΑ-ΫЀ-Я]{2,}\b")


def names(text: str) -> set[str]:
    """Finds words that stay as they are in a translation, in lower case: those with a capital within a sentence, and
    those with a digit. A text in capitals has no names."""
    found = set() if text.isupper() else {*_NAME_AFTER.findall(text), *_ALL_CAPITALS.findall(text)}
    return {word.casefold() for word in found} | {word.casefold() for word in WORD.findall(text) if not word.isalpha()}


def copied_share(source: Sequence[str], translation: Sequence[str]) -> float:
    """Computes the share of a translation's letters that are in sequences of words which the source has too."""
    if len(translation) < _SEQUENCE:
        return 1.0 if translation and list(translation) == list(source) else 0.0
    known = set(zip(source, source[1:], source[2:]))
    covered = until = 0
    for at, sequence in enumerate(zip(translation, translation[1:], translation[2:])):
        if sequence in known:
            end = at + _SEQUENCE
            covered += sum(map(len, translation[max(at, until) : end]))
            until = end
    return covered / sum(map(len, translation))


def open_check(plan: CheckPlan) -> Check:
    """Opens the check. Short sources, and languages in which the same sentence may be right, get no verdict."""
    settings = plan.config.copy

    def check(output: CheckedOutput) -> Finding | None:
        if are_alike(output.source_lang, output.target_lang):
            return None
        words = is_spaced(output.source_lang)
        source = units(output.source, words)
        if len(source) < settings.min_words * (1 if words else _CHARS_OF_A_WORD):
            return None
        translation = units(output.translation, words)
        if not set(source) & set(translation):
            return Finding(0.0, False)
        if words and (excused := names(output.source)):
            source = [word for word in source if word not in excused]
            translation = [word for word in translation if word not in excused]
            if len(source) < settings.min_words:
                return None
        share = copied_share(source, translation)
        if share <= settings.max_share:
            return Finding(share, False)
        return Finding(share, True, f"{100 * share:.0f} % of it is copied from the source")

    return check
