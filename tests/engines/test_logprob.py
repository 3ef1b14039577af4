"""Log-probabilities against plain transformers, a row at a time; what cannot be read is NaN and costs that row alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import logprob
from routelmt_ray.engines.logprob import END, Passage, Reader, translations
from routelmt_ray.engines.tokenizers import prompt_encoder
from tests.conftest import DEMO

MODEL = ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo", batch_rows=5)
TOLERANCE = 1e-4
"""Of a mean in nats: float32 sums of a padded batch are taken in another order than those of one row."""


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(MODEL)


@pytest.fixture(scope="module")
def passages(demo_corpus: pa.Table) -> list[Passage]:
    rows = demo_corpus.slice(0, 24).to_pydict()
    return translations(MODEL, rows["source"], rows["source_lang"], rows["target_lang"], rows["reference"])


def plain(passage: Passage) -> tuple[float, float]:
    """Mean log-probability of the targets and mean entropy by the model's own logits, one row, double precision."""
    model = AutoModelForCausalLM.from_pretrained(MODEL.path, dtype=torch.float32).eval()
    end = model.generation_config.eos_token_id
    with torch.inference_mode():
        logs = torch.log_softmax(model(input_ids=torch.tensor([list(passage.ids)])).logits[0].double(), -1)
    at = [passage.first + i for i in range(len(passage.targets))]
    given = logs[at, [end if target == END else target for target in passage.targets]]
    return float(given.mean()), float(-(logs[at].exp() * logs[at]).sum(-1).mean())


def test_means_equal_plain_transformers(reader: Reader, passages: list[Passage]) -> None:
    log_probability, entropy = reader.read(passages, entropy=True)
    assert log_probability.dtype == np.float64 and log_probability.shape == (24,)
    for row in range(0, 24, 5):
        assert (log_probability[row], entropy[row]) == pytest.approx(plain(passages[row]), abs=TOLERANCE)
    assert np.ptp(log_probability) > 100 * TOLERANCE
    again = reader.read(passages)
    np.testing.assert_array_equal(again.log_probability, log_probability)
    assert np.isnan(again.entropy).all()


def test_pieces_of_the_vocabulary_projection_do_not_change_the_means(
    reader: Reader, passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reader.read(passages, entropy=True)
    monkeypatch.setattr(logprob, "_LOGITS", 7 * 5232)
    np.testing.assert_allclose(reader.read(passages, entropy=True), whole, atol=TOLERANCE, rtol=0)


def test_the_end_is_any_token_that_ends_an_answer(reader: Reader, passages: list[Passage]) -> None:
    """P(end) with two end tokens is the sum of theirs."""
    first = passages[0]
    alone = [
        reader.read([Passage(first.ids, len(first.ids) - 1, [end])]).log_probability[0] for end in (reader._ends[0], 17)
    ]
    two = Reader(MODEL)
    two._ends = [*reader._ends, 17]
    both = two.read([Passage(first.ids, len(first.ids) - 1, [END])]).log_probability[0]
    assert np.exp(both) == pytest.approx(np.exp(alone).sum(), abs=TOLERANCE)


def test_an_answer_stands_after_the_prompt_and_control_tokens_in_text_are_text() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL.path)
    text = "vel <|im_end|> mari"
    (passage,) = translations(MODEL, ["the <|im_start|> house"], ["en"], ["es"], [text])
    (prompt,) = prompt_encoder(MODEL).encode(["Spanish: the <|im_start|> house"])
    assert list(passage.ids[: passage.first + 1]) == prompt
    assert passage.targets == [*passage.ids[len(prompt) :], END]
    control = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert set(control) <= set(prompt) and not set(control) & set(passage.ids[len(prompt) :])
    (empty,) = translations(MODEL, ["the house"], ["en"], ["es"], [""])
    assert empty.targets == [END]


def test_what_cannot_be_read_is_nan(reader: Reader) -> None:
    sources = ["the house", None, "the house", "the house", "the house", "house " * 400, "house"]
    targets = ["es", "es", None, "xx-nonsense", "es", "es", "es"]
    texts = ["vel", "vel", "vel", "vel", None, "vel", "vel " * 1020]
    model = replace(MODEL, max_input_tokens=300)
    log_probability = reader.read(translations(model, sources, ["en"] * 7, targets, texts)).log_probability
    assert np.isnan(log_probability).tolist() == [False, True, True, True, True, True, True]
    assert reader.read([]).log_probability.shape == (0,)


def test_a_row_that_breaks_its_batch_is_nan_alone(reader: Reader, passages: list[Passage]) -> None:
    poison = Passage([10**6, 3], 0, [3])
    found = reader.read([*passages[:3], poison, *passages[3:9]]).log_probability
    assert np.flatnonzero(np.isnan(found)).tolist() == [3]
    np.testing.assert_allclose(np.delete(found, 3), reader.read(passages[:9]).log_probability, atol=TOLERANCE, rtol=0)


def test_a_model_that_caps_its_logits_is_refused(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    shutil.copytree(MODEL.path, tmp_path, dirs_exist_ok=True)
    Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=5232, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, head_dim=16, eos_token_id=5226, final_logit_softcapping=0.1, initializer_range=1.0,
        )
    ).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(ValueError, match="not a plain projection"):
        Reader(replace(MODEL, path=str(tmp_path)))
