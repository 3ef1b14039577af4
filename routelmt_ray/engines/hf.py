"""The engine on transformers: CPU or GPU, one process, batches of similar length."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.schema import LAST_TOKEN
from routelmt_ray.engines import HARMLESS, Completion, Prompt
from routelmt_ray.engines.answers import AnswerReader
from routelmt_ray.engines.architecture import decoder_of
from routelmt_ray.engines.artifact import Router
from routelmt_ray.engines.batching import length_batches, run_batches
from routelmt_ray.engines.light_transformers import transformers
from routelmt_ray.engines.masks import build_fast_masks
from routelmt_ray.engines.prefill import compile_layers, pad_right, prompt_states

# After these the CUDA context is lost and the actor must be replaced. A lack of memory is not one of them.
FATAL: tuple[type[BaseException], ...] = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
"""Exceptions after which an engine cannot continue."""


def device_of(config: ModelConfig) -> torch.device:
    """Chooses the device of a model; `auto` is a GPU if there is one."""
    return torch.device(config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")


def dtype_of(config: ModelConfig, device: torch.device) -> torch.dtype:
    """Chooses the compute type of a model; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    name = config.dtype if config.dtype != "auto" else "bfloat16" if device.type == "cuda" else "float32"
    return getattr(torch, name)


def load_weights(config: ModelConfig, dtype: torch.dtype) -> Any:
    """Loads the causal language model of a config, on the CPU. Raises ValueError if its files lack weights, which
    transformers would fill at random."""
    build_fast_masks()
    model, found = transformers.AutoModelForCausalLM.from_pretrained(
        config.path,
        revision=config.revision,
        dtype=dtype,
        attn_implementation=config.attention,
        trust_remote_code=config.trust_remote_code,
        use_safetensors=True,
        output_loading_info=True,
    )
    lacking = set(found["missing_keys"]) & {name for name, _ in model.named_parameters()}
    needed = {id(weight) for part in (decoder_of(model), model.get_output_embeddings()) for weight in part.parameters()}
    lacking = {name for name, weight in model.named_parameters() if name in lacking and id(weight) in needed}
    if lacking:
        raise ValueError(
            f"{config.path}: its files lack {len(lacking)} weights of {type(model).__name__}, such as {min(lacking)}: "
            "config.json and weights do not belong together; get both again"
        )
    return model


def token_embeddings(config: ModelConfig) -> np.ndarray:
    """Reads the vector by which a model enters each token, shape ``(vocabulary, width)``, float32; loads all of its weights."""
    embeddings: torch.Tensor = load_weights(config, torch.bfloat16).get_input_embeddings().weight
    return embeddings.detach().float().numpy()


def load_merged(config: ModelConfig, router: Router | None, dtype: torch.dtype) -> Any:
    """Loads the model of a config on the CPU, and merges the adapter of a router, if any, into its weights."""
    model = load_weights(config, dtype)
    if router is not None and router.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(router.adapter)).merge_and_unload()
    return model


def pad_left(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Builds token ids and attention mask, ``(batch, longest prompt)`` int64, with the prompts at the right edge."""
    # One flat copy instead of two assignments a row: the device waits meanwhile.
    lengths = torch.tensor([len(ids) for ids in prompts])
    width = int(lengths.max())
    mask = torch.arange(width) >= width - lengths[:, None]
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    ids[mask] = torch.from_numpy(np.fromiter(chain.from_iterable(prompts), np.int64, int(lengths.sum())))
    return {"input_ids": ids.to(device), "attention_mask": mask.long().to(device)}


def pad_token(wanted: int | None, model: Any) -> int:
    """Chooses the padding token. It is masked, so any token with an embedding is suitable."""
    return wanted if wanted is not None and 0 <= wanted < model.get_input_embeddings().weight.shape[0] else 0


def state_width(model: Any) -> int:
    """Reads the width of the states of the last layer of a model."""
    return int(model.get_output_embeddings().weight.shape[-1])


class HfEngine:
    """One causal language model, optionally with the heads and the adapter of a router."""

    def __init__(
        self, config: ModelConfig, router: Router | None = None, model: Any = None, pooling: str = LAST_TOKEN
    ) -> None:
        """Loads the model.

        Args:
            router: the router, for probing. Its adapter, if any, is merged into the weights, so an engine that
                translates must be opened without it.
            model: a loaded model, as :func:`load_merged` gives it, to use in place of the weights in `config.path`. Its
                generation settings are replaced.
            pooling: tokens whose states it gives without a router, :data:`~routelmt_ray.config.schema.MEAN` or the last.
        """
        torch.set_num_threads(config.threads)
        self._config = config
        self._device = device_of(config)
        if model is None:
            model = load_merged(config, router, dtype_of(config, self._device))
        self._model = model.to(self._device).eval()
        self._reading = AnswerReader.of(config, model.generation_config)
        self._pad = pad_token(self._reading.tokenizer.pad_token_id, model)
        self.halved = 0
        # A new one: settings in the files of a model (sampling, penalties) must not affect a reproducible translation.
        model.generation_config = transformers.GenerationConfig(
            do_sample=False, num_beams=config.num_beams, eos_token_id=sorted(self._reading.ends), pad_token_id=self._pad
        )
        self._pooling = pooling if router is None else router.pooling
        self._heads = None if router is None else torch.from_numpy(router.weight).to(self._device)
        self.compiled = False
        if router is not None and (self._device.type == "cuda" if config.compile is None else config.compile):
            self.compiled = compile_layers(model, lambda: self._batch_states([HARMLESS.ids] * 2))

    def probe(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Computes raw head outputs on the state that the router reads: last layer, after the final norm."""
        assert self._heads is not None, "the engine was opened without a router"
        heads = self._heads.T
        return self._read_states(prompts, heads.shape[1], lambda states: states @ heads)

    def states(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Computes the states that heads read, by the pooling of the engine: last layer, after the final norm."""
        return self._read_states(prompts, state_width(self._model), lambda states: states)

    def _read_states(
        self, prompts: Sequence[Prompt], width: int, read: Callable[[torch.Tensor], torch.Tensor]
    ) -> np.ndarray:
        out = np.full((len(prompts), width), np.nan, np.float32)

        def failed(error: Exception) -> np.ndarray:
            return np.full(width, np.nan, np.float32)

        def run(rows: list[int]) -> list[np.ndarray]:
            return list(read(self._batch_states([prompts[i].ids for i in rows])).cpu().numpy())

        lengths = [len(prompt.ids) for prompt in prompts]
        batches = length_batches(lengths, [0] * len(prompts), len(prompts), self._config.batch_tokens)
        with torch.inference_mode():
            for rows, values in run_batches(
                run, batches, failed, FATAL, lambda: self._batch_states([HARMLESS.ids]), self._count_halved
            ):
                out[rows] = values
        return out

    def _count_halved(self) -> None:
        self.halved += 1

    @torch.inference_mode()
    def _batch_states(self, prompts: list[Sequence[int]]) -> torch.Tensor:
        return prompt_states(self._model, *pad_right(prompts, self._pad, self._device), self._pooling)

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Translates every prompt. Each answer is cut at its own limit, in any batch."""
        out: list[Completion] = [Completion(None, 0, "error", "not run")] * len(prompts)

        def failed(error: Exception) -> Completion:
            return Completion(None, 0, "error", f"{type(error).__name__}: {error}"[:500])

        def run(rows: list[int]) -> list[Completion]:
            return self._translate_batch([prompts[i] for i in rows])

        lengths, rooms = [len(p.ids) for p in prompts], [p.max_new_tokens for p in prompts]
        batches = length_batches(lengths, rooms, self._config.batch_rows, self._config.batch_tokens)
        for rows, answers in run_batches(
            run, batches, failed, FATAL, lambda: self._translate_batch([HARMLESS]), self._count_halved
        ):
            for row, answer in zip(rows, answers):
                out[row] = answer
        return out

    @torch.inference_mode()
    def _translate_batch(self, prompts: list[Prompt]) -> list[Completion]:
        inputs = pad_left([prompt.ids for prompt in prompts], self._pad, self._device)
        width = inputs["input_ids"].shape[1]
        limits = torch.tensor([p.max_new_tokens for p in prompts], device=self._device)
        generated = self._model.generate(
            **inputs,
            max_new_tokens=int(limits.max()),
            stopping_criteria=transformers.StoppingCriteriaList([_RowLimit(width, limits)]),
        )[:, width:].tolist()
        return [
            self._reading.completion(ids[: prompt.max_new_tokens], prompt.text)
            for ids, prompt in zip(generated, prompts)
        ]


class _RowLimit(transformers.StoppingCriteria):
    """Stops each row at its own number of new tokens, so that one endless row does not delay the batch."""

    def __init__(self, width: int, limits: torch.Tensor) -> None:
        self._width, self._limits = width, limits

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        candidates = input_ids.shape[0] // len(self._limits)  # for each row; beam search keeps several
        return input_ids.shape[1] - self._width >= self._limits.repeat_interleave(candidates)
