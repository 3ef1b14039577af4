"""chrF and BLEU are what sacrebleu's public sentence functions say, divided by 100."""

import pickle

import numpy as np
import pytest
import sacrebleu

from routelmt_ray.config.metrics import METRICS
from routelmt_ray.metrics import Metric
from routelmt_ray.metrics.segments import measure
from routelmt_ray.metrics.sentence import Bleu, ChrF

HYPOTHESES = ["The cat sat on the mat.", "Cats are nice", "", "猫坐在垫子上。", "a"]
REFERENCES = ["The cat is on the mat.", "Dogs are nice animals.", "Something.", "猫在垫子上。", "a"]


def test_chrf_is_sacrebleus() -> None:
    wanted = [sacrebleu.sentence_chrf(h, [r]).score / 100 for h, r in zip(HYPOTHESES, REFERENCES)]
    scores = ChrF().segment_scores([""] * 5, HYPOTHESES, REFERENCES)
    assert scores.dtype == np.float64
    assert scores.tolist() == wanted
    assert scores[4] == 1.0


@pytest.mark.parametrize("tokenize", ["13a", "zh", "char", "intl"])
def test_bleu_is_sacrebleus(tokenize: str) -> None:
    wanted = [sacrebleu.sentence_bleu(h, [r], tokenize=tokenize).score / 100 for h, r in zip(HYPOTHESES, REFERENCES)]
    scores = Bleu(tokenize).segment_scores([""] * 5, HYPOTHESES, REFERENCES)
    assert scores.tolist() == pytest.approx(wanted, abs=1e-12)
    assert scores[2] == 0.0
    assert f"tok:{tokenize}" in Bleu(tokenize).signature()


def test_both_compare_with_a_reference() -> None:
    assert METRICS["chrf"].needs_reference
    assert METRICS["bleu"].needs_reference


@pytest.mark.parametrize("metric", [ChrF(), Bleu()])
def test_what_cannot_be_measured_is_nan(metric: Metric) -> None:
    scores = metric.segment_scores(["s"] * 5, [None, "a", "a", "a", ""], ["a", None, "", " \t", "a"])
    assert np.isnan(scores).tolist() == [True, True, True, True, False]
    assert metric.segment_scores([], [], []).shape == (0,)


@pytest.mark.parametrize("metric", [ChrF(), Bleu("zh")])
def test_a_metric_goes_to_a_worker_and_its_signature_repeats_it(metric: Metric) -> None:
    arrived = pickle.loads(pickle.dumps(metric))
    assert arrived.signature() == metric.signature()
    assert f"version:{sacrebleu.__version__}" in metric.signature()
    assert metric.signature().startswith(("chrF2|nrefs:1|", "BLEU|nrefs:1|"))
    assert arrived.segment_scores(["s"], ["a b"], ["a b"]).tolist() == pytest.approx([1.0])


def test_references_must_be_as_many_and_infinite_scores_are_nan() -> None:
    with pytest.raises(ValueError, match="2 hypotheses, but 1 references"):
        ChrF().segment_scores(["s", "s"], ["a", "b"], ["a"])
    scores = measure(["a", "b", None], None, lambda rows: [float("inf"), 0.5])
    assert np.isnan(scores).tolist() == [True, False, True]
