"""Language codes (BCP-47, ISO 639, FLORES style) and the English names that prompts need.

langcodes is imported only at the first code, because its tables take a tenth of a second, and a worker with an engine
does not need them.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

_UNSPACED = frozenset("Hani Hans Hant Bopo Hira Kana Hrkt Jpan Thai Laoo Khmr Mymr Tibt Lana".split())


@lru_cache(maxsize=4096)
def standard_code(code: str) -> str | None:
    """Finds the shortest standard form of a language code: ``eng_Latn`` and ``EN`` give ``en``, ``zh_TW`` ``zh-Hant``.

    Script and territory are dropped where they are the usual ones of the language. Returns the code, or None where no
    such language is registered.
    """
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        given = langcodes.Language.get(code.strip())
    except LanguageTagError:
        return None
    if not given.language or not given.is_valid():
        return None
    full = given.maximize()
    for fewer in (
        langcodes.Language.make(language=given.language),
        langcodes.Language.make(language=given.language, script=full.script),
        langcodes.Language.make(language=given.language, territory=given.territory),
    ):
        if fewer.maximize() == full:
            return str(fewer.to_tag())
    return str(given.to_tag())


@lru_cache(maxsize=4096)
def _english_name(code: str) -> str | None:
    import langcodes

    name = langcodes.Language.get(code).display_name("en")
    return None if name.startswith("Unknown language") else str(name)


def language_name(code: str, overrides: Mapping[str, str]) -> str | None:
    """Finds the English name of a language, as the prompt of a model family needs it, for any code that
    :func:`standard_code` reads; None for one that names no known language. Names of the family by standard code win,
    and may name private-use codes such as ``qaa``."""
    standard = standard_code(code)
    if standard is None:
        return None
    return overrides.get(standard) or _english_name(standard)


@lru_cache(maxsize=4096)
def is_spaced(code: str) -> bool:
    """Tells whether a language puts blanks between words, as most do; true also for an unknown language."""
    import langcodes

    standard = standard_code(code)
    return standard is None or langcodes.Language.get(standard).maximize().script not in _UNSPACED


def same_language(source: str, target: str) -> bool:
    """Tells whether two codes mean one language in one script and region, as ``en`` and ``eng_Latn`` do."""
    return standard_code(source) == standard_code(target) is not None


def pair_label(source: str | None, target: str | None) -> str:
    """Formats a language pair as reports show it, ``en→de``; ``?`` stands for a missing or unknown code."""
    return "→".join((standard_code(code) or "?") if code else "?" for code in (source, target))


def pair_labels(sources: Sequence[str | None], targets: Sequence[str | None]) -> list[str]:
    """Formats the language pair of each row as :func:`pair_label` does; equal pairs are formatted once."""
    found = {pair: pair_label(*pair) for pair in set(zip(sources, targets))}
    return [found[pair] for pair in zip(sources, targets)]
