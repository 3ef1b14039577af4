"""Decoding by the engine that a job uses: batches of several sizes, a fixed number of new tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from routelmt_ray.engines import Prompt
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

    Its figures: `what=batch` for each size of a batch, with prompts of middle length; `what=group` as in a profile: full
    answers and one new token on batches of several lengths, with the fastest size of a batch; `what=plain` for
    `generate` of transformers on as many rows as the first batch, in file order.
    """

    def measure(bench: Bench) -> Figures:
        folder, model = bench.tokenizer_only(shape), random_model(shape, bench.device, bench.dtype)
        fastest: tuple[float, HfEngine, int] | None = None
        for rows in bench.sizes.batches[shape.name]:
            bench.forget()
            engine = HfEngine(bench.model_config(folder, rows), model=model)
            figure = _batch(bench, shape, engine, rows)
            yield figure
            speed = figure["new_tokens"] / figure["whole_s"]
            if not engine.halved and (fastest is None or speed > fastest[0]):
                fastest = speed, engine, rows
        if fastest is None:
            raise ValueError(
                f"batches of {bench.sizes.batches[shape.name]} rows do not fit into memory; try smaller ones"
            )
        _, engine, rows = fastest
        for group, lengths in enumerate(batch_lengths(rows, GROUPS)):
            yield {"group": group, "batch": rows} | _group(bench, shape, engine, lengths)
        bench.forget()
        rows = bench.sizes.batches[shape.name][0]
        prompts = draw_prompts(shape, draw_lengths(rows), bench.sizes.new_tokens)
        seconds = min(bench.seconds(partial(plain_generate, model, prompts, bench.sizes.new_tokens, bench.device)))
        yield {"what": "plain", "batch": rows, "new_tokens": rows * bench.sizes.new_tokens, "whole_s": seconds}

    return measure


def _batch(bench: Bench, shape: Shape, engine: HfEngine, rows: int) -> dict[str, Any]:
    """Measures full answers and one new token on one batch of prompts of middle length."""
    (lengths,) = batch_lengths(rows, 1)
    new_tokens = bench.sizes.new_tokens
    prompts = draw_prompts(shape, lengths, new_tokens)
    engine.translate(_limited(prompts, 2))  # chooses kernels
    one_token_s = bench.seconds(partial(engine.translate, _limited(prompts, 1)))
    runs = [bench.timed(partial(engine.translate, prompts)) for _ in range(bench.sizes.repeats)]
    answers = runs[-1][1]
    tokens = sum(answer.tokens for answer in answers)
    return {
        "what": "batch", "batch": rows, "prompt_tokens": int(lengths.sum()), "longest": int(lengths.max()),
        "new_tokens": tokens, "steps": new_tokens - 1, "one_token_s": min(one_token_s),
        "whole_s": min(seconds for seconds, _ in runs), "runs_s": [seconds for seconds, _ in runs],
        "bytes": shape.decode_bytes(lengths.tolist(), new_tokens, bench.item_bytes), "peak_gib": bench.peak_gib(),
        "halved": engine.halved, "errors": sum(answer.finish == "error" for answer in answers),
        "ended_early": rows * new_tokens - tokens,
    }  # fmt: skip


def _group(bench: Bench, shape: Shape, engine: HfEngine, lengths: np.ndarray) -> dict[str, Any]:
    """Measures one group of rows as `jobs/profile_costs.py` does; a first run with its shapes does not count,
    as a device chooses kernels for each."""
    prompts = draw_prompts(shape, lengths, bench.sizes.new_tokens)
    engine.translate(_limited(prompts, 1))
    one_token_s = bench.seconds(partial(engine.translate, _limited(prompts, 1)), 1)
    engine.translate(prompts)
    whole_s, answers = bench.timed(partial(engine.translate, prompts))
    return {
        "what": "group", "prompt_tokens": lengths.tolist(), "output_tokens": [answer.tokens for answer in answers],
        "one_token_s": one_token_s, "whole_s": [whole_s],
    }  # fmt: skip


@torch.inference_mode()
def plain_generate(model: Any, prompts: list[Prompt], new_tokens: int, device: torch.device) -> torch.Tensor:
    """Decodes one batch as examples of transformers do; returns token ids."""
    inputs = pad_left([prompt.ids for prompt in prompts], PAD, device)
    return model.generate(**inputs, max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False)


def _limited(prompts: list[Prompt], new_tokens: int) -> list[Prompt]:
    return [prompt._replace(max_new_tokens=new_tokens) for prompt in prompts]
