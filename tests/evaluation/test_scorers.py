"""Scorers: what they say of rows, against hand-worked cases and plain transformers."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.evaluate import EvaluateConfig
from routelmt_ray.config.label import CometConfig
from routelmt_ray.config.loader import load
from routelmt_ray.demo import corpus
from routelmt_ray.engines.artifact import file_digest
from routelmt_ray.engines.source_words import COLUMNS, WordTable
from routelmt_ray.evaluation.fits import fit_logistic, fit_ridge
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.lm_scorers import OutputLogProb, Surprise, TrainedRouter, WinProbability, ask
from routelmt_ray.evaluation.scorers import (
    GAIN,
    LENGTH,
    RANDOM,
    RANK,
    TOKENS,
    Oracles,
    Parts,
    Rarity,
    Scored,
    Unavailable,
    column,
)
from routelmt_ray.evaluation.suite import list_scorers, run_scorers
from tests.conftest import DEMO
from tests.metrics.tiny_comet import make_checkpoint, make_encoder

SMALL = ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo", batch_rows=3, max_new_tokens=32)


def labelled(sources: list[str], gain: Any = None, target_lang: str | None = "es", **more: Any) -> Labelled:
    n = len(sources)
    defaults: dict[str, Any] = {
        "source_langs": ["en"] * n,
        "target_langs": [target_lang] * n,
        "documents": sources,
        "gain": np.zeros(n) if gain is None else np.asarray(gain, float),
        "quality_small": None,
        "quality_large": None,
        "places": np.arange(n),
    }
    return Labelled(sources, **defaults | more)


def alone(rows: Labelled) -> Parts:
    return Parts(rows, None, None)


@pytest.fixture(scope="module")
def sentences(demo_corpus: Any) -> list[str]:
    return list(demo_corpus["source"].to_pylist()[:10])


def test_scorers_without_a_model_by_hand():
    rows = labelled(
        ["a b", "a a a", "It's  a\tzebra!"], [0.1, -0.2, 0.3], numbers={"mine": np.array([3.0, np.nan, 1.0])}
    )
    assert LENGTH(alone(rows))[0].score.tolist() == [3, 5, 14]
    assert RANDOM(alone(rows))[0].score.tolist() == [0, 0, 0]
    rarest, mean = Rarity()(alone(rows))
    # Eight words: a five times, b, it's and zebra once each.
    often, once = np.log(8 / 5), np.log(8)
    assert rarest.score == pytest.approx([once, often, once])
    assert mean.score == pytest.approx([(often + once) / 2, often, (often + 2 * once) / 3])
    assert Oracles()(alone(rows))[0].score == pytest.approx([0.1, -0.2, 0.3])
    mine = column("mine", GAIN)(alone(rows))[0]
    assert mine.unit == GAIN and mine.score.tolist()[::2] == [3, 1]


def test_rarity_counts_characters_where_words_are_not_spaced():
    assert Rarity()(alone(labelled(["猫在猫上", "猫猫猫"])))[0].score == pytest.approx([np.log(7), np.log(7 / 5)])


@pytest.mark.parametrize("scorer", [TOKENS, column("none", RANK), OutputLogProb(SMALL), WinProbability(SMALL)])
def test_what_is_missing_is_named(scorer: Any):
    scored, skipped, _ = run_scorers([scorer], alone(labelled(["a"])))
    assert scored == []
    assert [s["name"] for s in skipped] == list(scorer.titles)
    assert all(s["reason"] and s["reason"] != "the set lacks what it needs" for s in skipped)


class Fixed:
    """Says what it is told to."""

    titles = {"fixed": "Fixed"}  # noqa: RUF012

    def __init__(self, score: list[float]) -> None:
        self._score = np.array(score, np.float32)

    def __call__(self, parts: Parts) -> list[Scored]:
        return [Scored("fixed", "Fixed", self._score)]


def test_rows_a_scorer_failed_on_come_last():
    (one,), _, warnings = run_scorers([Fixed([0.5, np.nan, -1.0])], alone(labelled(["a", "b", "c"])))
    assert one.score[1] < -1 and np.isfinite(one.score).all()
    assert "1 of 3 rows" in warnings[0]


@pytest.mark.parametrize("score", [[2.0, 2.0, 2.0], [np.nan] * 3])
def test_a_constant_score_is_warned_of(score: list[float]):
    (one,), _, warnings = run_scorers([Fixed(score)], alone(labelled(["a", "b", "c"])))
    assert "as good as random" in warnings[0] and np.ptp(one.score) == 0


def test_a_score_of_the_wrong_length_is_an_error():
    with pytest.raises(ValueError, match="fixed gave 2 scores for 3 rows"):
        run_scorers([Fixed([1, 2])], alone(labelled(["a", "b", "c"])))


def test_the_source_is_found_in_its_prompt(sentences: list[str]):
    tokenizer = AutoTokenizer.from_pretrained(SMALL.path)
    for asked, text in zip(ask(labelled(sentences), SMALL), sentences):
        found = tokenizer.decode([asked.ids[i] for i in asked.source])
        assert found.replace(" ", "").lower() == text.replace(" ", "").lower()


def test_rows_that_cannot_be_asked(sentences: list[str]):
    with pytest.raises(Unavailable, match="language code"):
        ask(labelled(sentences, target_lang=None), SMALL)
    assert ask(labelled(["a house"], target_lang="xx-nonsense"), SMALL)[0].ids == []
    assert ask(labelled(["the house " * 4000]), SMALL)[0].ids == []


def plain_logits(ids: list[int]) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(SMALL.path, dtype=torch.float32).eval()
    with torch.inference_mode():
        return torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), -1)


def test_entropy_and_perplexity_equal_plain_transformers(sentences: list[str]):
    rows = labelled(sentences)
    entropy, perplexity = Surprise(SMALL)(alone(rows))
    for i, asked in enumerate(ask(rows, SMALL)[:3]):
        logs = plain_logits(asked.ids)
        before = [t - 1 for t in asked.source]
        assert entropy.score[i] == pytest.approx(float(-(logs.exp() * logs).sum(-1)[before].mean()), rel=1e-4)
        given = logs[before, [asked.ids[t] for t in asked.source]]
        assert perplexity.score[i] == pytest.approx(float(-given.mean()), rel=1e-4)
    assert entropy.seconds > 0 and not entropy.cascade


def test_log_probability_of_the_output_equals_plain_transformers(sentences: list[str]):
    outputs = [*sentences[1:4], None, *sentences[5:10], ""]
    rows = labelled(sentences, texts={"small_translation": outputs})
    (one,) = OutputLogProb(SMALL)(alone(rows))
    tokenizer = AutoTokenizer.from_pretrained(SMALL.path)
    prompt = ask(rows, SMALL)[0].ids
    body = tokenizer(outputs[0], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    logs = plain_logits(prompt + body)
    expected = -np.mean([float(logs[len(prompt) - 1 + i, token]) for i, token in enumerate(body)])
    assert one.score[0] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(one.score[3]) and np.isfinite(one.score[9]) and one.cascade


@pytest.fixture
def router(tmp_path: Path) -> Path:
    """A router with a gain and a quality head, random but fitting the embedded small model."""
    spec = json.loads((DEMO / "router" / "router.json").read_text())
    del spec["words"]
    spec |= {
        "format": 1,
        "heads": ["gain", "quality"],
        "calibration": {"gain": {"scale": 2, "intercept": 1}, "quality": {}},
    }
    (tmp_path / "router.json").write_text(json.dumps(spec))
    hidden = json.loads((DEMO / "models" / "small" / "config.json").read_text())["hidden_size"]
    weight = np.random.default_rng(0).normal(size=(2, hidden)).astype(np.float32)
    save_file({"weight": weight}, tmp_path / "head.safetensors")
    return tmp_path


def test_one_prefill_gives_both_heads(router: Path, sentences: list[str]):
    rows = labelled(sentences)
    gain, quality = TrainedRouter("mine", str(router), SMALL)(alone(rows))
    model = AutoModel.from_pretrained(SMALL.path, dtype=torch.float32).eval()
    weight = TrainedRouter("mine", str(router), SMALL).router.weight
    for i, asked in enumerate(ask(rows, SMALL)[:3]):
        with torch.inference_mode():
            state = model(input_ids=torch.tensor([asked.ids]))[0][0, -1].numpy()
        assert gain.score[i] == pytest.approx(2 * float(weight[0] @ state) + 1, rel=1e-3, abs=1e-4)
        assert quality.score[i] == pytest.approx(-float(weight[1] @ state), rel=1e-3, abs=1e-4)
    assert (gain.unit, quality.unit) == (GAIN, RANK)
    assert gain.quality is not None and (gain.quality == -quality.score).all()


def test_the_words_of_a_router_count_for_the_gain(router: Path, sentences: list[str]):
    rows = labelled(sentences)
    head, quality = TrainedRouter("mine", str(router), SMALL)(alone(rows))
    weight = np.random.default_rng(1).normal(size=COLUMNS).astype(np.float32)
    table = WordTable(np.ones(COLUMNS, np.float32), weight, {"es": 3.0})
    (router / "words.safetensors").write_bytes(table.to_bytes())
    spec = json.loads((router / "router.json").read_text())
    spec |= {"format": 2, "words": {"digest": file_digest(router / "words.safetensors")}}
    (router / "router.json").write_text(json.dumps(spec))
    gain, same = TrainedRouter("mine", str(router), SMALL)(alone(rows))
    assert gain.score == pytest.approx(head.score + 2 * table(rows.sources, rows.target_langs), abs=1e-4)
    assert (same.score == quality.score).all()
    assert "words of the source" in gain.note and "words" not in head.note


def test_a_router_of_another_model_is_refused(router: Path):
    spec = json.loads((router / "router.json").read_text())
    spec["prompt"]["template"] = "something else {text}"
    (router / "router.json").write_text(json.dumps(spec))
    words = [
        "labels.path=x",
        "out=y",
        f"small.path={SMALL.path}",
        "small.prompt=demo",
        f"scorers.routers.mine={router}",
    ]
    with pytest.raises(ValueError, match="scorers.routers.mine"):
        list_scorers(load(EvaluateConfig, [], words))
    with pytest.raises(ValueError, match="scorers.routers.mine"):
        list_scorers(load(EvaluateConfig, [], [*words[:-1], f"scorers.routers.mine={router / 'none'}"]))


def test_names_may_not_collide():
    words = ["labels.path=x", "out=y", f"small.path={SMALL.path}", "small.prompt=demo"]
    with pytest.raises(ValueError, match="'length'"):
        list_scorers(load(EvaluateConfig, [], [*words, f"scorers.routers.length={DEMO / 'router'}"]))


def test_win_probability_ranks_what_the_states_tell():
    sources = [row["source"] for row in corpus.rows("test", 240, 7)]
    gain = np.array([0.1 if len(s) > 70 else -0.1 for s in sources])
    parts = [labelled(sources[a:b], gain[a:b]) for a, b in ((0, 140), (140, 180), (180, 240))]
    (one,) = WinProbability(SMALL)(Parts(parts[2], parts[0], parts[1]))
    wins, losses = one.score[parts[2].gain > 0], one.score[parts[2].gain < 0]
    assert ((one.score > 0) & (one.score < 1)).all()
    assert np.mean(wins[:, None] > losses) > 0.8
    with pytest.raises(Unavailable, match="on none"):
        WinProbability(SMALL)(Parts(parts[2], labelled(sources[:20]), parts[1]))


def test_logistic_regression_is_at_its_minimum():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(300, 3)), rng.logistic(size=300)
    wins = x @ [1.0, -2.0, 0.0] + 0.5 + noise > 0
    predict = fit_logistic(x[:200], wins[:200], x[200:], wins[200:])
    assert predict is not None
    # At the minimum the predicted probabilities sum to the number of wins: the intercept is not penalised.
    assert predict(x[:200]).sum() == pytest.approx(wins[:200].sum(), rel=1e-3)
    assert np.mean((predict(x[200:]) > 0.5) == wins[200:]) > 0.75
    assert fit_logistic(x, np.ones(300, bool), x, wins) is None


def test_ridge_leaves_rows_without_features_out():
    x = np.random.default_rng(0).normal(size=(60, 2))
    x[3] = np.nan
    predict = fit_ridge(x[:40], x[:40] @ [1.0, 2.0], x[40:], x[40:] @ [1.0, 2.0])
    assert predict is not None
    assert predict(x[40:]) == pytest.approx(x[40:] @ [1.0, 2.0], abs=1e-2)
    assert np.isnan(predict(x[3:4])).all()


def test_an_encoder_learns_gain_and_quality(tmp_path: Path):
    from transformers import AutoConfig

    from routelmt_ray.evaluation.encoders import EncoderRegressors

    folder = make_encoder(tmp_path)
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    rng = np.random.default_rng(0)
    sources = [" ".join(rng.choice(["house", "Haus", "casa", "das"], rng.integers(2, 9))) for _ in range(300)]
    gain = np.array([s.split().count("house") / len(s.split()) for s in sources])
    rows = labelled(sources, gain, quality_small=1 - gain)
    parts = [rows.take(np.arange(a, b)) for a, b in ((200, 300), (0, 160), (160, 200))]
    by_gain, by_quality = EncoderRegressors(str(folder), 64, "cpu", 1)(Parts(*parts))
    assert (by_gain.unit, by_quality.unit) == (GAIN, RANK)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def pooled(texts: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return np.stack([model(**tokenizer(t, return_tensors="pt"))[0][0].mean(0).numpy() for t in texts])

    expected = fit_ridge(pooled(parts[1].sources), parts[1].gain, pooled(parts[2].sources), parts[2].gain)
    assert expected is not None
    assert by_gain.score == pytest.approx(expected(pooled(parts[0].sources)), abs=0.02)
    assert by_quality.score == pytest.approx(by_gain.score - 1, abs=1e-4)  # the quality is 1 - gain
    with pytest.raises(Unavailable, match="fit"):
        EncoderRegressors(str(folder), 64, "cpu", 1)(alone(rows))


@pytest.mark.skipif(find_spec("comet") is None, reason="unbabel-comet is not installed")
def test_checkpoints_of_comet(tmp_path: Path):
    from routelmt_ray.evaluation.comet_scorers import QualityEstimate, Sentinel, look_up

    config = CometConfig(path=str(make_checkpoint(tmp_path / "qe", "referenceless_regression_metric")), device="cpu")
    rows = labelled(["the house", "a b c", "x"], texts={"small_translation": ["das Haus", None, "y"]})
    (estimate,) = QualityEstimate(config, look_up("scorers.qe", config))(alone(rows))
    assert np.isnan(estimate.score[1]) and np.isfinite(estimate.score[[0, 2]]).all() and estimate.cascade
    (difficulty,) = Sentinel(config, look_up("scorers.sentinel", config))(alone(rows))
    assert np.isfinite(difficulty.score).all() and not difficulty.cascade
    other = CometConfig(path=str(make_checkpoint(tmp_path / "da")))
    with pytest.raises(ValueError, match="needs references"):
        look_up("scorers.qe", other)


def test_comet_is_asked_for_only_where_it_is(monkeypatch: pytest.MonkeyPatch):
    from routelmt_ray.evaluation import comet_scorers

    monkeypatch.setattr(comet_scorers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="unbabel-comet is not installed"):
        list_scorers(load(EvaluateConfig, [], ["labels.path=x", "out=y", "scorers.qe.path=z"]))
