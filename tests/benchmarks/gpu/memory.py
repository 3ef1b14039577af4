"""What a batch that does not fit into memory does: it is halved until it fits, and no row is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from routelmt_ray.engines import Prompt
from routelmt_ray.engines.hf import HfEngine
from tests.benchmarks.gpu.decoding import batch_lengths
from tests.benchmarks.gpu.runner import Figures
from tests.benchmarks.gpu.setting import Bench, draw_prompts
from tests.benchmarks.gpu.shapes import Shape, random_model

_NEW_TOKENS = 8
"""Most tokens of an answer: a device chooses kernels for each new size of a batch, which takes seconds."""
_MARGIN = 1.25
"""Memory that is left for a batch, over what a quarter of its rows took."""


def memory(shape: Shape) -> Callable[[Bench], Figures]:
    """Builds the part: the largest batch of a model, with memory for little more than a quarter of it.

    Its figure: rows, answers, errors, `halved`, seconds with enough memory and with too little, and the share of
    answers that are equal (batches of other shapes round otherwise in bfloat16).
    """

    def measure(bench: Bench) -> Figures:
        model = random_model(shape, bench.device, bench.dtype)
        rows = bench.sizes.batches[shape.name][-1]
        (lengths,) = batch_lengths(rows, 1)
        prompts = draw_prompts(shape, lengths, min(_NEW_TOKENS, bench.sizes.new_tokens))
        engine = HfEngine(bench.model_config(bench.tokenizer_only(shape), rows), model=model)
        bench.forget()
        engine.translate(prompts[: rows // 4])
        quarter = bench.peak_gib()
        enough_s, wanted = bench.timed(lambda: engine.translate(prompts))
        whole = bench.peak_gib()
        bench.forget()
        before = engine.halved
        with scarce(bench, model, prompts[: rows // 4], quarter):
            scarce_s, found = bench.timed(lambda: engine.translate(prompts))
        equal = sum(a.text == b.text for a, b in zip(wanted, found)) / rows
        yield {
            "model": shape.name, "rows": rows, "answers": len(found), "halved": engine.halved - before,
            "errors": sum(answer.finish == "error" for answer in found), "equal": equal, "enough_s": enough_s,
            "scarce_s": scarce_s, "quarter_peak_gib": quarter, "whole_peak_gib": whole,
        }  # fmt: skip
        again_s, after = bench.timed(lambda: engine.translate(prompts))
        yield {
            "model": shape.name, "what": "the same batch with enough memory, afterwards", "rows": rows, "seconds": again_s,
            "errors": sum(answer.finish == "error" for answer in after),
            "equal": sum(a.text == b.text for a, b in zip(wanted, after)) / rows,
        }  # fmt: skip

    return measure


@contextmanager
def scarce(bench: Bench, model: Any, that_fit: list[Prompt], quarter_gib: float | None) -> Iterator[None]:
    """Leaves memory for few rows: by a limit of PyTorch on a GPU, and by an exception of the model on a CPU.

    Args:
        bench: the machine.
        model: the model.
        that_fit: rows that still fit.
        quarter_gib: memory that they took, weights included, GiB; None on a CPU.
    """
    if bench.cuda:
        assert quarter_gib is not None
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, _MARGIN * quarter_gib * 2**30 / total))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return

    def refuse(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named["input_ids"] if named.get("input_ids") is not None else arguments[0]
        if ids.shape[0] > len(that_fit):
            raise torch.OutOfMemoryError(f"no memory for {ids.shape[0]} rows")

    hook = model.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
