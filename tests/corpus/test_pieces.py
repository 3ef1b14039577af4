"""Cutting texts: nothing is lost, every piece fits, and cuts fall at sentence ends where they can."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from routelmt_ray.corpus.pieces import Piece, Tokens, count, is_blank, join, joint, split, truncate

OVERHEAD = 3


def ends(text: str) -> list[int]:
    """Ends of words cut to at most four letters, and of marks."""
    return [match.end() for match in re.finditer(r"\w{1,4}|[^\w\s]", text)]


TOKENS = Tokens(ends, lambda text: OVERHEAD + len(ends(text)))


def parts(text: str, room: int) -> list[str] | None:
    found = split(text, TOKENS, room, OVERHEAD + room)
    return None if found is None else [text[start:end] for start, end in found]


TEXTS = st.lists(
    st.sampled_from(["word", "Longerword", "ü", "é", "你好", "。", "！", ". ", "? ", ", ", " ", "\n", "\u200b", "👩‍👩‍👧", "।", "؟", "3.14"])
).map("".join)  # fmt: skip


@settings(deadline=None)
@given(text=st.one_of(TEXTS, st.text(max_size=80)), room=st.integers(1, 9))
@example(text=" ", room=1)
@example(text="e" + "\u0301" * 30, room=2)
def test_pieces_and_the_blanks_between_them_are_the_text_and_each_piece_fits(text: str, room: int) -> None:
    spans = split(text, TOKENS, room, OVERHEAD + room)
    assert spans is not None
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    assert edges == sorted(edges)
    assert all(is_blank(text[end:start]) for end, start in zip(edges[::2], edges[1::2]))
    for start, end in spans:
        assert not is_blank(text[start:end])
        assert len(ends(text[start:end])) <= room


@settings(deadline=None)
@given(
    sentences=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    stop=st.sampled_from([". ", "! ", "。", "؟ ", "। ", "\n"]),
)
def test_cuts_fall_at_sentence_ends_where_every_sentence_fits(sentences: list[int], stop: str) -> None:
    text = "".join(" ".join(["Word"] * words) + stop for words in sentences)
    found = parts(text, 6)
    assert found is not None
    mark = stop.strip()
    assert all(piece.endswith(mark or "Word") for piece in found)
    # As few pieces as sentences taken in order as long as they fit.
    fewest, used = 0, 7
    for words in sentences:
        used += words + bool(mark)
        if used > 6:
            fewest, used = fewest + 1, words + bool(mark)
    assert len(found) == fewest


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("He came. She left.", 3, ["He came.", "She left."]),
        ("See Dr. no one else. Then go.", 7, ["See Dr. no one else.", "Then go."]),
        ("今天天气很好。我们去公园吧！", 4, ["今天天气很好。", "我们去公园吧！"]),
        ("वह घर गया। वह सोया।", 7, ["वह घर गया।", "वह सोया।"]),
        ("one two, three four", 3, ["one two,", "three four"]),
        ("one two three", 2, ["one two", "three"]),
        ("abcdefghij", 2, ["abcdefgh", "ij"]),
        ("1st\n\n2nd", 1, ["1st", "2nd"]),
    ],
)
def test_where_cuts_fall(text: str, room: int, expected: list[str]) -> None:
    assert parts(text, room) == expected


def test_a_grapheme_is_not_cut_where_it_fits() -> None:
    assert parts("n\u0303" * 4, 2) is not None
    family = "👩\u200d👧"  # three tokens here
    assert parts(family * 3, 4) == [family] * 3


def test_a_model_that_takes_not_even_a_token_takes_no_piece() -> None:
    assert split("word", TOKENS, 1, OVERHEAD) is None
    assert truncate("word", TOKENS, 1, OVERHEAD) is None


@settings(deadline=None)
@given(text=st.one_of(TEXTS, st.text(max_size=80)), room=st.integers(1, 9))
def test_a_truncated_text_fits_and_one_more_token_would_not(text: str, room: int) -> None:
    if is_blank(text):
        return
    span = truncate(text, TOKENS, room, OVERHEAD + room)
    assert span is not None
    kept = len(ends(text[slice(*span)]))
    assert is_blank(text[: span[0]])
    assert kept <= room
    if text.isascii():
        assert kept == min(room, len(ends(text[span[0] :])))


def test_long_texts_are_looked_at_in_windows() -> None:
    seen = []

    def watched(text: str) -> list[int]:
        seen.append(len(text))
        return ends(text)

    text = "This is a sentence. " * 5_000
    found = split(text, Tokens(watched, TOKENS.prompt), 20, 20 + OVERHEAD)
    assert found is not None
    assert max(seen) < 1_000
    assert "".join(text[start:end] + " " for start, end in found) == text
    assert count(text, TOKENS) == pytest.approx(len(ends(text)), rel=1e-3)


@pytest.mark.parametrize(
    ("gap", "source_spaced", "target_spaced", "expected"),
    [
        (" ", True, True, " "),
        (" ", True, False, ""),
        ("", False, True, " "),
        ("", True, True, ""),
        ("\n\n", True, False, "\n\n"),
    ],
)
def test_what_stands_between_translations(gap: str, source_spaced: bool, target_spaced: bool, expected: str) -> None:
    assert joint(gap, source_spaced, target_spaced) == expected


def test_a_row_is_what_its_pieces_are() -> None:
    good, cut, bad = (
        Piece("a", "ok", None),
        Piece("b", "output_limit", "cut at 9 tokens"),
        Piece(None, "empty_output", None),
    )
    assert join([good], [""]) == good
    assert join([good, good], ["", "\n"]) == Piece("a\na", "ok", None)
    assert join([good, cut], ["", " "]) == Piece("a b", "output_limit", "piece 2 of 2: cut at 9 tokens")
    assert join([cut, bad], ["", " "]) == Piece(None, "empty_output", "piece 2 of 2: the model answered with nothing")


@pytest.mark.parametrize(
    ("text", "blank"),
    [
        (" \t\n\u3000\u2028\u00a0", True),
        ("\u200b\u2060\ufeff\x00\x1b\u00ad", True),
        ("\U0001fae8", False),  # an emoji younger than Python's Unicode
        ("\U0002ebf0", False),  # CJK extension I
        ("\U00031350", False),  # CJK extension H
        ("\ue000", False),  # private use
        ("\U0001fae8 ", False),
    ],
)
def test_what_is_blank(text: str, blank: bool) -> None:
    assert is_blank(text) is blank
    assert parts(text, 5) == ([] if blank else [text.strip()])


def test_a_long_word_is_cut_at_the_last_token_that_fits() -> None:
    assert parts("abcd" * 50, 30) == ["abcd" * 30, "abcd" * 20]
