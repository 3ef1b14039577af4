"""Languages in which the same sentence may be right, and languages that an identifier mixes up."""

from functools import lru_cache

from routelmt_ray.corpus.languages import standard_code

_ALIKE = (
    "bs hr sr sh cnr",
    "nb nn no da",
    "id ms",
    "zh yue wuu lzh gan hak nan",
    "en sco",
    "ur pnb",
    "fa prs",
    "ar arz apc ajp acm ary",
)
"""A sentence of one is often a right sentence of another in the group, letter by letter."""
_MIXED = (
    *_ALIKE, "nb nn no da sv", "id ms jv su", "cs sk", "es gl an ast", "bg mk", "hi mr ne mai bho", "tt ba", "az tr",
    "de lb bar als", "nl nds fy af", "fil tl ceb", "ku ckb", "it scn vec lmo",
)  # fmt: skip
"""An identifier takes one for another in the group, also with high probability."""


@lru_cache(maxsize=4096)
def base(code: str) -> str:
    """Gets the language of a code without script and region: ``zh-Hant`` and ``zho_Hans`` give ``zh``."""
    return (standard_code(code) or code.strip()).partition("-")[0].casefold()


def _within(groups: tuple[str, ...]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for group in groups:
        for language in group.split():
            found.setdefault(language, set()).update(group.split())
    return found


_ALIKE_OF, _MIXED_OF = _within(_ALIKE), _within(_MIXED)


@lru_cache(maxsize=4096)
def are_alike(one: str, other: str) -> bool:
    """Tells whether the same sentence is often right in the languages of two codes."""
    first, second = base(one), base(other)
    return first == second or second in _ALIKE_OF.get(first, ())


@lru_cache(maxsize=4096)
def are_mixed_up(one: str, other: str) -> bool:
    """Tells whether an identifier may take the language of one code for that of another."""
    first, second = base(one), base(other)
    return first == second or second in _MIXED_OF.get(first, ())
