"""The shipped pair and its router head."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

import routelmt_ray.demo
from routelmt_ray.demo import corpus, measure

HERE = Path(routelmt_ray.demo.__file__).parent
SIZES = ("small", "large")


@pytest.fixture(scope="module")
def pair():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {size: measure.load(HERE / "models" / size) for size in SIZES}
    torch.set_num_threads(threads)


def test_pair_is_small_and_safetensors_only():
    files = [file for size in SIZES for file in (HERE / "models" / size).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 12_000_000
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".jinja"}
    for size in SIZES:
        with safe_open(HERE / "models" / size / "model.safetensors", "np") as weights:
            names = weights.keys()
            assert all(weights.get_slice(name).get_dtype() == "F16" for name in names)


@pytest.mark.parametrize("size", SIZES)
def test_config(size):
    config = json.loads((HERE / "models" / size / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["head_dim"] == 32
    assert config["tie_word_embeddings"]
    assert config["max_position_embeddings"] >= 512


def test_small_is_weaker_than_large_on_held_out_rows(pair):
    rows = corpus.rows("test", 64, seed=101)
    quality = {size: measure.chrf(measure.translate(*pair[size], rows), rows).mean() for size in SIZES}
    assert 0.55 < quality["small"] < 0.85
    assert quality["large"] > 0.90


def test_head_fits_the_small_model_it_names(pair):
    router = json.loads((HERE / "router" / "router.json").read_text(encoding="utf-8"))
    weights = (HERE / "models" / "small" / "model.safetensors").read_bytes()
    assert router["base_model"]["digest"] == hashlib.sha256(weights).hexdigest()
    weight = load_file(HERE / "router" / "head.safetensors")["weight"]
    assert weight.dtype == np.float32
    assert weight.shape == (len(router["heads"]), pair["small"][0].config.hidden_size)


def test_predicted_gains_are_gains(pair):
    router = json.loads((HERE / "router" / "router.json").read_text(encoding="utf-8"))
    weight = load_file(HERE / "router" / "head.safetensors")["weight"][0]
    rows = corpus.rows("test", 200, seed=102)
    calibration = router["calibration"]["gain"]
    predicted = calibration["scale"] * (measure.prompt_states(*pair["small"], rows) @ weight) + calibration["intercept"]
    assert abs(predicted.mean() - router["held_out"]["gain"]["mean"]) < 0.05
    assert 0.01 < predicted.std() < router["held_out"]["gain"]["sd"]


def test_prompt_states_do_not_depend_on_the_batch(pair):
    rows = corpus.rows("test", 24, seed=103)
    alone, together = (measure.prompt_states(*pair["small"], rows, batch=batch) for batch in (1, 24))
    np.testing.assert_allclose(alone, together, atol=2e-4)


def test_measures_by_hand():
    assert measure.spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])) == pytest.approx(0.5)
    score, gain = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.1, 0.4, 0.0, 0.3])
    assert measure.hit_rate(score, gain, 0.5) == 0.5
