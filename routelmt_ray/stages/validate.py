"""Which rows can be translated, and their prompts."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray import jsonl, schema
from routelmt_ray.config import InputConfig, ModelConfig
from routelmt_ray.prompts import PromptFamily, load_family

_SEPARATOR_OR_CONTROL = ("C", "Z")


@dataclass
class Rows:
    """Rows of a shard, checked."""

    texts: list[str | None]
    """Source texts."""
    source_langs: list[str | None]
    """Language codes as given."""
    target_langs: list[str | None]
    """Language codes as given."""
    statuses: list[str]
    """`ok`, or why a row cannot be translated."""

    def ok(self) -> list[int]:
        """Numbers of the rows that can be translated."""
        return [i for i, status in enumerate(self.statuses) if status == schema.OK]


def needed_columns(config: InputConfig) -> list[str]:
    """Input columns this stage reads."""
    columns = config.columns
    named = [columns.source, columns.source_lang, columns.target_lang]
    return [c for c in dict.fromkeys(named) if c is not None] + [jsonl.BAD_LINE]


def validate(table: pa.Table, config: InputConfig, prompt: str) -> Rows:
    """Checks each row by itself.

    Args:
        table: the columns of :func:`needed_columns`.
        config: which column holds what.
        prompt: prompt family; it decides which languages have names.
    """
    texts = _strings(table, config.columns.source)
    codes = language_codes(table, config)
    bad = pc.is_valid(table[jsonl.BAD_LINE]).to_pylist()
    family = load_family(prompt)
    named: dict[tuple[str | None, str | None], str] = {}
    statuses = []
    for text, source, target, bad_line in zip(texts, codes[0], codes[1], bad):
        status = schema.BAD_LINE if bad_line else _text_status(text)
        if status == schema.OK:
            if (source, target) not in named:
                named[source, target] = _language_status(source, target, family)
            status = named[source, target]
        statuses.append(status)
    return Rows(texts, codes[0], codes[1], statuses)


def language_codes(table: pa.Table, config: InputConfig) -> tuple[list[str | None], list[str | None]]:
    """Source and target language code of each row, as given."""
    columns = config.columns
    source, target = (
        _strings(table, column) if column is not None else [constant] * table.num_rows
        for column, constant in ((columns.source_lang, config.source_lang), (columns.target_lang, config.target_lang))
    )
    return source, target


def _strings(table: pa.Table, column: str) -> list[str | None]:
    values = table[column]
    if pa.types.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    strings: list[str | None] = values.to_pylist()
    return strings


def _text_status(text: str | None) -> str:
    if text is None:
        return schema.NULL_SOURCE
    if text == "":
        return schema.EMPTY_SOURCE
    if all(unicodedata.category(c)[0] in _SEPARATOR_OR_CONTROL for c in text):
        return schema.BLANK_SOURCE
    return schema.OK


def _language_status(source: str | None, target: str | None, family: PromptFamily) -> str:
    if not source or not target:
        return schema.MISSING_LANGUAGE
    return schema.UNKNOWN_LANGUAGE if None in family.names(source, target) else schema.OK


@dataclass
class Encoded:
    """Prompts of some rows."""

    prompts: list[list[int]]
    """Token ids; empty for an engine without tokens."""
    source_tokens: list[int]
    """Tokens of the prompt's own source text; characters for an engine without tokens."""
    too_long: list[bool]
    """True where the model cannot take the prompt."""
    room: list[int]
    """Most new tokens of each row."""


def encode(rows: Rows, chosen: Sequence[int], model: ModelConfig) -> Encoded:
    """Renders and tokenises the prompts of the chosen rows for one model."""
    texts = [rows.texts[i] or "" for i in chosen]
    if model.engine == "echo":
        lengths = [len(t) for t in texts]
        return Encoded([[] for _ in chosen], lengths, [False] * len(chosen), [0] * len(chosen))
    from routelmt_ray.engines.tokenizers import context_tokens, input_limit, prompt_encoder

    family, encoder = load_family(model.prompt), prompt_encoder(model)
    names = [family.names(rows.source_langs[i] or "", rows.target_langs[i] or "") for i in chosen]
    prompts = encoder.encode([family.render(t, str(s), str(g)) for t, (s, g) in zip(texts, names)])
    source_tokens, limit, context = encoder.count(texts), input_limit(model), context_tokens(model)
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
    return Encoded(prompts, source_tokens, [len(ids) > limit for ids in prompts], room)
