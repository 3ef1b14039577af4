"""The vLLM engine: one model a process, all rows of all shards in flight in one running batch.

Answers are those of the transformers engine up to the rounding of the arithmetic: the same token ids in, the same end
markers, the same limit of each row, greedy. The engine itself runs in processes of its own. Safetensors only.
"""

import hashlib
import logging
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from routelmt_ray import storage
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import HARMLESS, Completion, Prompt
from routelmt_ray.engines.answers import Reading
from routelmt_ray.engines.architecture import text_config
from routelmt_ray.engines.artifact import Router, folder_identity
from routelmt_ray.engines.batching import blame_engine
from routelmt_ray.engines.node import first_alone, shared_folder, wait_for_room
from routelmt_ray.engines.tokenizers import load_tokenizer, model_config, shipped_generation
from routelmt_ray.engines.vllm_args import check_vllm, compute_dtype, engine_arguments, set_environment

log = logging.getLogger(__name__)

_RELEASE_S = 120.0
"""Most seconds an engine that has ended takes to give its memory back."""


def _start(arguments: dict[str, Any]) -> Any:
    """Starts an engine; the first of its kind on a node alone, as it compiles what the others then find."""
    from vllm import __version__

    from routelmt_ray.engines.vllm_requests import Requests

    _wait_for_gpu(arguments["gpu_memory_utilization"])
    if arguments["enforce_eager"]:
        return Requests(arguments)
    kind = repr((sorted(arguments.items()), __version__, platform.node()))
    with first_alone(_node_folder(), hashlib.sha256(kind.encode()).hexdigest()[:16]):
        return Requests(arguments)


def _wait_for_gpu(utilization: float) -> None:
    """Pools that take turns on a GPU: the engine before this one may take seconds to end. vLLM refuses to start meanwhile."""
    from vllm.platforms import current_platform

    if not current_platform.is_cuda():
        return
    from vllm.third_party import pynvml

    pynvml.nvmlInit()
    mine = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]  # Ray sets it to what the actor reserved
    by_number = pynvml.nvmlDeviceGetHandleByIndex
    device = by_number(int(mine)) if mine.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(mine)

    def free_share() -> float:
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        return float(memory.free / memory.total)

    if not wait_for_room(free_share, utilization, _RELEASE_S):
        log.warning(
            "%.0f %% of the GPU's memory is free after %.0f s; gpu_memory_utilization asks for %.0f %%",
            100 * free_share(), _RELEASE_S, 100 * utilization,
        )  # fmt: skip


def _node_folder() -> Path:
    from vllm import envs

    return Path(envs.VLLM_CACHE_ROOT) / "routelmt"


class VllmEngine:
    """Translates."""

    halved = 0

    def __init__(self, config: ModelConfig) -> None:
        """Starts the engine. Args: which model, and how.

        Raises:
            ValueError: the settings do not fit vLLM, or it is not installed.
        """
        check_vllm("model", config)
        set_environment(config)
        self._reading = Reading.of(config, shipped_generation(config))
        self._requests = _start(engine_arguments(config))

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Translates every prompt, each up to its own limit.

        Raises:
            EngineDead: the engine cannot go on.
            EveryRowFailed: it fails on all of them, and not because of them.
        """
        outputs = [_ended(output) for output in self._requests.run([self._request(prompt) for prompt in prompts])]
        _blame(outputs, lambda: self._requests.run([self._request(HARMLESS)]))
        return [self._completion(output, prompt.text) for output, prompt in zip(outputs, prompts)]

    def _request(self, prompt: Prompt) -> Any:
        return prompt.ids, self._sampling(prompt.max_new_tokens)

    def _sampling(self, max_new_tokens: int) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        return SamplingParams(
            temperature=0.0,
            max_tokens=max_new_tokens,
            stop_token_ids=sorted(self._reading.ends),
            ignore_eos=True,  # vLLM's own idea of the end; ours is that of the transformers engine
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def _completion(self, output: Any, source: str) -> Completion:
        if isinstance(output, Exception):
            return Completion(None, 0, "error", f"{type(output).__name__}: {output}"[:500])
        return self._reading.completion(list(output.outputs[0].token_ids), source)

    def close(self) -> None:
        """Ends the engine's processes."""
        self._requests.close()


def _ended(output: Any) -> Any:
    """An output of vLLM, or as an exception what ended it early."""
    if isinstance(output, Exception) or output.outputs[0].finish_reason in ("stop", "length"):
        return output
    return RuntimeError(f"vLLM ended the request: {output.outputs[0].finish_reason}")


def _blame(outputs: Sequence[Any], ask_harmless: Callable[[], Sequence[Any]]) -> None:
    """Raises where all requests failed and the engine is to blame; see :func:`blame_engine`."""
    errors = [output for output in outputs if isinstance(output, Exception)]

    def harmless() -> None:
        for output in ask_harmless():
            if isinstance(output, Exception):
                raise output

    if errors and len(errors) == len(outputs):
        blame_engine(errors, harmless)


class VllmProbe:
    """Probes: the heads of a router as the classification layer of a pooling model, or states where there is no router."""

    halved = 0

    def __init__(self, config: ModelConfig, router: Router | None) -> None:
        """Starts the engine.

        Args:
            config: the small model, and how it runs.
            router: merged with the model into a classifier on this node's disk, which is removed once it is loaded.

        Raises:
            ValueError: the settings do not fit vLLM, it is not installed, or the architecture has no such classifier.
        """
        check_vllm("model", config)
        set_environment(config)
        self._task = "classify" if router else "embed"
        arguments = engine_arguments(config) | {"runner": "pooling", "convert": self._task}
        if router is None:
            self._width = int(text_config(model_config(config)).hidden_size)
            self._requests = _start(arguments)
            return
        self._width = len(router.heads)
        # Always under the same name, which is part of the key of vLLM's compile cache.
        path = _node_folder() / f"classifier-{_digest(config, router)}"
        with shared_folder(path, lambda folder: _export(config, router, folder)) as folder:
            self._requests = _start(arguments | {"model": str(folder), "revision": None, "tokenizer_revision": None})

    def probe(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Raw head outputs on the last prompt token, last layer, after the final norm.

        Returns:
            Shape ``(prompts, heads)``, float32; a row of NaN where a prompt failed.

        Raises:
            EngineDead: the engine cannot go on.
        """
        assert self._task == "classify", "the engine was opened without a router"
        return self._pool(prompts)

    def states(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """States of the last prompt token, last layer, after the final norm: what the heads of a router read.

        Returns:
            Shape ``(prompts, hidden)``, float32; a row of NaN where a prompt failed.

        Raises:
            EngineDead: the engine cannot go on.
        """
        assert self._task == "embed", "the engine was opened with a router, and gives head outputs alone"
        return self._pool(prompts)

    def _pool(self, prompts: Sequence[Prompt]) -> np.ndarray:
        outputs = self._requests.run([self._request(prompt) for prompt in prompts])
        _blame(outputs, lambda: self._requests.run([self._request(HARMLESS)]))
        out = np.full((len(prompts), self._width), np.nan, np.float32)
        for row, output in enumerate(outputs):
            if isinstance(output, Exception):
                log.warning("a row failed: %s: %s", type(output).__name__, output)
            else:
                out[row] = output.outputs.data.float().numpy()
        return out

    def _request(self, prompt: Prompt) -> Any:
        from vllm.pooling_params import PoolingParams

        # Without an activation: no sigmoid on a single label, no normalisation of a state.
        return prompt.ids, PoolingParams(task=self._task, use_activation=False)

    def close(self) -> None:
        """Ends the engine's processes."""
        self._requests.close()


def _export(config: ModelConfig, router: Router, path: Path) -> None:
    from routelmt_ray.engines.classifier import classifier

    torch.set_num_threads(config.threads)
    model = classifier(router, config, getattr(torch, compute_dtype(config)))
    with storage.new_folder(path) as folder:
        model.save_pretrained(folder)
        load_tokenizer(config).save_pretrained(folder)


def _digest(config: ModelConfig, router: Router) -> str:
    adapter = folder_identity(str(router.adapter), None) if router.adapter else None
    parts = (
        folder_identity(config.path, config.revision),
        adapter,
        router.heads,
        compute_dtype(config),
        platform.node(),
    )
    return hashlib.sha256(repr(parts).encode() + router.weight.tobytes()).hexdigest()[:16]
