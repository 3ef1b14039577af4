"""Names that packages share: columns, statuses of rows, states that heads read."""

import pyarrow as pa

OK = "ok"

# Why a row cannot be translated at all; such a row gets no score and goes to quarantine.
BAD_LINE = "bad_line"
UNREADABLE = "unreadable"
BAD_ENCODING = "bad_encoding"
NULL_SOURCE = "null_source"
EMPTY_SOURCE = "empty_source"
BLANK_SOURCE = "blank_source"
MISSING_LANGUAGE = "missing_language"
UNKNOWN_LANGUAGE = "unknown_language"
TOO_LONG = "too_long"

SAME_LANGUAGE = "same_language"
"""Nothing to translate: the source itself is the translation."""

REPEAT = "repeat"
"""The segment occurs in an earlier row, whose translation this row gets; never in the output."""

# What may happen while translating.
OUTPUT_LIMIT = "output_limit"
"""The row is translated, but the translation was cut at the limit of new tokens."""
TRUNCATED = "truncated"
"""Only the beginning of the source is translated."""
EMPTY_OUTPUT = "empty_output"
ENGINE_ERROR = "engine_error"
CONTENT_FILTER = "content_filter"

# What a check finds wrong with a translation.
LEAKED_MARKUP = "leaked_markup"
COPIED_SOURCE = "copied_source"
WRONG_LANGUAGE = "wrong_language"
REPETITION = "repetition"
LOST_MARKUP = "lost_markup"
BAD_LENGTH = "bad_length"

STATUS_MEANING = {
    OK: "translated",
    OUTPUT_LIMIT: "translated, but cut at the limit of new tokens",
    TRUNCATED: "translated, but only the beginning of a source that is longer than the model takes",
    SAME_LANGUAGE: "source and target language are the same: the source stands as it is",
    REPEAT: "its segment occurs in an earlier row",
    BAD_LINE: "the input line is not a JSON object",
    UNREADABLE: "the row's part of the file is damaged",
    BAD_ENCODING: "the source is not valid UTF-8",
    NULL_SOURCE: "the source is null",
    EMPTY_SOURCE: "the source is empty",
    BLANK_SOURCE: "the source has only blanks, control or zero-width characters",
    MISSING_LANGUAGE: "the row's language code is null or empty",
    UNKNOWN_LANGUAGE: "the row's language code names no known language",
    TOO_LONG: "the prompt is longer than the model takes",
    EMPTY_OUTPUT: "the model answered with nothing",
    ENGINE_ERROR: "the model failed on this row",
    CONTENT_FILTER: "a content filter of the server refused this row",
    LEAKED_MARKUP: "the translation has control tokens, text of the prompt, an introduction or a second answer",
    COPIED_SOURCE: "the translation is a copy of the source, or of a long part of it",
    WRONG_LANGUAGE: "the translation is in another language or script than the wanted one",
    REPETITION: "the translation repeats itself",
    LOST_MARKUP: "the translation has lost or changed a part of the source that must stay as it is",
    BAD_LENGTH: "the translation is much shorter or longer than others of this language pair",
}
TRANSLATED = (OK, OUTPUT_LIMIT, TRUNCATED)
DELIVERED = (*TRANSLATED, SAME_LANGUAGE)
"""Statuses of rows with a text in the output; rows with any other status go to quarantine."""

SMALL, LARGE = "small", "large"

OUTPUT_COLUMNS = pa.schema(
    [
        ("translation", pa.string()),
        ("model", pa.string()),
        ("route", pa.string()),
        ("route_reason", pa.string()),
        ("predicted_gain", pa.float32()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
"""Columns that the merge adds to those of the input."""
DUPLICATE_OF = pa.field("duplicate_of", pa.int64())
"""Column that it also adds where repeated segments are translated once."""
FROM_MEMORY = pa.field("from_memory", pa.bool_())
"""Column that it also adds where translations may come from a memory of earlier runs."""

LAST_TOKEN, MEAN = "last_token", "mean"
"""Tokens of a prompt whose states the heads of a router read: the last one, or the mean over all."""
