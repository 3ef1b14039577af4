"""Decoding by the engine that a job uses: batches of several sizes, a fixed number of new tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from routelmt_ray.engines import Completion, Prompt
from routelmt_ray.engines.hf import HfEngine, pad_left
from tests.benchmarks.gpu.probing import GROUPS
from tests.benchmarks.gpu.runner import Figures
from tests.benchmarks.gpu.setting import Bench, draw_lengths, draw_prompts
from tests.benchmarks.gpu.shapes import PAD, Shape, random_model

_POOL = 8
"""Rows drawn for each row of a batch: a shard has many rows, so that those of a batch are similar in length."""


def batch_lengths(rows: int, groups: int) -> list[np.ndarray]:
    """Draws the prompt tokens of full batches as an engine forms them of a shard, evenly spaced among its batches.

    Args:
        rows: rows of a batch.
        groups: number of batches, shortest first.
    """
    drawn = np.sort(draw_lengths(_POOL * rows))
    starts = [(2 * i + 1) * _POOL // (2 * groups) for i in range(groups)]
    return [drawn[start * rows : (start + 1) * rows] for start in starts]


def decoding(shape: Shape) -> Callable[[Bench], Figures]:
    """Builds the part of one model.

    Its figures: `what=batch` for each size of a batch, with prompts of middle length; `what=plain` for `generate` of
    transformers on as many rows in file order; `what=group` as in a profile: full answers and one new token on batches
    of several lengths, with the fastest size of a batch.
    """

    def measure(bench: Bench) -> Figures:
        folder, model = bench.tokenizer_only(shape), random_model(shape, bench.device, bench.dtype)
        new_tokens, best = bench.sizes.new_tokens, (0.0, 0)

        def engine_for(rows: int) -> HfEngine:
            return HfEngine(bench.model_config(folder, rows), model=model)

        for rows in bench.sizes.batches[shape.name]:
            bench.forget()
            (lengths,) = batch_lengths(rows, 1)
            prompts, engine = draw_prompts(shape, lengths, new_tokens), engine_for(rows)
            engine.translate(_limited(prompts, 2))  # chooses kernels
            one_token_s = bench.seconds(lambda engine=engine, p=prompts: engine.translate(_limited(p, 1)))  # type: ignore[misc]
            runs = [
                bench.timed(lambda engine=engine, p=prompts: engine.translate(p)) for _ in range(bench.sizes.repeats)
            ]  # type: ignore[misc]
            whole_s, answers = [seconds for seconds, _ in runs], runs[-1][1]
            tokens = sum(answer.tokens for answer in answers)
            yield {
                "what": "batch", "batch": rows, "prompt_tokens": int(lengths.sum()), "longest": int(lengths.max()),
                "new_tokens": tokens, "steps": new_tokens - 1, "one_token_s": min(one_token_s), "whole_s": min(whole_s),
                "bytes": shape.decode_bytes(lengths.tolist(), new_tokens, bench.item_bytes), "peak_gib": bench.peak_gib(),
                "halved": engine.halved, "errors": _errors(answers), "ended_early": len(prompts) * new_tokens - tokens,
            }  # fmt: skip
            if not engine.halved:
                best = max(best, (tokens / min(whole_s), rows))
        rows = best[1]
        if not rows:
            raise ValueError(f"no batch of {bench.sizes.batches[shape.name]} rows fits into the memory of the device")
        engine = engine_for(rows)
        for group, lengths in enumerate(batch_lengths(rows, GROUPS)):
            prompts = draw_prompts(shape, lengths, new_tokens)
            engine.translate(_limited(prompts, 1))
            one_token_s = bench.seconds(lambda p=prompts: engine.translate(_limited(p, 1)), 1)  # type: ignore[misc]
            whole, answers = bench.timed(lambda p=prompts: engine.translate(p))  # type: ignore[misc]
            yield {
                "what": "group", "group": group, "batch": rows, "prompt_tokens": lengths.tolist(),
                "output_tokens": [answer.tokens for answer in answers], "one_token_s": one_token_s, "whole_s": [whole],
            }  # fmt: skip
        bench.forget()
        rows = bench.sizes.batches[shape.name][0]
        lengths = draw_lengths(rows)
        prompts = draw_prompts(shape, lengths, new_tokens)
        seconds = min(bench.seconds(lambda: plain_generate(model, prompts, new_tokens, bench.device)))
        yield {"what": "plain", "batch": rows, "new_tokens": rows * new_tokens, "whole_s": seconds}

    return measure


@torch.inference_mode()
def plain_generate(model: Any, prompts: list[Prompt], new_tokens: int, device: torch.device) -> torch.Tensor:
    """Decodes one batch as examples of transformers do; returns token ids."""
    inputs = pad_left([prompt.ids for prompt in prompts], PAD, device)
    return model.generate(**inputs, max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False)


def _limited(prompts: list[Prompt], new_tokens: int) -> list[Prompt]:
    return [prompt._replace(max_new_tokens=new_tokens) for prompt in prompts]


def _errors(answers: list[Completion]) -> int:
    return sum(answer.finish == "error" for answer in answers)
