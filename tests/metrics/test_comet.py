"""The project's COMET loop on real (tiny, random) checkpoints of every class, against unbabel-comet's own predict()."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routelmt_ray.config.label import CometConfig
from routelmt_ray.metrics.checkpoint import inspect_checkpoint
from tests.metrics.tiny_comet import make_checkpoint

pytestmark = pytest.mark.skipif(
    find_spec("comet") is None, reason="unbabel-comet is not installed: pip install -c cluster/constraints.txt .[comet]"
)

SOURCES = ["the house is small", "house", "a", "das Haus ist das Haus " * 8, "la casa", "x y z", "the house is small"]
HYPOTHESES = ["das Haus", "klein das Haus ist", "", "la casa es", "дом", "这个 房子" * 9, "das Haus"]
REFERENCES = ["das Haus ist klein", "Haus", "b", "casa", "маленький дом", "x", "das Haus ist klein"]
TOLERANCE = 2e-6
"""fp32 sums in another order, as padding differs: measured differences are below 3e-7."""

KINDS: dict[str, dict[str, Any]] = {
    "regression_metric": {},
    "referenceless_regression_metric": {},
    "unified_metric": {"input_segments": ["mt", "src"]},
    "xcomet_metric": {"word_layer": 1, "layer_transformation": "softmax"},
}


def opened(path: Path, **options: Any) -> Any:
    """The metric on a checkpoint folder."""
    from routelmt_ray.metrics.comet import Comet

    config = CometConfig(path=str(path), **options)
    return Comet("comet", config, inspect_checkpoint("metrics.comet", config, True))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of every class."""
    folder = tmp_path_factory.mktemp("comet")
    return {kind: make_checkpoint(folder / kind, kind, **options) for kind, options in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_loop_equals_predict_and_a_forward_of_each_row_alone(checkpoints: dict[str, Path], kind: str) -> None:
    metric = opened(checkpoints[kind], batch_rows=3, batch_tokens=150)
    scores = metric.segment_scores(SOURCES, HYPOTHESES, REFERENCES)
    parts = {"src": SOURCES, "mt": HYPOTHESES} | ({"ref": REFERENCES} if metric.needs_reference else {})
    samples = [dict(zip(parts, row)) for row in zip(*parts.values())]
    model = metric._model
    predicted = model.predict(samples, batch_size=2, gpus=0, progress_bar=False, num_workers=0)["scores"]
    assert scores == pytest.approx(np.asarray(predicted), abs=TOLERANCE)
    alone = [metric._score_batch([sample])[0] for sample in samples]
    assert scores == pytest.approx(np.asarray(alone), abs=TOLERANCE)
    assert np.std(scores) > 1000 * TOLERANCE, "the checkpoint must tell rows apart for this to mean something"
    assert metric.needs_reference == (kind in ("regression_metric", "xcomet_metric"))


def test_what_cannot_be_measured_is_nan(checkpoints: dict[str, Path]) -> None:
    metric = opened(checkpoints["regression_metric"])
    scores = metric.segment_scores(["a"] * 4, [None, "b", "b", "b"], ["c", None, " ", "c"])
    assert np.isnan(scores).tolist() == [True, True, True, False]
    free = opened(checkpoints["referenceless_regression_metric"])
    scores = free.segment_scores(["a"] * 3, [None, "b", "b"], [None, None, "c"])
    assert np.isnan(scores).tolist() == [True, False, False]


def test_a_segment_that_fails_costs_that_segment(checkpoints: dict[str, Path]) -> None:
    metric = opened(checkpoints["regression_metric"])
    whole = metric.segment_scores(SOURCES, HYPOTHESES, REFERENCES)
    healthy = metric._score_batch

    def failing(samples: list[dict[str, str]]) -> list[float]:
        if any(sample["src"] == "house" for sample in samples):
            raise RuntimeError("out of memory")
        scores: list[float] = healthy(samples)
        return scores

    metric._score_batch = failing
    scores = metric.segment_scores(SOURCES, HYPOTHESES, REFERENCES)
    assert np.isnan(scores).tolist() == [source == "house" for source in SOURCES]
    assert np.delete(scores, 1) == pytest.approx(np.delete(whole, 1), abs=TOLERANCE)


def test_the_signature_names_versions_class_and_checkpoint(checkpoints: dict[str, Path]) -> None:
    path = checkpoints["regression_metric"]
    signature = opened(path).signature()
    files = inspect_checkpoint("metrics.comet", CometConfig(path=str(path)), True).files
    assert signature.startswith("COMET|version:2.")
    assert f"|class:regression_metric|checkpoint:{files}|ref:yes|clip:no" in signature
    other = inspect_checkpoint("k", CometConfig(path=str(checkpoints["xcomet_metric"])), True)
    assert other.files != files


class Payload:
    """Pickled, it touches a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._path,)


def test_a_checkpoint_with_more_than_weights_is_refused_unless_it_is_trusted(tmp_path: Path) -> None:
    import torch

    folder, trace = make_checkpoint(tmp_path / "evil"), tmp_path / "trace"
    file = folder / "checkpoints" / "model.ckpt"
    torch.save(torch.load(file, weights_only=True) | {"callbacks": Payload(trace)}, file)
    with pytest.raises(
        ValueError, match="model.ckpt is damaged or holds more .* set allow_pickle=true beside the path of comet"
    ):
        opened(folder)
    assert not trace.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    metric = opened(folder, allow_pickle=True)
    assert trace.exists()
    assert np.isfinite(metric.segment_scores(SOURCES, HYPOTHESES, REFERENCES)).any()
