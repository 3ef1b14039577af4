"""The probe of a small model with a merged LoRA router, by the engine that a job uses; beside it plain transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
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
from tests.benchmarks.gpu.shapes import PAD, Shape, whole_or_not

GROUPS = 4
"""Groups of rows of similar length, from which a cost per row and one per token are fitted."""


def random_router(config: ModelConfig, folder: Path) -> Router:
    """Makes a router with one random head and an adapter in every linear layer, saved in `folder`/adapter."""
    adapter = folder / "adapter"
    if not adapter.exists():
        network = Network(config, LoraConfig(), 1, 0)
        for name, parameter in network.trainable().items():
            if "lora_B" in name:  # fresh adapters change nothing
                torch.nn.init.normal_(parameter, std=1e-3)
        with whole_or_not(adapter) as temporary:
            network.save_adapter(temporary)
    width = int(model_config(config).hidden_size)
    weight = np.random.default_rng(0).normal(0, width**-0.5, (1, width)).astype(np.float32)
    one = np.ones(1, np.float32)
    return Router(weight, ("gain",), one, 0 * one, adapter, {})


def probing(shape: Shape) -> Callable[[Bench], Figures]:
    """Builds the part of one small model.

    Its figures: `what=load`; `what=probe` for each size of a batch; `what=group` with runs of rows of similar length in
    batches of the fastest size, for the fit of a cost; `what=plain` for transformers as it is usually called.
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
        fastest: tuple[float, HfEngine] | None = None
        for rows, tokens in bench.sizes.probe_batches:
            bench.forget()
            engine = HfEngine(dataclasses.replace(config, batch_rows=rows, batch_tokens=tokens), router, model)
            found = engine.probe(prompts)
            runs = bench.seconds(partial(engine.probe, prompts))
            yield {
                "what": "probe", "batch": rows, "batch_tokens": tokens, "seconds": min(runs), "runs_s": runs,
                "peak_gib": bench.peak_gib(), "halved": engine.halved, "finite": int(np.isfinite(found).all(1).sum()), **work,
            }  # fmt: skip
            if fastest is None or min(runs) < fastest[0]:
                fastest = min(runs), engine
        assert fastest is not None
        for group, rows_of in enumerate(np.array_split(np.argsort(lengths, kind="stable"), GROUPS)):
            probe = partial(fastest[1].probe, [prompts[row] for row in rows_of])
            probe()
            taken = bench.seconds(probe)
            yield {"what": "group", "group": group, "prompt_tokens": lengths[rows_of].tolist(), "whole_s": taken}
        bench.forget()
        rows = bench.sizes.probe_batches[0][0]
        plain = partial(plain_states, model, prompts, rows, bench.device)
        plain()
        yield {
            "what": "plain",
            "batch": rows,
            "seconds": min(bench.seconds(plain)),
            "peak_gib": bench.peak_gib(),
            **work,
        }

    return measure


@torch.inference_mode()
def plain_states(model: Any, prompts: list[Prompt], rows: int, device: torch.device) -> np.ndarray:
    """Reads the states as examples of transformers do: batches in file order, and the model with its vocabulary."""
    states = []
    for first in range(0, len(prompts), rows):
        inputs = pad_left([prompt.ids for prompt in prompts[first : first + rows]], PAD, device)
        states.append(model(**inputs, output_hidden_states=True).hidden_states[-1][:, -1].float().cpu().numpy())
    return np.concatenate(states)
