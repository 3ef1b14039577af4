"""Prompts of rows of any length, and the way back to rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from routelmt_ray.checks.terms import Glossary
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines.tokenizers import load_tokenizer
from routelmt_ray.stages.pieces import fold_scores, fold_translations, prompts_of
from routelmt_ray.stages.validate import CheckedRows
from tests.conftest import DEMO

SMALL = ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo", max_input_tokens=40, max_new_tokens=96)
TEXTS = ["A dog.", None, "The dog sleeps. " * 30, "x" * 10]
ROWS = CheckedRows(TEXTS, ["en"] * 4, ["es"] * 4, ["ok", "null_source", "ok", "ok"])


def test_a_row_has_one_prompt_unless_it_is_split() -> None:
    kept = prompts_of(ROWS, SMALL, "quarantine")
    assert kept.row == [0, 1, 2, 3]
    assert kept.refused == [None, "null_source", "too_long", None]
    assert kept.ids[2] == [] and kept.text[2] is None
    found = prompts_of(ROWS, SMALL, "split")
    pieces = [text for row, text in zip(found.row, found.text) if row == 2]
    assert " ".join(map(str, pieces)) == str(TEXTS[2]).strip()
    assert len(pieces) > 2
    assert found.row == [0, 1, *[2] * len(pieces), 3]
    assert all(len(ids) <= 40 for ids in found.ids)
    assert [j for row, j in zip(found.row, found.joint) if row == 2][1:] == [" "] * (len(pieces) - 1)
    cut = prompts_of(ROWS, SMALL, "truncate")
    assert cut.row == [0, 1, 2, 3]
    assert str(TEXTS[2]).startswith(str(cut.text[2]))
    assert cut.note[:2] == [None, None] and "of 152 tokens" in str(cut.note[2])


def test_a_prompt_without_room_for_any_text_is_too_long_under_every_policy() -> None:
    tight = ModelConfig(path=SMALL.path, prompt="demo", max_input_tokens=1)
    for policy in ("quarantine", "truncate", "split"):
        assert prompts_of(ROWS, tight, policy).refused == ["too_long", "null_source", "too_long", "too_long"]


def test_terms_are_in_the_prompts_of_those_texts_that_have_them(tmp_path: Path) -> None:
    family = tmp_path / "own.yaml"
    family.write_text("{template: '{tgt}: {text}', with_terms: '{tgt} ({terms}): {text}'}")
    model = replace(SMALL, prompt=str(family), max_input_tokens=60)
    glossary = Glossary({"": {"cat": "gatito"}, "en→es": {"dog": "perrito"}, "en→de": {"dog": "Hund"}})
    texts = ["A dog.", "A bird.", "The dog sleeps. " + "The bird sleeps. " * 30 + "The cat sleeps."]
    rows = CheckedRows([*texts, "A Dog."], ["en"] * 4, ["es", "es", "spa_Latn", "de"], ["ok"] * 4)
    plain, asked = prompts_of(rows, model, "split"), prompts_of(rows, model, "split", glossary)
    said = [load_tokenizer(model).decode(ids) for ids in asked.ids]
    terms = {"perrito": "dog = perrito", "gatito": "cat = gatito", "Hund": "dog = Hund"}
    found = [[word for word, line in terms.items() if f"({line})" in text] for text in said]
    assert found[:2] == [["perrito"], []] and found[-1] == ["Hund"]
    assert [found[2], *found[-2:-1]] == [["perrito"], ["gatito"]], "the first and the last piece of the long text"
    assert not any(found[3:-2]) and len(found) > 5
    assert asked.ids[1] == plain.ids[1] and all(len(ids) <= 60 for ids in asked.ids)
    assert asked.source_tokens[0] == plain.source_tokens[0] and asked.room[0] == plain.room[0]
    length = len(asked.ids[0])
    for limit, refused in ((length, None), (length - 1, "too_long")):
        assert prompts_of(rows, replace(model, max_input_tokens=limit), "quarantine", glossary).refused[0] == refused


def test_a_huge_text_is_not_tokenised_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from routelmt_ray.engines.prompts import PromptEncoder

    longest, tokens = [0], PromptEncoder.tokens

    def watched(self: PromptEncoder, texts: list[str]) -> list[list[int]]:
        longest[0] = max([longest[0], *map(len, texts)])
        return tokens(self, texts)

    monkeypatch.setattr(PromptEncoder, "tokens", watched)
    rows = CheckedRows(["The dog sleeps. " * 5_000], ["en"], ["es"], ["ok"])
    assert prompts_of(rows, SMALL, "quarantine").refused == ["too_long"]
    assert len(prompts_of(rows, SMALL, "split").row) > 300
    assert longest[0] < 1_000


def test_scores_of_pieces_are_weighted_by_source_tokens() -> None:
    table = pa.table(
        {
            "place": [5, 6, 6, 7, 8, 8],
            "predicted_gain": np.array([0.1, 0.2, 0.6, np.nan, 0.3, np.nan], np.float32),
            "predicted_quality": np.array([0.5, 1, 0, 0.5, 0.5, 0.5], np.float32),
            "source_tokens": np.array([3, 1, 3, 0, 1, 1], np.int32),
            "prompt_tokens": np.array([9, 7, 9, 0, 7, 7], np.int32),
            "status": ["ok", "ok", "ok", "too_long", "ok", "ok"],
        }
    )
    rows = fold_scores(table).to_pydict()
    assert rows["place"] == [5, 6, 7, 8]
    assert rows["predicted_gain"][:2] == pytest.approx([0.1, 0.5])
    assert np.isnan(rows["predicted_gain"][2:]).all()
    assert rows["predicted_quality"] == pytest.approx([0.5, 0.25, 0.5, 0.5])
    assert (rows["source_tokens"], rows["prompt_tokens"]) == ([3, 4, 0, 2], [9, 16, 0, 14])


def test_translations_of_pieces_become_those_of_rows() -> None:
    table = pa.table(
        {
            "place": [5, 6, 6, 7, 8],
            "translation": ["a", "b", "c", "d", None],
            "source_tokens": np.array([1, 2, 3, 4, 5], np.int32),
            "output_tokens": np.array([1, 2, 3, 4, 5], np.int32),
            "status": ["ok", "ok", "output_limit", "output_limit", "too_long"],
            "error": [None, None, "cut at 3 tokens", "cut at 4 tokens", "why"],
            "joint": ["", "", " ", "", ""],
            "note": [None, None, None, "cut to its first 2 of 9 tokens", None],
        }
    )
    rows = fold_translations(table).to_pydict()
    assert rows["place"] == [5, 6, 7, 8]
    assert rows["translation"] == ["a", "b c", "d", None]
    assert rows["status"] == ["ok", "output_limit", "truncated", "too_long"]
    assert rows["error"][1:3] == ["piece 2 of 2: cut at 3 tokens", "cut to its first 2 of 9 tokens; cut at 4 tokens"]
    assert (rows["source_tokens"], rows["output_tokens"]) == ([1, 5, 4, 5], [1, 5, 4, 5])


def test_a_shard_without_rows_stays_one_row() -> None:
    none = pa.table(
        {
            "place": pa.array([None], pa.int64()), "translation": pa.array([None], pa.string()), "source_tokens": [0],
            "output_tokens": [0], "status": [""], "error": pa.array([None], pa.string()), "joint": [""],
            "note": pa.array([None], pa.string()),
        }
    )  # fmt: skip
    assert fold_translations(none).to_pydict() == none.drop_columns(["joint", "note"]).to_pydict()
