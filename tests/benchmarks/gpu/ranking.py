"""What bfloat16 changes in the ranking of a probe: a model of random weights, and the embedded pair, which is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from routelmt_ray.budget import rows_for_fraction
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.demo import corpus
from routelmt_ray.engines import Prompt
from routelmt_ray.engines.artifact import Router, load_router
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import prompt_encoder
from routelmt_ray.metrics.measures import spearman
from tests.benchmarks.gpu.probing import random_router
from tests.benchmarks.gpu.runner import Figures
from tests.benchmarks.gpu.setting import Bench, draw_lengths, draw_prompts
from tests.benchmarks.gpu.shapes import Shape
from tests.budget.selection import select_top_k

FRACTION = 0.3
_DEMO = Path(corpus.__file__).parent
_NAMES = {"en": "English", "es": "Spanish", "de": "German"}


def changed_share(a: np.ndarray, b: np.ndarray, fraction: float = FRACTION) -> float:
    """Computes the share of the rows that scores `a` select which scores `b` do not select; both ``(rows,)``, float32."""
    k = rows_for_fraction(fraction, len(a))
    first, second = (select_top_k(scores, k).mask(scores, 0) for scores in (a, b))
    return float((first & ~second).sum() / k)


def ranking(shape: Shape) -> Callable[[Bench], Figures]:
    """Builds the part. Its figures: rank correlation of bfloat16 and float32, share of a selection of 30 % that changes.

    Random weights are the harder case: their scores lie close together and mean nothing. Trained ones are those of the
    embedded pair.
    """

    def measure(bench: Bench) -> Figures:
        folder = bench.written(shape)
        config = dataclasses.replace(bench.model_config(folder, 64, bench.sizes.probe_batches[0]), compile=False)
        prompts = draw_prompts(shape, draw_lengths(bench.sizes.probe_rows, 1), 0, 1)
        yield compare(shape.name, config, random_router(config, folder), prompts)
        small = dataclasses.replace(config, path=str(_DEMO / "models" / "small"), prompt="demo")
        yield compare("embedded pair, trained", small, load_router(str(_DEMO / "router")), demo_prompts(small, bench))

    return measure


def compare(name: str, config: ModelConfig, router: Router, prompts: list[Prompt]) -> dict[str, object]:
    """Probes prompts in bfloat16 and in float32; returns how much the rankings differ."""
    low, high = (
        HfEngine(dataclasses.replace(config, dtype=dtype), router).probe(prompts)[:, 0]
        for dtype in ("bfloat16", "float32")
    )
    return {
        "model": name, "rows": len(prompts), "spearman": spearman(low, high), "changed": changed_share(high, low),
        "sd": float(high.std()), "rms_difference": float(np.sqrt(((low - high) ** 2).mean())),
    }  # fmt: skip


def demo_prompts(config: ModelConfig, bench: Bench) -> list[Prompt]:
    """Makes prompts of sentences that the embedded pair was not trained on."""
    family = load_family("demo")
    texts = [
        family.render(row["source"], _NAMES[row["source_lang"]], _NAMES[row["target_lang"]])
        for row in corpus.rows("test", bench.sizes.probe_rows, 5)
    ]
    return [Prompt(ids, 0, "") for ids in prompt_encoder(config).encode(texts)]
