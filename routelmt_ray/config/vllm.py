"""Settings of the vLLM engine: a section of every model, read where its `engine` is `vllm`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from routelmt_ray.config.loader import option

_SECRET = re.compile(r"(.*_)?(token|key|apikey|secret|password|passwd|credentials?|auth)", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(hf_|sk-|ghp_|AKIA|Bearer )\w{8,}.*")


def _secrets(name: str, value: Any) -> Iterator[str]:
    """Names of the arguments that hold a secret, by name or by value, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets(name, item)
    elif isinstance(value, str) and (_SECRET.fullmatch(name.rpartition(".")[2]) or _SECRET_VALUE.fullmatch(value)):
        yield name


@dataclass(frozen=True)
class VllmConfig:
    """How vLLM runs one model. Defaults suit sentences: short prompts, short answers, as many at once as fit."""

    max_model_len: Optional[int] = option(4096, "null or an integer of at least 2", lambda v: v is None or v >= 2)
    """Most tokens of a prompt and its answer together, as far as the model's context goes; null: all of the context."""
    max_num_seqs: int = option(512, "an integer of at least 1", lambda v: v >= 1)
    """Most rows in the running batch; 512 is the largest batch vLLM records a CUDA graph for on most GPUs."""
    max_num_batched_tokens: int = option(16_384, "an integer of at least 1", lambda v: v >= 1)
    """Most tokens, of prompts and answers, in one step; at least `max_num_seqs`."""
    gpu_memory_utilization: float = option(0.9, "a number above 0, at most 1", lambda v: 0 < v <= 1)
    """Share of the GPU's memory an engine may take; less where `pool.gpus` puts several engines on one GPU."""
    kv_cache_mb: Optional[int] = option(None, "null or an integer of at least 1", lambda v: v is None or v >= 1)
    """Memory for keys and values, MiB. Null: on a GPU what `gpu_memory_utilization` leaves, on a CPU 2048."""
    quantization: Optional[str] = None
    """Quantization as vLLM names it (`fp8`, `awq`, …); null: what the checkpoint says. Measure its quality first."""
    tensor_parallel_size: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """GPUs that share one engine; `pool.gpus` must be the same. Where the model fits on one GPU, more actors do more."""
    enforce_eager: bool = False
    """Neither compile the model nor record CUDA graphs: starts sooner, runs slower."""
    engine_args: dict[str, Any] = dataclasses.field(
        default_factory=dict,
        hash=False,  # a model's config is a key of caches
        metadata={"allowed": "a mapping of names to values", "check": lambda v: all(isinstance(k, str) for k in v)},
    )
    """More arguments of vLLM's `EngineArgs`, by name, e.g. `{kv_cache_dtype: fp8}`; checked against it before Ray starts."""

    def __post_init__(self) -> None:
        """Refuses secrets, as a configuration is written into manifests, reports and logs.

        Raises:
            ValueError: naming the argument, not its value.
        """
        if secret := next(_secrets("vllm.engine_args", self.engine_args), None):
            raise ValueError(
                f"{secret} looks like a secret, which would stand in the manifest and the reports; set it in the environment "
                "of the workers, e.g. HF_TOKEN"
            )
