"""Makes the prompts of the rows of a shard, splits texts that are too long, and joins the pieces again.

A row that is split has several prompts, one after the other, with the same place. Between the first and the last step
of a stage, a table has one row for each of them. Most rows are not split and stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt_ray.checks.terms import Glossary
from routelmt_ray.config import schema
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.corpus import pieces
from routelmt_ray.corpus.languages import is_spaced
from routelmt_ray.corpus.pieces import Piece, Tokens, join, joint
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.stages.validate import NO_TERMS, CheckedRows, encode_texts, renderer


@dataclass
class Prompts:
    """Prompts for one model, in parallel lists."""

    row: list[int]
    """Number of the row in the table, ascending; repeated where the row is split."""
    text: list[str | None]
    """Source text of the prompt; null where there is none."""
    ids: list[list[int]]
    """Token ids; empty for an engine without tokens, and where the row is refused."""
    content: list[str]
    """Rendered prompt, for engines that send it as text; else empty."""
    source_tokens: list[int]
    """Number of tokens of that text alone."""
    room: list[int]
    """Most new tokens."""
    refused: list[str | None]
    """Reason why the row cannot be translated; None where it can."""
    joint: list[str]
    """Text to put before the translation of this piece."""
    note: list[str | None]
    """Note on the text that was left out of a truncated row."""


def prompts_of(rows: CheckedRows, model: ModelConfig, too_long: str, glossary: Glossary = NO_TERMS) -> Prompts:
    """Makes the prompts of all rows, in order; at least one for each row. A piece has its terms only.

    `too_long` says what happens to long texts: ``quarantine``, ``truncate`` or ``split``.
    """
    ok = rows.ok()
    pairs = {i: (rows.source_langs[i] or "", rows.target_langs[i] or "") for i in ok}
    texts = {i: [rows.texts[i] or ""] for i in ok}
    joints: dict[int, list[str]] = {}
    notes: dict[int, str] = {}
    refused = dict(enumerate(None if status == schema.OK else status for status in rows.statuses))
    whole = encode_texts([texts[i][0] for i in ok], [pairs[i] for i in ok], model, glossary)
    for i in [i for i, over in zip(ok, whole.too_long) if over]:
        fitting = _Fitting(model, pairs[i], glossary)
        if too_long == "split" and (parts := fitting.split(texts[i][0])):
            texts[i], joints[i] = parts
        elif too_long == "truncate" and (cut := fitting.truncate(texts[i][0])):
            texts[i], notes[i] = [cut[0]], cut[1]
        else:
            refused[i] = schema.TOO_LONG
    changed = [(i, n) for i in sorted({*joints, *notes}) for n in range(len(texts[i]))]
    encoded = encode_texts([texts[i][n] for i, n in changed], [pairs[i] for i, _ in changed], model, glossary)
    of = {(i, 0): (whole, k) for k, i in enumerate(ok)} | {key: (encoded, k) for k, key in enumerate(changed)}
    found: list[tuple[Any, ...]] = []
    for i in range(len(rows.statuses)):
        if refused[i]:
            found.append((i, None, [], "", 0, 0, refused[i], "", None))
            continue
        for n, text in enumerate(texts[i]):
            by, k = of[i, n]
            asked = text, by.prompts[k], by.contents[k], by.source_tokens[k], by.room[k]
            found.append((i, *asked, None, joints[i][n] if i in joints else "", notes.get(i)))
    return Prompts(*map(list, zip(*found, strict=True)))


class _Fitting:
    """Cuts texts of one language pair to a length that a model can process."""

    def __init__(self, model: ModelConfig, pair: tuple[str, str], glossary: Glossary) -> None:
        from routelmt_ray.engines.tokenizers import context_tokens, input_limit, prompt_encoder

        render, encoder = renderer(load_family(model.prompt), pair, glossary), prompt_encoder(model)
        self._spaced = is_spaced(pair[0]), is_spaced(pair[1])
        self._tokens = Tokens(encoder.ends, lambda text: encoder.count_prompt(render(text)))
        around, context = self._tokens.prompt(""), context_tokens(model)
        # With room for an answer of twice the length, so that the answer is not cut too.
        self._room = max(1, min(input_limit(model) - around, (context - around) // 3, model.max_new_tokens // 2))
        self._most = min(around + self._room, input_limit(model))

    def split(self, text: str) -> tuple[list[str], list[str]] | None:
        """Splits a text; returns the pieces and the text before the translation of each. None where none fits."""
        spans = pieces.split(text, self._tokens, self._room, self._most)
        if not spans:
            return None
        ends = [0, *(end for _, end in spans)]
        joints = [joint(text[end:start], *self._spaced) for end, (start, _) in zip(ends, spans)]
        return [text[start:end] for start, end in spans], joints

    def truncate(self, text: str) -> tuple[str, str] | None:
        """Cuts a text to the beginning that fits; returns it with a note. None where nothing fits."""
        span = pieces.truncate(text, self._tokens, self._room, self._most)
        if span is None:
            return None
        beginning = text[slice(*span)]
        kept, of = (pieces.count(part, self._tokens) for part in (beginning, text))
        return beginning, f"cut to its first {kept} of {of} tokens"


def fold_translations(table: pa.Table) -> pa.Table:
    """Joins the translations of pieces: turns a table of pieces into one of rows.

    Reads: place, translation, source_tokens, output_tokens, status, error, joint, note.
    Writes: the same without the last two.
    """
    starts = _starts(table["place"])
    if len(starts) == table.num_rows and table["note"].null_count == table.num_rows:
        return table.drop_columns(["joint", "note"])
    columns = {name: table[name].to_pylist() for name in ("translation", "status", "error", "joint", "note")}
    found = []
    for start, stop in zip(starts, [*starts[1:], table.num_rows]):
        answers = [Piece(*(columns[name][i] for name in Piece._fields)) for i in range(start, stop)]
        answer = join(answers, columns["joint"][start:stop])
        if (note := columns["note"][start]) and answer.translation is not None:
            words = note if answer.error is None else f"{note}; {answer.error}"
            answer = answer._replace(status=schema.TRUNCATED, error=words)
        found.append(answer)
    folded = _first(table.drop_columns(["joint", "note"]), starts)
    folded = _summed(folded, table, starts, ("source_tokens", "output_tokens"))
    for name, values in zip(Piece._fields, zip(*found)):
        folded = folded.set_column(folded.column_names.index(name), name, pa.array(values, pa.string()))
    return folded


def fold_scores(table: pa.Table) -> pa.Table:
    """Turns a table of pieces into one of rows, with the mean prediction of the pieces, weighted by source tokens.

    Reads: place, predicted_gain, predicted_quality, source_tokens, prompt_tokens. Writes: the same.
    """
    starts = _starts(table["place"])
    if len(starts) == table.num_rows:
        return table
    folded = _summed(_first(table, starts), table, starts, ("source_tokens", "prompt_tokens"))
    weights = np.maximum(table["source_tokens"].to_numpy().astype(np.float64), 1)
    for name in ("predicted_gain", "predicted_quality"):
        values = table[name].to_numpy()
        means = np.add.reduceat(values * weights, starts) / np.add.reduceat(weights, starts)
        alone = np.diff([*starts, table.num_rows]) == 1
        means = np.where(alone, values[starts], means).astype(np.float32)
        folded = folded.set_column(folded.column_names.index(name), name, pa.array(means))
    return folded


def _starts(place: pa.ChunkedArray) -> list[int]:
    """Index of the first piece of each row."""
    places = place.fill_null(-1).to_numpy()
    return [0, *(np.flatnonzero(np.diff(places)) + 1).tolist()]


def _first(table: pa.Table, starts: Sequence[int]) -> pa.Table:
    return table if len(starts) == table.num_rows else table.take(starts)


def _summed(folded: pa.Table, table: pa.Table, starts: Sequence[int], names: Sequence[str]) -> pa.Table:
    for name in names:
        sums = np.add.reduceat(table[name].to_numpy(), starts)
        folded = folded.set_column(folded.column_names.index(name), name, pa.array(sums))
    return folded
