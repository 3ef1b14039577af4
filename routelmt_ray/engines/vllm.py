"""The engine on vLLM: one model in each process, and one running batch for the rows of all shards in flight.

Its answers are those of the transformers engine, except for rounding: the token ids, the end markers and the limit of
each row are the same, and decoding is greedy. The engine runs in separate processes. It reads only safetensors.
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
from routelmt_ray.config.schema import LAST_TOKEN
from routelmt_ray.engines import HARMLESS, Completion, Prompt
from routelmt_ray.engines.answers import AnswerReader
from routelmt_ray.engines.architecture import text_config
from routelmt_ray.engines.artifact import Router, folder_identity
from routelmt_ray.engines.batching import blame_engine
from routelmt_ray.engines.node import first_start_alone, shared_folder, wait_for_room
from routelmt_ray.engines.tokenizers import load_tokenizer, model_config, shipped_generation
from routelmt_ray.engines.vllm_args import (
    check_vllm,
    compute_dtype,
    engine_arguments,
    pooling_arguments,
    set_environment,
)

log = logging.getLogger(__name__)

_RELEASE_S = 120.0
"""Most seconds to wait until an engine that has ended releases its memory."""


def _start(arguments: dict[str, Any]) -> Any:
    """Starts an engine. The first of its kind on a node starts alone, as it compiles code that the others then use."""
    from vllm import __version__

    from routelmt_ray.engines.vllm_requests import Requests

    _wait_for_gpu(arguments["gpu_memory_utilization"])
    if arguments["enforce_eager"]:
        return Requests(arguments)
    kind = repr((sorted(arguments.items()), __version__, platform.node()))
    with first_start_alone(_node_folder(), hashlib.sha256(kind.encode()).hexdigest()[:16]):
        return Requests(arguments)


def _wait_for_gpu(utilization: float) -> None:
    """Waits for free memory on the GPU. Where pools take turns, the engine before needs seconds to end, and vLLM would
    not start until then."""
    from vllm.platforms import current_platform

    if not current_platform.is_cuda():
        return
    from vllm.third_party import pynvml

    pynvml.nvmlInit()
    mine = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]  # Ray sets it to the GPUs that the actor reserved
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


class _Vllm:
    """An engine of vLLM with the settings of a model."""

    halved = 0
    _requests: Any

    def __init__(self, config: ModelConfig) -> None:
        check_vllm("model", config)
        set_environment(config)

    def close(self) -> None:
        """Ends the processes of the engine."""
        self._requests.close()


class VllmEngine(_Vllm):
    """Translates prompts with vLLM."""

    def __init__(self, config: ModelConfig) -> None:
        """Starts the engine. Args: config: the model and its settings. Raises ValueError if the settings do not fit
        vLLM, or it is not installed."""
        super().__init__(config)
        self._reading = AnswerReader.of(config, shipped_generation(config))
        self._requests = _start(engine_arguments(config))

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Translates every prompt, each up to its own limit. Raises EngineDead if the engine cannot continue, and
        EveryRowFailed if all prompts failed, and the engine is the cause."""
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
            ignore_eos=True,  # not the end token of vLLM, but those of the transformers engine, end an answer
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def _completion(self, output: Any, source: str) -> Completion:
        if isinstance(output, Exception):
            return Completion(None, 0, "error", f"{type(output).__name__}: {output}"[:500])
        return self._reading.completion(list(output.outputs[0].token_ids), source)


def _ended(output: Any) -> Any:
    """An output of vLLM, or an exception that says what ended it early."""
    if isinstance(output, Exception) or output.outputs[0].finish_reason in ("stop", "length"):
        return output
    return RuntimeError(f"vLLM ended the request: {output.outputs[0].finish_reason}")


def _blame(outputs: Sequence[Any], ask_harmless: Callable[[], Sequence[Any]]) -> None:
    """Raises an error if all requests failed and the engine is the cause; see :func:`blame_engine`."""
    errors = [output for output in outputs if isinstance(output, Exception)]

    def harmless() -> None:
        for output in ask_harmless():
            if isinstance(output, Exception):
                raise output

    if errors and len(errors) == len(outputs):
        blame_engine(errors, harmless)


class VllmProbe(_Vllm):
    """Probes prompts with a pooling model, whose classification layer is the heads of a router.

    Without a router it gives states.
    """

    def __init__(self, config: ModelConfig, router: Router | None, pooling: str = LAST_TOKEN) -> None:
        """Starts the engine.

        A router is merged with the model into a classifier on the disk of this node, which is removed after loading.
        Without one, `pooling` names the tokens whose states are given. Raises ValueError if the settings do not fit
        vLLM, it is not installed, or the architecture has no such classifier.
        """
        super().__init__(config)
        self._task = "classify" if router else "embed"
        arguments = engine_arguments(config) | {"convert": self._task}
        arguments |= pooling_arguments(config, pooling if router is None else router.pooling)
        if router is None:
            self._width = int(text_config(model_config(config)).hidden_size)
            self._requests = _start(arguments)
            return
        self._width = len(router.heads)
        # Always under the same name, as it is part of the key of the compile cache of vLLM.
        path = _node_folder() / f"classifier-{_digest(config, router)}"
        with shared_folder(path, lambda folder: _export(config, router, folder)) as folder:
            self._requests = _start(arguments | {"model": str(folder), "revision": None, "tokenizer_revision": None})

    def probe(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Computes raw head outputs on the state that the router reads: last layer, after the final norm."""
        assert self._task == "classify", "the engine was opened without a router"
        return self._pool(prompts)

    def states(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Computes the states that heads read, by the pooling of the engine: last layer, after the final norm."""
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
