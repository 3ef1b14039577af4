"""Training of a LoRA router by the code of `jobs/train.py`: rows per second and memory, with and without accumulation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from routelmt_ray.config.train import LoraConfig
from routelmt_ray.router.lora import LoraTask, LoraTraining
from tests.benchmarks.gpu.runner import Figures
from tests.benchmarks.gpu.setting import Bench, draw_lengths, draw_prompts
from tests.benchmarks.gpu.shapes import Shape

_STOP_ROWS = 8


class StepClock:
    """Takes the time at the end of each step, in the place of a progress bar."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, int]] = []
        """Time, and rows of the step."""

    def advance(self, rows: int) -> None:
        """Notes the end of a step. Its loss was read, so that the device has nearly done its work."""
        self.steps.append((time.perf_counter(), rows))

    def rows_per_s(self) -> float:
        """Computes the speed without the first step, which chooses kernels, and the last, which measures and saves.

        Raises:
            ValueError: there were fewer than three steps.
        """
        if len(self.steps) < 3:
            raise ValueError(
                f"train_steps is {len(self.steps)}; it must be at least 3, as the first and last do not count"
            )
        seconds = self.steps[-2][0] - self.steps[0][0]
        return sum(rows for _, rows in self.steps[1:-1]) / max(seconds, 1e-9)


def training(shape: Shape) -> Callable[[Bench], Figures]:
    """Builds the part. Its figures, for each batch that is tried: `rows_per_s` in wall seconds, `peak_gib`, last loss."""

    def measure(bench: Bench) -> Figures:
        folder = bench.written(shape)
        for rows, accumulate in bench.sizes.train_batches:
            bench.forget()
            steps = bench.sizes.train_steps
            lengths = draw_lengths(rows * accumulate * steps + _STOP_ROWS, 2)
            prompts = [prompt.ids for prompt in draw_prompts(shape, lengths, 0, 2)]
            targets = np.random.default_rng(3).normal(0, 0.1, (len(prompts), 1)).astype(np.float32)
            order = np.arange(len(prompts))
            task = LoraTask(prompts, targets, order[_STOP_ROWS:], order[:_STOP_ROWS], 0)
            settings = LoraConfig(
                learning_rate=1e-4, batch_rows=rows, accumulate=accumulate, steps=steps, evaluate_every=steps
            )
            clock = StepClock()
            with tempfile.TemporaryDirectory(dir=bench.scratch) as temporary:
                config = bench.model_config(folder, rows, bench.sizes.probe_batches[0])
                fit = LoraTraining(config, settings, task, 0, Path(temporary) / "checkpoint").run(clock)  # type: ignore[arg-type]
            mean_flops = shape.prefill_flops(lengths.tolist()) / len(lengths)
            yield {
                "batch": rows, "accumulate": accumulate, "steps": steps, "rows_per_s": clock.rows_per_s(),
                "flops_per_row": 2 * mean_flops,  # forward, and backward to the adapters; frozen weights have no gradient
                "peak_gib": bench.peak_gib(), "loss": fit.facts["measured"][-1]["loss"],
            }  # fmt: skip
            del fit

    return measure
