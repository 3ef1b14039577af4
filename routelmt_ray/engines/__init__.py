"""Engines that translate and probe prompts, with one small protocol for all.

An engine probes prompts (one prefill, no decoding) and translates prompts. It gets token ids, so that tokenising stays
on CPU workers. Answers have the order of the prompts. A prompt that fails is answered with an error. An engine that
cannot continue raises an exception, and its actor is replaced.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines.artifact import Router


class Prompt(NamedTuple):
    """One request."""

    ids: Sequence[int]
    """Token ids, the turn markers of the chat template included."""
    max_new_tokens: int
    """Most tokens of the answer."""
    text: str
    """The source text, for engines without tokens."""


HARMLESS = Prompt([0] * 8, 2, "")
"""A request that every working engine answers: token 0 is in every vocabulary."""


class Completion(NamedTuple):
    """One answer."""

    text: str | None
    """The translation; None where there is an error."""
    tokens: int
    """Number of generated tokens, the end marker included."""
    finish: str
    """`stop`: the model ended the answer. `length`: it was cut at the limit. `error`: the prompt failed."""
    error: str | None = None
    """Why the prompt failed."""
    thinking: int = 0
    """Number of tokens of reasoning before the answer. They are not part of the text."""


class EngineDead(RuntimeError):
    """The engine cannot continue with any prompt. Its process must end, so that a new one starts."""


class EveryRowFailed(RuntimeError):
    """The engine fails on every row, so no row is the cause. The shard must fail and be tried again, not its rows."""


class Engine(Protocol):
    """An engine for the translate stage. Several threads may call `vllm` at once, but only one `hf`."""

    halved: int
    """Batches so far that failed whole and were tried again in halves."""

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Translates prompts; returns one answer for each, in order."""
        ...


class ProbeEngine(Protocol):
    """An engine for the score stage."""

    halved: int
    """Batches so far that failed whole and were tried again in halves."""

    def probe(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Computes raw head outputs on the last prompt token, shape ``(prompts, heads)``, float32; NaN rows failed."""
        ...

    def states(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Reads the states of the last prompt token, shape ``(prompts, hidden)``, float32; NaN rows failed."""
        ...


_ROWS_AHEAD = 16
"""Rows that an engine with a running batch should have ready, as a multiple of the rows it runs at once."""
_MOST_CALLS = 8


def calls_at_once(config: ModelConfig, shard_rows: int) -> int:
    """Computes the number of shards for an engine at once. With `vllm`, more than one keeps it busy between shards."""
    if config.engine != "vllm":
        return 1
    return min(_MOST_CALLS, max(2, -(-_ROWS_AHEAD * config.vllm.max_num_seqs // shard_rows)))


def needs_torch(config: ModelConfig) -> bool:
    """Tells whether the engine of a model computes with torch. This must be known before transformers is imported."""
    return config.engine != "echo"


def open_engine(config: ModelConfig) -> Engine:
    """Loads the engine of a translating actor, without the adapter of a router.

    Raises:
        ValueError: there is no engine with the configured name.
    """
    match config.engine:
        case "echo":
            from routelmt_ray.engines.echo import EchoEngine

            return EchoEngine()
        case "vllm":
            from routelmt_ray.engines.vllm import VllmEngine

            return VllmEngine(config)
        case "hf":
            from routelmt_ray.engines.hf import HfEngine

            return HfEngine(config)
    raise ValueError(f"engine is {config.engine!r}, and no engine is loaded under that name: add it to open_engine")


def open_probe(config: ModelConfig, router: Router | None) -> ProbeEngine:
    """Loads the engine of a scoring actor: the small model with the heads of the router, and with its adapter if any.

    Without a router it gives only states. With a router, `vllm` gives only head outputs, and `hf` gives both.

    Raises:
        ValueError: the configured engine has no prompt states to probe.
    """
    match config.engine:
        case "vllm":
            from routelmt_ray.engines.vllm import VllmProbe

            return VllmProbe(config, router)
        case "hf":
            from routelmt_ray.engines.hf import HfEngine

            return HfEngine(config, router)
    raise ValueError(f"engine is {config.engine!r}, which has no prompt states to probe; use hf or vllm")
