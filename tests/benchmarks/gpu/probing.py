"""The probe of a small model with a merged LoRA router, by the engine that a job uses; beside it plain transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.train import LoraConfig
from routelmt_ray.engines import Prompt
from routelmt_ray.engines.artifact import Router
from routelmt_ray.engines.hf import HfEngine, load_merged, pad_left
from routelmt_ray.engines.tokenizers import model_config
from routelmt_ray.router.network import Network
from tests.benchmarks.gpu.runner import Figures
from tests.benchmarks.gpu.setting import Bench, draw_lengths, draw_prompts
from tests.benchmarks.gpu.shapes import PAD, Shape

GROUPS = 4
"""Groups of rows of similar length, from which a cost per row and one per token are fitted."""


def random_router(config: ModelConfig, folder: Path) -> Router:
    """Makes a router with one random head and an adapter in every linear layer, saved in `folder`/adapter."""
    if not (folder / "adapter").exists():
        network = Network(config, LoraConfig(), 1, 0)
        for name, parameter in network.trainable().items():
            if "lora_B" in name:  # fresh adapters change nothing
                torch.nn.init.normal_(parameter, std=1e-3)
        network.save_adapter(folder / "adapter")
    width = int(model_config(config).hidden_size)
    weight = np.random.default_rng(0).normal(0, width**-0.5, (1, width)).astype(np.float32)
    one = np.ones(1, np.float32)
    return Router(weight, ("gain",), one, 0 * one, folder / "adapter", {})


def probing(shape: Shape) -> Callable[[Bench], Figures]:
    """Builds the part of one small model.

    Its figures: `what=load`; `what=probe` for each size of a batch; `what=plain` for transformers as it is usually
    called; `what=group` with one run of rows of similar length, for the fit of a cost.
    """

    def measure(bench: Bench) -> Figures:
        folder = bench.written(shape)
        config = bench.model_config(folder, *bench.sizes.probe_batches[0])
        router = random_router(config, folder)
        bench.forget()
        load_s, model = bench.timed(lambda: load_merged(config, router, bench.dtype).to(bench.device).eval())
        yield {"what": "load", "seconds": load_s}
        lengths = draw_lengths(bench.sizes.probe_rows)
        prompts = draw_prompts(shape, lengths, 0)
        work = {"rows": len(prompts), "tokens": int(lengths.sum()), "flops": shape.prefill_flops(lengths.tolist())}
        best: tuple[float, HfEngine] | None = None
        for rows, tokens in bench.sizes.probe_batches:
            bench.forget()
            engine = HfEngine(dataclasses.replace(config, batch_rows=rows, batch_tokens=tokens), router, model)
            engine.probe(prompts)
            seconds = min(bench.seconds(lambda engine=engine: engine.probe(prompts)))  # type: ignore[misc]
            yield {
                "what": "probe", "batch": rows, "batch_tokens": tokens, "seconds": seconds, "peak_gib": bench.peak_gib(),
                "halved": engine.halved, "finite": int(np.isfinite(engine.probe(prompts)).all(1).sum()), **work,
            }  # fmt: skip
            if best is None or seconds < best[0]:
                best = seconds, engine
        assert best is not None
        for group, rows_of in enumerate(np.array_split(np.argsort(lengths, kind="stable"), GROUPS)):
            some = [prompts[row] for row in rows_of]
            best[1].probe(some)
            taken = bench.seconds(lambda some=some: best[1].probe(some))  # type: ignore[misc]
            yield {"what": "group", "group": group, "prompt_tokens": lengths[rows_of].tolist(), "whole_s": taken}
        bench.forget()
        plain_rows = bench.sizes.probe_batches[0][0]
        plain_states(model, prompts, plain_rows, bench.device)
        seconds = min(bench.seconds(lambda: plain_states(model, prompts, plain_rows, bench.device)))
        yield {"what": "plain", "batch": plain_rows, "seconds": seconds, "peak_gib": bench.peak_gib(), **work}

    return measure


@torch.inference_mode()
def plain_states(model: Any, prompts: list[Prompt], rows: int, device: torch.device) -> np.ndarray:
    """Reads the states as examples of transformers do: batches in file order, and the model with its vocabulary."""
    states = []
    for first in range(0, len(prompts), rows):
        inputs = pad_left([prompt.ids for prompt in prompts[first : first + rows]], PAD, device)
        states.append(model(**inputs, output_hidden_states=True).hidden_states[-1][:, -1].float().cpu().numpy())
    return np.concatenate(states)
