"""Translation engines behind one small protocol.

An engine probes prompts (one prefill, no decoding) and translates prompts. It takes token ids, so that tokenising
stays on CPU workers, and it answers in the order it was asked. A prompt it cannot handle is answered with an error;
an engine that cannot go on raises, and its actor is replaced.
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
    """The source text, for engines that have no tokens."""


HARMLESS = Prompt([0] * 8, 2, "")
"""A request that every engine answers unless it is broken: token 0 is in every vocabulary."""


class Completion(NamedTuple):
    """One answer."""

    text: str | None
    """The translation; None where there is an error."""
    tokens: int
    """Tokens generated, the end marker included."""
    finish: str
    """`stop`: the model ended it. `length`: it was cut at the limit. `error`: it failed."""
    error: str | None = None
    """Why it failed."""
    thinking: int = 0
    """Tokens of reasoning before the answer, which are no part of its text."""


class EngineDead(RuntimeError):
    """The engine cannot go on, whatever it is asked; the process that holds it is to end, so that a new one starts."""


class EveryRowFailed(RuntimeError):
    """The engine fails on any row, so no row is to blame: the shard is to fail, and to be tried again, not its rows."""


class Engine(Protocol):
    """What a translate stage needs of an engine. Several threads may call `vllm` at once; `hf` takes one at a time."""

    halved: int
    """Batches so far that failed whole and were tried again in halves."""

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Translates; one answer a prompt, in order."""
        ...


class ProbeEngine(Protocol):
    """What a score stage needs of an engine."""

    halved: int
    """Batches so far that failed whole and were tried again in halves."""

    def probe(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Raw head outputs on the last prompt token, shape ``(prompts, heads)``, float32; NaN rows failed."""
        ...

    def states(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """States of the last prompt token, shape ``(prompts, hidden)``, float32; NaN rows failed."""
        ...


_ROWS_AHEAD = 16
"""Rows that an engine with a running batch should have at hand, in multiples of what it runs at once."""
_MOST_CALLS = 8


def calls_at_once(config: ModelConfig, shard_rows: int) -> int:
    """Shards an engine works on at once: more than one where the last rows of a shard would else leave it idle."""
    if config.engine != "vllm":
        return 1
    return min(_MOST_CALLS, max(2, -(-_ROWS_AHEAD * config.vllm.max_num_seqs // shard_rows)))


def needs_torch(config: ModelConfig) -> bool:
    """True where a model's engine computes with torch, which must be known before its process imports transformers."""
    return config.engine != "echo"


def open_engine(config: ModelConfig) -> Engine:
    """Loads the engine a translating actor runs, without any adapter of a router.

    Raises:
        ValueError: there is no engine of the configured name.
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
    """Loads the engine a scoring actor runs: the small model with the router's adapter, if it has one, and its heads.

    Without a router it gives states alone; `vllm` gives head outputs with a router, states without one.

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
