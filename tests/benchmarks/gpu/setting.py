"""What is measured: the sizes of a real run and of a toy one, the clock, and prompts of realistic lengths."""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import Prompt
from tests.benchmarks.gpu import shapes
from tests.benchmarks.gpu.shapes import FIRST_WORD, Shape

TEMPLATE_TOKENS = 20
"""Tokens of a prompt that are not its source: the same in every prompt, half of them at its end."""
SHORTEST, LONGEST, MEDIAN, SIGMA = 30, 300, 75, 0.6
"""Prompt tokens are log-normal within these bounds, about as sentences of web text are."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    name: str
    pairs: tuple[tuple[Shape, Shape], ...]
    """Small and large models that are compared."""
    more: tuple[Shape, ...]
    """Further small models."""
    batches: dict[str, tuple[int, ...]]
    """Rows of a decoding batch that are tried, by model."""
    probe_batches: tuple[int, ...]
    """Padded tokens of a probing batch that are tried; the first is the default of the engine."""
    train_batches: tuple[tuple[int, int], ...]
    """Rows of a training batch, and batches of an optimizer step, that are tried."""
    encoder: tuple[int, int, int, int, int]
    """The judge's encoder: hidden, layers, heads, intermediate, vocabulary."""
    probe_rows: int
    train_steps: int
    new_tokens: int
    """Tokens of each answer."""
    repeats: int
    matmul: int
    """Side of the square matrices whose product gives the ceiling of operations."""
    copy_bytes: int
    """Size of the copy that gives the ceiling of bytes; far more than a cache."""

    @property
    def models(self) -> tuple[Shape, ...]:
        """All causal models, each once, in the order of their importance."""
        return tuple(dict.fromkeys([shape for pair in self.pairs for shape in pair] + list(self.more)))

    @property
    def small_models(self) -> tuple[Shape, ...]:
        """Models that are probed."""
        return tuple(dict.fromkeys([small for small, _ in self.pairs] + list(self.more)))


REAL = Sizes(
    "real",
    ((shapes.QWEN_06, shapes.QWEN_8), (shapes.GEMMA_1, shapes.GEMMA_27)),
    (shapes.QWEN_17,),
    {"qwen3-0.6b": (1024,), "gemma3-1b": (1024,), "qwen3-1.7b": (512,), "qwen3-8b": (512,), "gemma3-27b": (64,)},
    (32_768, 131_072),
    ((64, 1), (16, 4)),
    (1024, 24, 16, 4096, 250_002),
    probe_rows=4096, train_steps=8, new_tokens=64, repeats=2, matmul=8192, copy_bytes=4 << 30,
)  # fmt: skip
TOY = Sizes(
    "toy",
    ((shapes.TOY_SMALL, shapes.TOY_LARGE),),
    (),
    {"toy-small": (2, 4), "toy-large": (4,)},
    (32_768, 400),
    ((4, 1), (2, 2)),
    (32, 2, 2, 64, 300),
    probe_rows=32, train_steps=3, new_tokens=4, repeats=1, matmul=64, copy_bytes=1 << 20,
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """One machine, and what is measured on it."""

    sizes: Sizes
    device: torch.device
    scratch: Path
    """Folder for random models."""

    @property
    def cuda(self) -> bool:
        """True on a GPU."""
        return self.device.type == "cuda"

    @property
    def unit(self) -> str:
        """Unit of all seconds, as in `routelmt_ray.budget.cost`: wall seconds of one GPU, or CPU seconds of this process."""
        return "gpu_s" if self.cuda else "cpu_s"

    @property
    def dtype(self) -> torch.dtype:
        """Type that the engine chooses here."""
        return torch.bfloat16 if self.cuda else torch.float32

    @property
    def item_bytes(self) -> int:
        """Bytes of a weight of that type."""
        return self.dtype.itemsize

    def device_name(self) -> str:
        """Gets the name of the hardware."""
        return torch.cuda.get_device_name() if self.cuda else platform.processor() or platform.machine()

    def timed(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Runs a call to the end of its work on the device; returns its seconds and its result."""
        clock = time.perf_counter if self.cuda else time.process_time
        self._wait()
        started = clock()
        result = call()
        self._wait()
        return max(clock() - started, 1e-9), result

    def seconds(self, call: Callable[[], Any], repeats: int | None = None) -> list[float]:
        """Runs a call several times; returns the seconds of each."""
        return [self.timed(call)[0] for _ in range(repeats or self.sizes.repeats)]

    def _wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def forget(self) -> None:
        """Releases unused memory of a GPU, and begins to count its peak."""
        if self.cuda:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gib(self) -> float | None:
        """Reads the largest memory that tensors took since :meth:`forget`, GiB; None on a CPU."""
        return torch.cuda.max_memory_allocated() / 2**30 if self.cuda else None

    def written(self, shape: Shape) -> Path:
        """Writes a random model once; returns its folder."""
        return shapes.write_model(shape, self.scratch / shape.name, self.device, self.dtype)

    def tokenizer_only(self, shape: Shape) -> Path:
        """Writes the tokenizer of a model whose weights never touch the disk; returns its folder."""
        folder = self.scratch / f"{shape.name}-tokenizer"
        if not folder.exists():
            with shapes.whole_or_not(folder) as temporary:
                shapes.write_tokenizer(shape, temporary)
        return folder

    def model_config(self, folder: Path, rows: int, tokens: int = 1 << 30) -> ModelConfig:
        """Builds the config of an engine on a random model.

        Args:
            folder: of its tokenizer and, unless the model is handed over, its weights.
            rows: rows of a batch.
            tokens: padded tokens of a batch.
        """
        return ModelConfig(
            path=str(folder), prompt="plain", device=self.device.type, batch_rows=rows, batch_tokens=tokens
        )


def draw_lengths(rows: int, seed: int = 0) -> np.ndarray:
    """Draws prompt tokens of rows, int64, shape ``(rows,)``."""
    drawn = np.random.default_rng(seed).lognormal(np.log(MEDIAN), SIGMA, rows)
    return np.clip(drawn.round(), SHORTEST, LONGEST).astype(np.int64)


def draw_prompts(shape: Shape, lengths: np.ndarray, new_tokens: int, seed: int = 0) -> list[Prompt]:
    """Draws prompts of random words between the two halves of a template.

    Args:
        shape: the model whose vocabulary is used.
        lengths: prompt tokens of each row.
        new_tokens: most tokens of each answer.
        seed: seed of the words.
    """
    rng = np.random.default_rng(seed)
    half = TEMPLATE_TOKENS // 2
    template = rng.integers(FIRST_WORD, shape.vocabulary, TEMPLATE_TOKENS).tolist()
    return [
        Prompt(
            [
                *template[:half],
                *rng.integers(FIRST_WORD, shape.vocabulary, n - TEMPLATE_TOKENS).tolist(),
                *template[half:],
            ],
            new_tokens,
            "",
        )
        for n in lengths.tolist()
    ]
