"""The shipped pair and its router, on sentences none of them saw."""

import json
from collections import Counter

import numpy as np
import pytest
from safetensors import safe_open

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.demo import corpus
from routelmt_ray.engines import Prompt
from routelmt_ray.engines.artifact import check_match, load_router
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import prompt_encoder
from routelmt_ray.metrics import measures
from routelmt_ray.metrics.sentence import ChrF
from tests.conftest import DEMO

SIZES = ("small", "large")
MODELS = {size: ModelConfig(path=str(DEMO / "models" / size), prompt="demo", threads=1) for size in SIZES}
SHORT, ALL = (200, 90), (500, 10_000)
"""Rows, and the most characters of a source. A batch takes as many steps as its longest row has tokens."""


@pytest.fixture(scope="module", params=[SHORT, pytest.param(ALL, marks=pytest.mark.slow)], ids=["short", "all"])
def rows(request: pytest.FixtureRequest) -> list[dict[str, str]]:
    count, longest = request.param
    found = [row for row in corpus.rows("test", 500, seed=101) if len(row["source"]) <= longest][:count]
    assert len(found) == count
    return found


@pytest.fixture(scope="module")
def prompts(rows: list[dict[str, str]]) -> list[Prompt]:
    family = load_family("demo")
    texts = [family.render(r["source"], *map(str, family.names(r["source_lang"], r["target_lang"]))) for r in rows]
    return [Prompt(ids, 96, row["source"]) for ids, row in zip(prompt_encoder(MODELS["small"]).encode(texts), rows)]


@pytest.fixture(scope="module")
def quality(rows: list[dict[str, str]], prompts: list[Prompt]) -> dict[str, np.ndarray]:
    """chrF of each row by model, shape (rows,)."""
    references = [row["reference"] for row in rows]
    answers = {size: [str(c.text) for c in HfEngine(MODELS[size]).translate(prompts)] for size in SIZES}
    return {size: ChrF().segment_scores([None] * len(rows), answers[size], references) for size in SIZES}


def test_the_pair_is_small_and_safetensors_only() -> None:
    files = [file for size in SIZES for file in (DEMO / "models" / size).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 40_000_000
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".jinja"}
    for size in SIZES:
        with safe_open(DEMO / "models" / size / "model.safetensors", "np") as weights:
            assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118


@pytest.mark.parametrize("size", SIZES)
def test_its_architecture_is_one_that_production_engines_serve(size: str) -> None:
    config = json.loads((DEMO / "models" / size / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["head_dim"] == 32
    assert config["max_position_embeddings"] >= 512


def test_the_large_model_has_many_times_the_work_of_the_small_one() -> None:
    work = {}
    for size in SIZES:
        with safe_open(DEMO / "models" / size / "model.safetensors", "np") as weights:
            shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
        work[size] = sum(int(np.prod(shape)) for name, shape in shapes.items() if ".layers." in name)
    assert work["large"] > 20 * work["small"], "by depth and width"


def test_the_small_model_is_clearly_weaker_but_not_everywhere(quality: dict[str, np.ndarray]) -> None:
    gain = quality["large"] - quality["small"]
    assert 0.60 <= quality["small"].mean() <= 0.80
    assert quality["large"].mean() >= 0.93
    assert gain.std() >= 0.10
    assert 0.01 <= (gain < 0).mean() <= 0.12


def test_the_router_ranks_gains_better_than_length_rarity_and_chance(
    rows: list[dict[str, str]], prompts: list[Prompt], quality: dict[str, np.ndarray]
) -> None:
    router = load_router(str(DEMO / "router"))
    check_match(router, MODELS["small"].path, "demo")
    gain = quality["large"] - quality["small"]
    asked = [row["source"] for row in rows], [row["target_lang"] for row in rows], [prompt.ids for prompt in prompts]
    said = router.words and router.words(*asked)
    predicted = router.predict(HfEngine(MODELS["small"], router).probe(prompts), words=said)
    words = Counter(word for row in rows for word in row["source"].lower().split())
    rivals = {
        "length": np.asarray([float(len(row["source"])) for row in rows]),
        "rarity": np.asarray([-float(min(words[w] for w in row["source"].lower().split())) for row in rows]),
        "random": np.random.default_rng(0).random(len(rows)),
    }
    areas = {name: measures.normalized_area(score, gain) for name, score in rivals.items()}
    assert measures.spearman(predicted, gain) >= 0.5
    assert measures.normalized_area(predicted, gain) > max(areas.values()) + 0.05
    assert abs(predicted.mean() - gain.mean()) < 0.05
