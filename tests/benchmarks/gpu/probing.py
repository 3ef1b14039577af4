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

GROUPS = 2
"""Groups of rows of similar length, from which a cost per row and one per token are fitted."""
_PLAIN_ROWS = 512
"""Rows that transformers reads as it is usually called. It is slow."""


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

    Its figures: `what=load`; `what=probe` for transformers as it is usually called (`way=plain`), for the engine without
    compiled layers (`way=eager`), and for the engine as it is, with each size of a batch; `what=group` with runs of rows
    of similar length in batches of the fastest size, for the fit of a cost.
    """

    def measure(bench: Bench) -> Figures:
        folder = bench.written(shape)
        config = bench.model_config(folder, 64)
        router = random_router(config, folder)
        bench.forget()
        load_s, model = bench.timed(lambda: load_merged(config, router, bench.dtype).to(bench.device).eval())
        yield {"what": "load", "seconds": load_s}
        lengths = draw_lengths(bench.sizes.probe_rows)
        prompts = draw_prompts(shape, lengths, 0)
        work = {"rows": len(prompts), "tokens": int(lengths.sum()), "flops": shape.prefill_flops(lengths.tolist())}

        def figure(way: str, batch: str, probe: Callable[[], Any], work: dict[str, Any] = work) -> dict[str, Any]:
            bench.forget()
            first_s, found = bench.timed(probe)
            runs = bench.seconds(probe)
            return {
                "what": "probe", "way": way, "batch": batch, "seconds": min(runs), "runs_s": runs, "first_s": first_s,
                "peak_gib": bench.peak_gib(), "finite": int(np.isfinite(found).all(1).sum()), "halved": 0, **work,
            }  # fmt: skip

        some = prompts[:_PLAIN_ROWS]
        sizes = [len(prompt.ids) for prompt in some]
        of_some = {"rows": len(some), "tokens": sum(sizes), "flops": shape.prefill_flops(sizes)}
        yield figure("plain", "64 rows", partial(plain_states, model, some, 64, bench.device), of_some)
        tokens = bench.sizes.probe_batches
        eager = HfEngine(dataclasses.replace(config, batch_tokens=tokens[0], compile=False), router, model)
        yield figure("eager", f"{tokens[0]} tokens", partial(eager.probe, prompts))
        fastest: tuple[float, HfEngine] | None = None
        for most in tokens:
            engine = HfEngine(
                dataclasses.replace(config, batch_tokens=most, compile=None if fastest is None else False),
                router,
                model,
            )  # the layers of the model are compiled once
            found = figure("engine", f"{most} tokens", partial(engine.probe, prompts))
            yield found | {"halved": engine.halved}
            if fastest is None or found["seconds"] < fastest[0]:
                fastest = found["seconds"], engine
        assert fastest is not None
        for group, rows_of in enumerate(np.array_split(np.argsort(lengths, kind="stable"), GROUPS)):
            probe = partial(fastest[1].probe, [prompts[row] for row in rows_of])
            probe()
            taken = bench.seconds(probe)
            yield {"what": "group", "group": group, "prompt_tokens": lengths[rows_of].tolist(), "whole_s": taken}

    return measure


@torch.inference_mode()
def plain_states(model: Any, prompts: list[Prompt], rows: int, device: torch.device) -> np.ndarray:
    """Reads the states as examples of transformers do: batches in file order, and the model with its vocabulary."""
    states = []
    for first in range(0, len(prompts), rows):
        inputs = pad_left([prompt.ids for prompt in prompts[first : first + rows]], PAD, device)
        states.append(model(**inputs, output_hidden_states=True).hidden_states[-1][:, -1].float().cpu().numpy())
    return np.concatenate(states)
