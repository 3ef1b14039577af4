"""Judges on real models: what they say, what they cannot judge, and what is refused before anything is loaded."""

import logging
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from routelmt_ray.config.common import ModelConfig, ModelsConfig, PoolConfig
from routelmt_ray.config.label import CometConfig
from routelmt_ray.config.translate import GuardConfig
from routelmt_ray.engines.logprob import Reader, translations
from routelmt_ray.metrics.judges import check_judge, judge_pool, judge_python, open_judge
from tests.conftest import DEMO
from tests.metrics.test_checkpoint import folder

needs_comet = pytest.mark.skipif(find_spec("comet") is None, reason="unbabel-comet is not installed")
MODELS = ModelsConfig(
    small=ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo", pool=PoolConfig(actors=3)),
    large=ModelConfig(path=str(DEMO / "models" / "large"), prompt="demo", pool=PoolConfig(actors=2)),
)
LOGPROB = GuardConfig(keep_better=0.0, judge="logprob", logprob_model="large")


def comet(path: str | Path, **options: object) -> GuardConfig:
    """A guard with a COMET judge."""
    config = CometConfig(path=str(path), pool=PoolConfig(actors=5), **options)  # type: ignore[arg-type]
    return GuardConfig(keep_better=0.0, judge="comet_qe", comet_qe=config)


def test_logprob_prefers_the_reference_to_a_broken_translation(demo_corpus: pa.Table) -> None:
    rows = demo_corpus.slice(0, 40).to_pydict()
    judge = open_judge(LOGPROB, MODELS)
    codes = rows["source_lang"], rows["target_lang"]
    good = judge.scores(rows["source"], *codes, rows["reference"])
    broken = judge.scores(rows["source"], *codes, [" ".join(sorted(text.split())) for text in rows["reference"]])
    assert good.dtype == np.float64 and good.shape == (40,)
    assert ((good > 0) & (good <= 1)).all()
    assert np.mean(good > broken) > 0.9
    passages = translations(MODELS.large, rows["source"], *codes, rows["reference"])
    np.testing.assert_array_equal(good, np.exp(Reader(MODELS.large).read(passages).log_probability))


def test_logprob_takes_the_model_it_is_told_and_says_nan_where_it_cannot_judge() -> None:
    sources, targets = ["the house", "the house", "the house"], ["es", "es", "xx-nonsense"]
    hypotheses = ["vel", None, "vel"]
    of = {
        size: open_judge(replace(LOGPROB, logprob_model=size), MODELS).scores(sources, ["en"] * 3, targets, hypotheses)
        for size in ("small", "large", "both")
    }
    assert of["small"][0] != of["large"][0]
    assert of["both"][0] == pytest.approx(np.sqrt(of["small"][0] * of["large"][0]))
    assert all(np.isnan(scores).tolist() == [False, True, True] for scores in of.values())


def test_pool_and_interpreter_are_those_of_the_judge() -> None:
    assert judge_pool(LOGPROB, MODELS).actors == 2
    assert judge_pool(replace(LOGPROB, logprob_model="small"), MODELS).actors == 3
    assert judge_pool(comet("x", python="/other"), MODELS).actors == 5
    assert (judge_python(LOGPROB), judge_python(comet("x", python="/other"))) == (None, "/other")


@needs_comet
def test_a_comet_judge_is_the_checkpoint_without_references(tmp_path: Path) -> None:
    from routelmt_ray.metrics.checkpoint import inspect_checkpoint
    from routelmt_ray.metrics.comet import Comet
    from tests.metrics.tiny_comet import make_checkpoint

    guard = comet(make_checkpoint(tmp_path / "qe", "referenceless_regression_metric"))
    check_judge(guard, MODELS)
    sources, hypotheses = ["the house", "a b c", "la casa"], ["das Haus", None, ""]
    scores = open_judge(guard, MODELS).scores(sources, ["en"] * 3, ["de", "de", None], hypotheses)
    plain = Comet("q", guard.comet_qe, inspect_checkpoint("k", guard.comet_qe, False))
    np.testing.assert_array_equal(scores, plain.segment_scores(sources, hypotheses, [None] * 3))
    assert np.isnan(scores).tolist() == [False, True, False]


def test_a_judge_that_cannot_be_is_refused_before_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_judge(LOGPROB, MODELS)
    with pytest.raises(ValueError, match="guard.logprob_model is large, whose engine `echo` gives no probabilities"):
        check_judge(LOGPROB, replace(MODELS, large=ModelConfig(engine="echo")))
    with pytest.raises(ValueError, match=r"guard.comet_qe.python /no/python: does not run"):
        check_judge(comet("x", python="/no/python"), MODELS)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match="no unbabel-comet, which guard.comet_qe asks for"):
            check_judge(comet("x"), MODELS)


@needs_comet
def test_checkpoints_are_looked_at_before_they_are_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"guard.comet_qe.path /nowhere/at/all: no such folder"):
        check_judge(comet("/nowhere/at/all"), MODELS)
    with pytest.raises(ValueError, match=r"guard.comet_qe.path .* needs references; name a reference-free"):
        check_judge(comet(folder(tmp_path, "da", class_identifier="regression_metric")), MODELS)
    kiwi = folder(tmp_path, "kiwi", class_identifier="unified_metric", input_segments=["mt", "src"])
    with caplog.at_level(logging.WARNING):
        check_judge(comet(kiwi), MODELS)
    assert "guard.comet_qe.path" in caplog.text and "CC-BY-NC-SA-4.0" in caplog.text
