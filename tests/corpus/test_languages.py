"""Codes of every common form become one standard code and the English name prompts want."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.corpus.languages import is_spaced, language_name, pair_label, same_language, standard_code


@pytest.mark.parametrize(
    ("code", "standard", "name"),
    [
        ("en", "en", "English"),
        ("EN", "en", "English"),
        ("eng_Latn", "en", "English"),
        ("zho_Hans", "zh", "Chinese"),
        ("zh_TW", "zh-Hant", "Chinese (Traditional)"),
        ("de-DE", "de", "German"),
        ("pt-BR", "pt", "Portuguese"),
        ("pt-PT", "pt-PT", "Portuguese (Portugal)"),
        ("sr-Latn", "sr-Latn", "Serbian (Latin)"),
        ("iw", "he", "Hebrew"),
        ("el", "el", "Modern Greek"),
        (" fr ", "fr", "French"),
    ],
)
def test_known_codes(code: str, standard: str, name: str) -> None:
    assert standard_code(code) == standard
    assert language_name(code, {"el": "Modern Greek"}) == name


@pytest.mark.parametrize("code", ["xx", "english", "", "1", "en-", "not a code", "\x00", "und", "und-Latn"])
def test_unknown_codes_have_no_name(code: str) -> None:
    assert standard_code(code) is None
    assert language_name(code, {}) is None


def test_private_codes_need_an_override() -> None:
    assert language_name("qaa", {}) is None
    assert language_name("qaa", {"qaa": "Dothraki"}) == "Dothraki"


def test_pair_labels_show_what_is_missing() -> None:
    assert pair_label("eng_Latn", "de") == "en→de"
    assert pair_label(None, "nonsense!") == "?→?"


@settings(deadline=None)
@given(code=st.text(max_size=12) | st.text("en-_xXLatn1\n\0 ", max_size=14))
def test_no_code_crashes(code: str) -> None:
    standard = standard_code(code)
    assert standard is None or standard_code(standard) == standard
    assert language_name(code, {}) is None or standard is not None
    assert same_language(code, code) == (standard is not None)
    assert is_spaced(code) in (True, False)


@pytest.mark.parametrize(
    ("code", "spaced"),
    [
        ("en", True),
        ("zh", False),
        ("zho_Hant", False),
        ("ja", False),
        ("ko", True),
        ("th", False),
        ("hi", True),
        ("qaa", True),
    ],
)
def test_languages_with_blanks_between_words(code: str, spaced: bool) -> None:
    assert is_spaced(code) == spaced
