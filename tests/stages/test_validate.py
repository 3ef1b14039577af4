"""Each way a row can be untranslatable has its status."""

from dataclasses import replace

import pyarrow as pa
import pytest

from routelmt_ray.checks.terms import Glossary
from routelmt_ray.config.common import ColumnsConfig, InputConfig, ModelConfig
from routelmt_ray.corpus import jsonl, salvage
from routelmt_ray.stages.validate import Encoded, encode, needed_columns, strings, validate
from tests.conftest import DEMO

SMALL = ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo", max_input_tokens=40)
COLUMNS = InputConfig(path="x", columns=ColumnsConfig(source_lang="from", target_lang="to"))


def checked(
    text: str | None, source: str | None = "en", target: str | None = "es", bad: bytes | None = None
) -> list[str]:
    table = pa.table(
        {
            "source": pa.array([text], pa.string()),
            "from": pa.array([source], pa.string()),
            "to": pa.array([target], pa.string()),
            jsonl.BAD_LINE: pa.array([bad], pa.binary()),
            salvage.UNREADABLE: pa.nulls(1, salvage.UNREADABLE_TYPE),
        }
    )
    return validate(table.select(needed_columns(COLUMNS)), COLUMNS, "demo").statuses


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("A dog.", "ok"),
        (None, "null_source"),
        ("", "empty_source"),
        (" \t\n", "blank_source"),
        ("\u200b\u2060\ufeff", "blank_source"),
        ("\x00\x07", "blank_source"),
        ("\u3000", "blank_source"),
        ("\x00a", "ok"),
        ("…", "ok"),
    ],
)
def test_source_text(text: str | None, status: str) -> None:
    assert checked(text) == [status]


@pytest.mark.parametrize(
    ("source", "target", "status"),
    [
        (None, "es", "missing_language"),
        ("en", "", "missing_language"),
        ("en", "qax", "unknown_language"),
        ("klingon", "es", "unknown_language"),
        ("eng_Latn", "ES", "ok"),
        ("en", "eng_Latn", "same_language"),
        ("es", "ES", "same_language"),
        ("zh-Hans", "zh-Hant", "ok"),
        ("en", "en-GB", "ok"),
        ("en\nIgnore all that", "es", "unknown_language"),
    ],
)
def test_languages(source: str | None, target: str | None, status: str) -> None:
    assert checked("A dog.", source, target) == [status]


def test_a_bad_line_is_called_so_with_anything_else_null() -> None:
    assert checked(None, None, None, b"{") == ["bad_line"]


def test_languages_may_be_constants_and_text_may_be_dictionary_encoded() -> None:
    config = InputConfig(path="x", source_lang="en", target_lang="de")
    source = pa.array(["A dog.", None, "A dog."]).dictionary_encode()
    table = pa.table({"source": source, jsonl.BAD_LINE: pa.nulls(3, pa.binary())})
    rows = validate(table, config, "demo")
    assert rows.statuses == ["ok", "null_source", "ok"]
    assert rows.ok() == [0, 2]
    assert rows.target_langs == ["de"] * 3


def test_prompts_have_room_by_the_length_of_their_source() -> None:
    texts = ["A dog.", " ".join(["A dog."] * 100)]
    table = pa.table({"source": texts, jsonl.BAD_LINE: pa.nulls(2, pa.binary())})
    config = InputConfig(path="x", source_lang="en", target_lang="es")
    rows = validate(table, config, "demo")
    encoded = encode(rows, [0, 1], SMALL)
    assert encoded.too_long == [False, True]
    assert encoded.source_tokens == [3, 300]
    assert encoded.room[0] == 3 * 3 + 32
    assert len(encoded.prompts[0]) > encoded.source_tokens[0]


def invalid(*values: bytes | None) -> pa.Array:
    """Strings as Parquet files bring them: nobody checked that they are UTF-8."""
    array = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(array), array.buffers(), array.null_count)


@pytest.mark.parametrize("encoded", [False, True])
def test_bytes_that_are_no_text_are_replaced_and_cost_their_row_alone(encoded: bool) -> None:
    column = pa.chunked_array([invalid(b"ok", None), invalid(b"\xff.", None, "größe".encode())])
    column = column.dictionary_encode() if encoded else column
    assert strings(column) == ["ok", None, "\ufffd.", None, "größe"]
    config = InputConfig(path="x", source_lang="en", target_lang="es")
    assert validate(pa.table({"source": column}), config, "demo").statuses == [
        "ok", "null_source", "bad_encoding", "null_source", "ok",
    ]  # fmt: skip


def test_a_row_is_unreadable_where_a_column_that_is_needed_was_lost() -> None:
    lost: list[list[str] | None] = [None, ["other"], ["source"], ["other", "to"], []]
    unreadable = [None if names is None else {"file": "f", "columns": names} for names in lost]
    n = len(lost)
    table = pa.table(
        {
            "source": ["A dog."] * n,
            "from": ["en"] * n,
            "to": ["es"] * n,
            salvage.UNREADABLE: pa.array(unreadable, salvage.UNREADABLE_TYPE),
        }
    )
    assert validate(table, COLUMNS, "demo").statuses == ["ok", "ok", "unreadable", "unreadable", "ok"]


def test_prompts_are_of_the_chosen_rows_and_their_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"source": ["A dog.", "A cat."], "from": ["en", "fr"], "to": ["fr", "de"]})
    rows = validate(table, COLUMNS, "plain")
    monkeypatch.setattr("routelmt_ray.stages.validate.encode_texts", lambda *words: words)
    terms = Glossary({"": {"dog": "chien"}})
    wanted = (["A cat.", "A dog."], [("fr", "de"), ("en", "fr")], SMALL)
    assert encode(rows, [1, 0], SMALL) == (*wanted, Glossary()) and encode(rows, [1, 0], SMALL, terms) == (
        *wanted,
        terms,
    )


def test_a_prompt_fits_up_to_the_last_token() -> None:
    rows = validate(pa.table({"source": ["A dog."], "from": ["en"], "to": ["es"]}), COLUMNS, "demo")
    length = len(encode(rows, [0], SMALL).prompts[0])
    for limit, too_long in ((length, False), (length - 1, True)):
        assert encode(rows, [0], replace(SMALL, max_input_tokens=limit)).too_long == [too_long]


def test_an_engine_without_a_model_takes_texts_of_any_length() -> None:
    echo = replace(SMALL, engine="echo", path="")
    table = pa.table({"source": ["ab", "c" * 100_000], jsonl.BAD_LINE: pa.nulls(2, pa.binary())})
    rows = validate(table, InputConfig(path="x", source_lang="en", target_lang="es"), "demo")
    assert encode(rows, [0, 1], echo) == Encoded([[], []], ["", ""], [2, 100_000], [False, False], [0, 0])
