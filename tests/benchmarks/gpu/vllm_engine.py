"""Probe and decoding by vLLM, on the models and prompts of the other parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.vllm import VllmConfig
from routelmt_ray.engines.vllm import VllmEngine, VllmProbe
from tests.benchmarks.gpu.probing import random_router
from tests.benchmarks.gpu.runner import Figures
from tests.benchmarks.gpu.setting import LONGEST, Bench, draw_lengths, draw_prompts
from tests.benchmarks.gpu.shapes import Shape


def vllm_config(bench: Bench, shape: Shape) -> ModelConfig:
    """Builds the config of an engine on a random model, which is written first."""
    config = bench.model_config(bench.written(shape), 64)
    small = {} if bench.cuda else {"kv_cache_mb": 64, "max_num_seqs": 16, "enforce_eager": True}
    vllm = VllmConfig(max_model_len=LONGEST + bench.sizes.new_tokens, **small)
    dtype = "bfloat16" if bench.cuda else "float32"
    return dataclasses.replace(config, engine="vllm", device="auto", dtype=dtype, vllm=vllm)


def vllm_probing(shape: Shape) -> Callable[[Bench], Figures]:
    """Builds the part of the probe. Its figures: `what=load`, and `what=probe` with rows, tokens, operations, seconds."""

    def measure(bench: Bench) -> Figures:
        config = vllm_config(bench, shape)
        router = random_router(dataclasses.replace(config, engine="hf"), bench.written(shape))
        bench.forget()
        load_s, engine = bench.timed(lambda: VllmProbe(config, router))
        try:
            yield {"what": "load", "seconds": load_s}
            lengths = draw_lengths(bench.sizes.probe_rows)
            prompts = draw_prompts(shape, lengths, 0)
            found = engine.probe(prompts)
            runs = bench.seconds(partial(engine.probe, prompts))
            yield {
                "what": "probe", "way": "vllm", "batch": f"{config.vllm.max_num_batched_tokens} tokens", "seconds": min(runs),
                "runs_s": runs, "rows": len(prompts), "tokens": int(lengths.sum()), "peak_gib": None,
                "flops": shape.prefill_flops(lengths.tolist()), "finite": int(np.isfinite(found).all(1).sum()),
            }  # fmt: skip
        finally:
            engine.close()

    return measure


def vllm_decoding(shape: Shape) -> Callable[[Bench], Figures]:
    """Builds the part of decoding. Its figures: `what=load`, and `what=decode` with tokens, and seconds of whole answers
    and of one token each."""

    def measure(bench: Bench) -> Figures:
        config = vllm_config(bench, shape)
        bench.forget()
        load_s, engine = bench.timed(lambda: VllmEngine(config))
        try:
            yield {"what": "load", "seconds": load_s}
            prompts = draw_prompts(shape, draw_lengths(bench.sizes.probe_rows), bench.sizes.new_tokens)
            one = [prompt._replace(max_new_tokens=1) for prompt in prompts]
            engine.translate(one)
            one_s, _ = bench.timed(partial(engine.translate, one))
            whole_s, answers = bench.timed(partial(engine.translate, prompts))
            tokens = sum(answer.tokens for answer in answers)
            errors = sum(answer.finish == "error" for answer in answers)
            yield {
                "what": "decode", "batch": config.vllm.max_num_seqs, "rows": len(prompts), "new_tokens": tokens,
                "whole_s": whole_s, "one_token_s": one_s, "errors": errors,
                "ended_early": len(prompts) * bench.sizes.new_tokens - tokens,
            }  # fmt: skip
        finally:
            engine.close()

    return measure
