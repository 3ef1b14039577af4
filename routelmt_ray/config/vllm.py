"""Settings of the vLLM engine: a section of every model, read where its `engine` is `vllm`."""

from dataclasses import dataclass
from typing import Any, Optional

from routelmt_ray.config.loader import option
from routelmt_ray.config.secrets import secrets


@dataclass(frozen=True)
class VllmConfig:
    """Settings with which vLLM runs one model. Defaults are for sentences: short prompts, short answers, as many at once as fit."""

    max_model_len: Optional[int] = option(4096, "null or an integer of at least 2", lambda v: v is None or v >= 2)
    """Largest number of tokens of a prompt and its answer together, at most the model's context; null: the whole
    context."""
    max_num_seqs: int = option(512, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of rows in the running batch; 512 is the largest batch for which vLLM records a CUDA graph on most
    GPUs."""
    max_num_batched_tokens: int = option(16_384, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of tokens, of prompts and answers, in one step; at least `max_num_seqs`."""
    gpu_memory_utilization: float = option(0.9, "a number above 0, at most 1", lambda v: 0 < v <= 1)
    """Share of the GPU's memory that an engine may use; set it lower where `pool.gpus` puts several engines on one
    GPU."""
    kv_cache_mb: Optional[int] = option(None, "null or an integer of at least 1", lambda v: v is None or v >= 1)
    """Memory for keys and values, MiB. Null: on a GPU what `gpu_memory_utilization` leaves, on a CPU 2048."""
    quantization: Optional[str] = None
    """Quantization as vLLM names it (`fp8`, `awq`, …); null: what the checkpoint says. Measure its quality first."""
    tensor_parallel_size: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """GPUs that share one engine; `pool.gpus` must be the same. Where the model fits on one GPU, more actors are
    faster."""
    enforce_eager: bool = False
    """Neither compile the model nor record CUDA graphs: the engine starts sooner and runs slower."""
    engine_args: dict[str, Any] = option(
        {}, "a mapping of names to values", lambda v: all(isinstance(k, str) for k in v)
    )
    """More arguments of vLLM's `EngineArgs`, by name, e.g. `{kv_cache_dtype: fp8}`; checked against it before Ray
    starts."""

    def __post_init__(self) -> None:
        """Refuses secrets, because a configuration is written to manifests, reports and logs."""
        if secret := next(secrets("vllm.engine_args", self.engine_args), None):
            raise ValueError(
                f"{secret} looks like a secret, which would be written to the manifest and the reports; set it in the environment "
                "of the workers, e.g. HF_TOKEN"
            )
