"""A text that is too long for a model: where to cut it, and how to join the translations of its pieces.

A cut is at the last sentence end that fits, else at a clause mark, else between words, else between two tokens that are
not in one grapheme. The end of a sentence or a clause is known from Unicode's Sentence_Break property (UAX #29), which
has the full stops of all scripts: ``。！？``, ``।``, ``؟ ۔`` and the others.
"""

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import regex

from routelmt_ray.config import schema

_FLAGS = regex.V1 | regex.VERBOSE
_SENTENCE_END = regex.compile(
    r"""
    [.!?…\p{SB=ATerm}]+\p{SB=Close}*(?=\s+\P{Ll})   # a small letter after a full stop: it was an abbreviation
    | [\p{SB=STerm}--\p{ASCII}]+\p{SB=Close}*
    | \S(?=[^\S\n]*\n)
    """,
    _FLAGS,
)
_CLAUSE_END = regex.compile(r"\p{SB=SContinue}+\p{SB=Close}*(?=\s) | [\p{SB=SContinue}--\p{ASCII}]+", _FLAGS)
_WORD_END = regex.compile(r"\S(?=\s)", _FLAGS)
_GRAPHEME = regex.compile(r"\X")
_AHEAD = 64
"""Characters that a pattern may look beyond the last place for a cut."""
_CHARS_PER_TOKEN = 4
"""Characters of the first window of a text, per wanted token; also the factor by which the window grows."""
_COUNT_CHARS = 1 << 16
_BLANKS = ("Cc", "Cf", "Zs", "Zl", "Zp")
"""Unicode categories of control and format characters, spaces and separators. Private characters, and characters that
are newer than Python's Unicode tables (a new emoji, a new block of CJK), may be text."""


class Tokens(NamedTuple):
    """Functions that turn a text into the tokens of a prompt."""

    ends: Callable[[str], Sequence[int]]
    """(text) -> the end of each token, in characters, ascending."""
    prompt: Callable[[str], int]
    """(text) -> number of tokens of the whole prompt with this text."""


class Piece(NamedTuple):
    """The translation of a piece, or of a whole row."""

    translation: str | None
    """The translation; None where it failed."""
    status: str
    error: str | None
    """Reason of a failure, if any."""


def is_blank(text: str) -> bool:
    """Tells whether a text has only blanks, control and zero-width characters."""
    return all(unicodedata.category(c) in _BLANKS for c in text)


def split(text: str, tokens: Tokens, room: int, most: int) -> list[tuple[int, int]] | None:
    """Cuts a text, of any length, into pieces that fit a model; it is read one window at a time.

    The text of a piece should have at most `room` tokens, and its prompt may have at most `most`. Returns start and end
    of each piece, ascending, with blanks or nothing between them; None where even the smallest piece does not fit.
    """
    pieces = []
    start, stop = _skip_blanks(text, 0), _last_character(text)
    while start < stop:
        ends = _ends(text, start, stop, tokens, room)
        while ends:
            reach = start + ends[-1]
            end = stop if reach >= stop else _best_cut(text, start, reach, ends)
            if (excess := tokens.prompt(text[start:end]) - most) <= 0:
                break
            ends = ends[: max(0, len(ends) - excess)]
        else:
            return None
        pieces.append((start, end))
        start = _skip_blanks(text, end)
    return pieces


def truncate(text: str, tokens: Tokens, room: int, most: int) -> tuple[int, int] | None:
    """Finds the beginning of a text that fits; arguments as for :func:`split`.

    It ends with a token, and with a grapheme where that is possible. Returns its start, after any blanks, and its end;
    None where nothing fits.
    """
    start = _skip_blanks(text, 0)
    ends = _ends(text, start, len(text), tokens, room)
    while ends:
        end = _between_tokens(text, start, start + ends[-1], ends)
        if (excess := tokens.prompt(text[start:end]) - most) <= 0:
            return start, end
        ends = ends[: max(0, len(ends) - excess)]
    return None


def count(text: str, tokens: Tokens) -> int:
    """Counts the tokens of a text, one window at a time; beyond 64 Ki characters the count is close, not exact."""
    return sum(len(tokens.ends(text[at : at + _COUNT_CHARS])) for at in range(0, len(text), _COUNT_CHARS))


def joint(gap: str, source_spaced: bool, target_spaced: bool) -> str:
    """Chooses the text between the translations of two pieces. `gap` has the blanks between the pieces in the
    source."""
    if "\n" in gap:
        return gap
    if not target_spaced:
        return ""
    return gap or ("" if source_spaced else " ")


def join(pieces: Sequence[Piece], joints: Sequence[str]) -> Piece:
    """Joins the translations of pieces to that of their row; if one piece failed, the row failed. `joints` has the text
    before each piece; the first one is not used."""
    if len(pieces) == 1:
        return pieces[0]
    worst = None
    for number, piece in enumerate(pieces, 1):
        words = f"piece {number} of {len(pieces)}: {piece.error or schema.STATUS_MEANING.get(piece.status)}"
        if piece.translation is None:
            return Piece(None, piece.status, words)
        if worst is None and piece.status != schema.OK:
            worst = Piece(None, piece.status, words)
    text = "".join(
        part for piece, before in zip(pieces, ["", *joints[1:]]) for part in (before, str(piece.translation))
    )
    return Piece(text, worst.status if worst else schema.OK, worst.error if worst else None)


def _ends(text: str, start: int, stop: int, tokens: Tokens, room: int) -> list[int]:
    """Ends of the first `room` tokens from a place on, relative to it."""
    width = room * _CHARS_PER_TOKEN
    while True:
        window = text[start : min(start + width, stop)]
        ends = [end for end in tokens.ends(window) if end > 0]
        if len(ends) > room:
            return ends[:room]
        if start + width >= stop:
            return [*ends[:-1], len(window)]  # blanks after the last token do not need a cut
        width *= _CHARS_PER_TOKEN


def _best_cut(text: str, start: int, reach: int, ends: Sequence[int]) -> int:
    """The best place for a cut after `start` and up to `reach`."""
    for pattern in (_SENTENCE_END, _CLAUSE_END, _WORD_END):
        found = [at for m in pattern.finditer(text, start, reach + _AHEAD) if start < (at := m.end()) <= reach]
        if found:
            return found[-1]
    return _between_tokens(text, start, reach, ends)


def _between_tokens(text: str, start: int, reach: int, ends: Sequence[int]) -> int:
    """The last end up to `reach` of both a token and a grapheme; else of a grapheme; else `reach` itself."""
    graphemes = [at for m in _GRAPHEME.finditer(text, start, reach + _AHEAD) if (at := m.end()) <= reach]
    both = {start + end for end in ends}.intersection(graphemes)
    return max(both, default=graphemes[-1] if graphemes else reach)


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and is_blank(text[at]):
        at += 1
    return at


def _last_character(text: str) -> int:
    stop = len(text)
    while stop and is_blank(text[stop - 1]):
        stop -= 1
    return stop
