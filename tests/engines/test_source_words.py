"""Hashed words of a source: what is counted, that a text is alone in a batch, and that tables of today can be read tomorrow."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from routelmt_ray.engines.source_words import COLUMNS, FILE, SourceFeatures, WordTable, source_features

TEXTS = ["Hello world, hello!", "", "  ...", "ab", "日本語 mañana’s", "\ud800 lone", "ab ab", "𝒳𝒴"]


def of(found: SourceFeatures, row: int) -> dict[int, float]:
    here = found.row == row
    return dict(zip(found.column[here].tolist(), found.value[here].tolist()))


def test_words_pairs_and_runs_are_counted() -> None:
    found = source_features(["ab", "ab ab", "AB!", "ab c"])
    one, two, loud, more = (of(found, row) for row in range(4))
    words = {column for column in one if column < COLUMNS // 2}
    assert len(words) == 1
    assert len(one) == 1 + len([" a", "ab", "b ", " ab", "ab ", " ab "])
    assert set(one.values()) == {1.0}
    assert loud == one  # neither case nor punctuation
    assert {two[column] for column in one} == {1 + np.log(2)}
    assert len(two) == len(one) + 1 and len(set(two) - set(one)) == 1  # the pair
    assert len(more) == len(one) + 2 + len([" c", "c ", " c "])


def test_a_text_has_the_same_features_in_every_batch() -> None:
    together = source_features(TEXTS)
    for row, text in enumerate(TEXTS):
        assert of(together, row) == of(source_features([text]), 0), text
        assert of(together, row) or not any(c.isalnum() for c in text)
    assert len(source_features([]).row) == len(source_features(["", "?"]).row) == 0


def test_columns_are_those_of_the_tables_that_are_written() -> None:
    found = source_features(["The quick brown fox", "naïve Ünïcode 日本語"])
    assert hashlib.sha256(found.column.astype("<i8").tobytes()).hexdigest()[:16] == "2d2522b2b3750cbc"


def test_each_half_of_a_text_has_the_length_1() -> None:
    rarity = np.random.default_rng(0).uniform(1, 5, COLUMNS).astype(np.float32)
    found = source_features(TEXTS).scaled(rarity)
    for row in (0, 3, 4):
        values = of(found, row)
        for half in (0, 1):
            squares = [v * v for column, v in values.items() if column // (COLUMNS // 2) == half]
            assert sum(squares) == pytest.approx(1)


def test_a_table_adds_up_the_weights_of_a_text() -> None:
    rng = np.random.default_rng(1)
    table = WordTable(rng.uniform(1, 5, COLUMNS).astype(np.float32), rng.normal(size=COLUMNS).astype(np.float32))
    features = source_features(TEXTS).scaled(table.rarity)
    expected = [sum(v * table.weight[c] for c, v in of(features, row).items()) for row in range(len(TEXTS))]
    found = table(TEXTS, ["es", None] * 4)
    assert found == pytest.approx(np.array(expected), abs=1e-6)
    assert found[1] == found[2] == 0
    assert table([], []).shape == (0,) and table([], []).dtype == np.float32


def test_a_known_target_language_adds_its_number() -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=COLUMNS).astype(np.float32)
    table = WordTable(np.ones(COLUMNS, np.float32), weight, {"de": 0.5, "zh-Hant": -2.0})
    plain = WordTable(table.rarity, weight)
    codes = ["de", "deu_Latn", "zh_TW", "zh", "es", None, "", "DE"]
    added = table(TEXTS, codes) - plain(TEXTS, codes)
    assert added == pytest.approx([0.5, 0.5, -2, 0, 0, 0, 0, 0.5], abs=1e-6)


def test_a_token_has_a_weight_and_a_prompt_the_mean_of_its_tokens() -> None:
    rng = np.random.default_rng(3)
    plain = WordTable(np.ones(COLUMNS, np.float32), rng.normal(size=COLUMNS).astype(np.float32), {"de": 0.5})
    table = WordTable(plain.rarity, plain.weight, plain.languages, np.array([1, 2, 4], np.float32))
    texts, codes = ["one river", "", "two", "three"], ["de", "de", None, None]
    added = table(texts, codes, [[2, 0, 0], [1], [], [1, 3, 99]]) - plain(texts, codes)
    assert added == pytest.approx([2, 2, 0, 2 / 3], abs=1e-6), "an unknown token and an empty prompt add 0"
    assert table([], [], []).shape == (0,)
    with pytest.raises(ValueError, match="0 prompts for 4 texts, but this table of words reads the prompt of each"):
        table(texts, codes)
    assert (plain(texts, codes, [[2]] * 4) == plain(texts, codes)).all()


def test_a_table_is_read_back_and_another_one_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rarity, weight = rng.uniform(1, 5, COLUMNS).astype(np.float32), rng.normal(size=COLUMNS).astype(np.float32)
    table = WordTable(rarity, weight, {"de": 0.5, "es": -0.25}, rng.normal(size=40).astype(np.float32))
    content = table.to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(ValueError, match="names a table of words, but"):
        WordTable.read(tmp_path, digest)
    (tmp_path / FILE).write_bytes(content)
    again = WordTable.read(tmp_path, digest)
    assert (again.weight == table.weight).all() and (again.rarity == table.rarity).all()
    assert again.languages == table.languages and (again.tokens == table.tokens).all()
    middle = bytearray(content)
    middle[len(middle) // 2] ^= 1
    (tmp_path / FILE).write_bytes(bytes(middle))
    with pytest.raises(ValueError, match="router.json belongs to"):
        WordTable.read(tmp_path, digest)
    short = WordTable(table.rarity[:9], table.weight[:9]).to_bytes()
    (tmp_path / FILE).write_bytes(short)
    for broken in (
        WordTable(rarity, weight * np.float32("nan")),
        WordTable(rarity - rarity[0], weight),
        WordTable(rarity, weight, {"de": np.inf}),
        WordTable(rarity, weight, {}, np.array([1, np.nan], np.float32)),
    ):
        (tmp_path / FILE).write_bytes(broken.to_bytes())
        with pytest.raises(ValueError, match="not finite, or a rarity that is not above 0"):
            WordTable.read(tmp_path, hashlib.sha256(broken.to_bytes()).hexdigest())
    (tmp_path / FILE).write_bytes(short)
    with pytest.raises(ValueError, match="is not a table of"):
        WordTable.read(tmp_path, hashlib.sha256(short).hexdigest())
