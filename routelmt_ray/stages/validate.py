"""Checks which rows can be translated, and makes their prompts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray.checks.terms import Glossary
from routelmt_ray.config import schema
from routelmt_ray.config.common import InputConfig, ModelConfig
from routelmt_ray.corpus import jsonl, salvage
from routelmt_ray.corpus.languages import pair_label, same_language
from routelmt_ray.corpus.pieces import is_blank
from routelmt_ray.engines.prompts import PromptFamily, load_family

NO_TERMS = Glossary()
_SHORT_CHARS = 1 << 16
"""A text of up to this number of characters is always tokenised to find its length."""


@dataclass
class CheckedRows:
    """The checked rows of a shard."""

    texts: list[str | None]
    """Source texts, without NUL characters, which tokenizers do not support."""
    source_langs: list[str | None]
    target_langs: list[str | None]
    statuses: list[str]
    """`ok`, or the reason why a row cannot be translated."""

    def ok(self) -> list[int]:
        """Finds the numbers of the rows that can be translated."""
        return [i for i, status in enumerate(self.statuses) if status == schema.OK]


def needed_columns(config: InputConfig) -> list[str]:
    """Lists the input columns that a check of the rows reads."""
    columns = config.columns
    named = [columns.source, columns.source_lang, columns.target_lang]
    return [c for c in dict.fromkeys(named) if c is not None] + [jsonl.BAD_LINE, salvage.UNREADABLE]


def validate(table: pa.Table, config: InputConfig, prompt: str) -> CheckedRows:
    """Checks each row separately, and gives it a status.

    Args:
        table: the columns of :func:`needed_columns`. Without the last two, no row counts as damaged.
        prompt: prompt family; it defines which languages have names.
    """
    source = table[config.columns.source]
    texts = [text and text.replace("\0", "") for text in strings(source)]
    codes = language_codes(table, config)
    broken = _broken(table, config)
    family = load_family(prompt)
    named: dict[tuple[str | None, str | None], str] = {}
    statuses = []
    for row, pair in enumerate(zip(*codes)):
        status = broken.get(row) or _text_status(texts[row])
        if status == schema.OK:
            if pair not in named:
                named[pair] = _language_status(*pair, family)
            status = named[pair]
        statuses.append(status)
    return CheckedRows(texts, codes[0], codes[1], statuses)


def _broken(table: pa.Table, config: InputConfig) -> dict[int, str]:
    """The reason why a row cannot be read, by row number."""
    broken = dict.fromkeys(_undecodable(table[config.columns.source]), schema.BAD_ENCODING)
    if salvage.UNREADABLE in table.column_names:
        needed = needed_columns(config)
        for row, lost in present(table[salvage.UNREADABLE]):
            if any(f"{name}.".startswith(f"{column}.") for column in lost["columns"] for name in needed):
                broken[row] = schema.UNREADABLE
    if jsonl.BAD_LINE in table.column_names:
        broken |= dict.fromkeys((row for row, _ in present(table[jsonl.BAD_LINE])), schema.BAD_LINE)
    return broken


def present(column: pa.ChunkedArray) -> Iterator[tuple[int, Any]]:
    """Lists the row number and the value of each entry that is not null."""
    rows = np.flatnonzero(pc.is_valid(column))
    return zip(rows.tolist(), column.take(rows).to_pylist())


def language_codes(table: pa.Table, config: InputConfig) -> tuple[list[str | None], list[str | None]]:
    """Reads the source and the target language code of each row, as given."""
    columns = config.columns
    source, target = (
        strings(table[column]) if column is not None else [constant] * table.num_rows
        for column, constant in ((columns.source_lang, config.source_lang), (columns.target_lang, config.target_lang))
    )
    return source, target


def strings(column: pa.ChunkedArray) -> list[str | None]:
    """Reads the values of a column of strings. Bytes that are not UTF-8 are replaced."""
    column = _plain(column)
    try:
        found: list[str | None] = column.to_pylist()
    except UnicodeDecodeError:
        values = pc.cast(column, pa.large_binary()).to_pylist()
        found = [value if value is None else value.decode(errors="replace") for value in values]
    return found


def _undecodable(column: pa.ChunkedArray) -> list[int]:
    """Numbers of the rows whose string is not UTF-8. Arrow does not check this when it reads."""
    column = _plain(column)
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        found = []
        for row, value in enumerate(pc.cast(column, pa.large_binary()).to_pylist()):
            try:
                (value or b"").decode()
            except UnicodeDecodeError:
                found.append(row)
        return found
    return []


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _text_status(text: str | None) -> str:
    if text is None:
        return schema.NULL_SOURCE
    if text == "":
        return schema.EMPTY_SOURCE
    if is_blank(text):
        return schema.BLANK_SOURCE
    return schema.OK


def _language_status(source: str | None, target: str | None, family: PromptFamily) -> str:
    if not source or not target:
        return schema.MISSING_LANGUAGE
    if None in family.names(source, target):
        return schema.UNKNOWN_LANGUAGE
    return schema.SAME_LANGUAGE if same_language(source, target) else schema.OK


@dataclass
class Encoded:
    """Prompts of some rows."""

    prompts: list[list[int]]
    """Token ids; empty for an engine without tokens."""
    contents: list[str]
    """Rendered prompts, for engines that send them as text; else empty."""
    source_tokens: list[int]
    """Number of tokens of the source text of the prompt; of characters for an engine without tokens."""
    too_long: list[bool]
    """True where the prompt is too long for the model."""
    room: list[int]
    """Most new tokens for each row."""


def encode(rows: CheckedRows, chosen: Sequence[int], model: ModelConfig, glossary: Glossary = NO_TERMS) -> Encoded:
    """Renders and tokenises the prompts of the chosen rows for one model."""
    pairs = [(rows.source_langs[i] or "", rows.target_langs[i] or "") for i in chosen]
    return encode_texts([rows.texts[i] or "" for i in chosen], pairs, model, glossary)


def renderer(family: PromptFamily, pair: tuple[str, str], glossary: Glossary) -> Callable[[str], str]:
    """Returns a function that renders the prompt of a text, with the terms that the text has.

    Args:
        pair: language codes of the source and the target, which the family has names for.
    """
    (source, target), label = map(str, family.names(*pair)), pair_label(*pair)
    if not (family.with_terms and glossary.terms):
        return lambda text: family.render(text, source, target)
    return lambda text: family.render(text, source, target, glossary.find(text, pair[0], label))


def encode_texts(
    texts: Sequence[str], pairs: Sequence[tuple[str, str]], model: ModelConfig, glossary: Glossary = NO_TERMS
) -> Encoded:
    """Renders and tokenises the prompts of some texts for one model.

    A text with more characters than the longest prompt could hold is too long, and is not tokenised. So one huge row
    costs no memory.

    Args:
        pairs: source and target language code of each text.
    """
    if not model.kind.has_model:
        return Encoded(
            [[] for _ in texts], ["" for _ in texts], [len(t) for t in texts], [False] * len(texts), [0] * len(texts)
        )
    from routelmt_ray.engines.tokenizers import context_tokens, input_limit, prompt_encoder

    family, encoder = load_family(model.prompt), prompt_encoder(model)
    limit, context = input_limit(model), context_tokens(model)
    huge = [len(text) > max(limit * encoder.longest_token, _SHORT_CHARS) for text in texts]
    texts = ["" if out else text for text, out in zip(texts, huge)]
    render = {pair: renderer(family, pair, glossary) for pair in set(pairs)}
    contents = [render[pair](text) for text, pair in zip(texts, pairs)]
    prompts = encoder.encode(contents)
    source_tokens = encoder.count(texts)
    room = [
        max(
            1,
            min(
                model.max_new_tokens,
                int(model.new_tokens_ratio * n) + model.new_tokens_extra,
                context - len(ids),
            ),
        )
        for n, ids in zip(source_tokens, prompts)
    ]
    too_long = [out or len(ids) > limit for ids, out in zip(prompts, huge)]
    sent = contents if model.kind.sends_text(model) else [""] * len(texts)
    return Encoded(prompts, sent, source_tokens, too_long, room)
