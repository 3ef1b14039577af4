"""The table of words that a training adds to the head: it finds what words say, and is left out where they say nothing."""

import numpy as np
import pytest

from routelmt_ray.engines.source_words import Sources
from routelmt_ray.metrics.measures import normalized_area
from routelmt_ray.router.words import fit_words

WORDS = ["river", "stone", "cloud", "garden", "window", "letter", "silver", "hunter", "market", "winter"]
LANGUAGES: list[str | None] = ["es", "de"] * 300
TRAIN, STOP, TEST = np.arange(300), np.arange(300, 420), np.arange(420, 600)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, 4, replace=False)) for _ in range(600)]


def said(texts: list[str], word: str) -> np.ndarray:
    return np.array([word in text for text in texts], np.float64)


def test_head_and_words_each_bring_what_the_other_lacks(texts: list[str]) -> None:
    rng = np.random.default_rng(1)
    state = rng.normal(size=600)  # what only the model sees
    gain = (0.1 * state + 0.2 * said(texts, "river") - 0.2 * said(texts, "stone")).astype(np.float32)
    head = (3 * state).astype(np.float32)  # in another unit than the gain
    table, facts = fit_words(Sources(texts, LANGUAGES, []), gain, TRAIN, STOP, head[STOP])
    assert table is not None
    assert facts["stop_normalized_area"]["sum"] > max(facts["stop_normalized_area"][k] for k in ("head", "words"))
    total = head[TEST] + table([texts[i] for i in TEST], [LANGUAGES[i] for i in TEST])
    assert np.corrcoef(total, gain[TEST])[0, 1] > 0.97
    assert normalized_area(head[TEST], gain[TEST]) < 0.85 < normalized_area(total, gain[TEST])
    # The scale brings the words into the unit of the head: 30 times the gain.
    river, stone = table(["river cloud market winter", "stone cloud market winter"], ["es", "es"])
    assert river - stone == pytest.approx(30 * 0.4, rel=0.25)


def test_words_that_say_nothing_are_left_out(texts: list[str]) -> None:
    rng = np.random.default_rng(2)
    state = rng.normal(size=600)
    table, facts = fit_words(
        Sources(texts, LANGUAGES, []), (0.1 * state).astype(np.float32), TRAIN, STOP, state[STOP].astype(np.float32)
    )
    assert table is None
    assert facts["stop_normalized_area"]["head"] == pytest.approx(1)


def test_words_alone_count_where_the_head_says_nothing(texts: list[str]) -> None:
    gain = (0.2 * said(texts, "river")).astype(np.float32)
    for head in (np.zeros(len(STOP), np.float32), -gain[STOP]):
        table, _ = fit_words(Sources(texts, LANGUAGES, []), gain, TRAIN, STOP, head)
        assert table is not None
        assert np.isfinite(table.weight).all()
        river, stone = table(["river cloud market winter", "stone cloud market winter"], ["de", "de"])
        assert river > stone


def test_rows_on_which_the_model_failed_are_left_out(texts: list[str]) -> None:
    gain = (0.2 * said(texts, "river")).astype(np.float32)
    head = np.random.default_rng(3).normal(size=len(STOP)).astype(np.float32)
    head[::2] = np.nan
    table, _ = fit_words(Sources(texts, LANGUAGES, []), gain, TRAIN, STOP, head)
    alone, _ = fit_words(Sources(texts, LANGUAGES, []), gain, TRAIN, STOP[1::2], head[1::2])
    assert table is not None and alone is not None
    assert (table.weight == alone.weight).all()
    nothing, facts = fit_words(Sources(texts, LANGUAGES, []), gain, TRAIN, STOP, np.full(len(STOP), np.nan, np.float32))
    assert nothing is None and facts["stop_normalized_area"] == {}


def test_the_target_language_counts_beside_the_words(texts: list[str]) -> None:
    german = np.array([language == "de" for language in LANGUAGES])
    gain = (0.2 * said(texts, "river") + 0.3 * german).astype(np.float32)
    head = np.random.default_rng(4).normal(size=len(STOP)).astype(np.float32)
    table, _ = fit_words(Sources(texts, LANGUAGES, []), gain, TRAIN, STOP, head)
    blind, _ = fit_words(Sources(texts, [None] * 600, []), gain, TRAIN, STOP, head)
    assert table is not None and blind is not None
    asked = [texts[i] for i in TEST], [LANGUAGES[i] for i in TEST]
    assert np.corrcoef(table(*asked), gain[TEST])[0, 1] > 0.97
    assert np.corrcoef(blind(*asked), gain[TEST])[0, 1] < 0.7
    codes = ["de", "deu_Latn", "es", "fr", None]
    of_german, same, of_spanish, unknown, none = table(["river"] * 5, codes)
    assert of_german == same > unknown == none > of_spanish
    assert of_german - of_spanish == pytest.approx(np.ptp(table(["river", "river"], ["de", "es"])))


def test_vectors_of_tokens_say_that_words_are_alike(texts: list[str]) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(900, 6)).astype(np.float32)
    vectors[:, 5] = 1  # says nothing, and has no spread
    prompts = [[0, 1, *rng.integers(2, 900, 3).tolist()] for _ in range(600)]  # most tokens are rare
    state = np.array([vectors[ids, 0].mean() for ids in prompts])
    gain = (0.2 * state + 0.05 * said(texts, "river")).astype(np.float32)
    sources = Sources(texts, LANGUAGES, prompts)
    head = rng.normal(size=len(STOP)).astype(np.float32)
    table, _ = fit_words(sources, gain, TRAIN, STOP, head, vectors)
    blind, _ = fit_words(sources, gain, TRAIN, STOP, head)
    assert table is not None and blind is not None and len(blind.tokens) == 0
    assert table.tokens.shape == (900,) and table.tokens.dtype == np.float32
    found = [np.corrcoef(each(*sources.take(TEST)), gain[TEST])[0, 1] for each in (table, blind)]
    assert found[0] > 0.95 and found[1] < 0.5
    bare, _ = fit_words(Sources(texts, LANGUAGES, [[]] * 600), gain, TRAIN, STOP, head, vectors)
    assert bare is None or np.isfinite(bare.tokens).all()
