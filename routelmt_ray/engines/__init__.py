"""Engines that translate and probe prompts, with one small protocol for all.

An engine probes prompts (one prefill, no decoding) and translates prompts. It gets token ids, so that tokenising stays
on CPU workers. Answers have the order of the prompts. A prompt that fails is answered with an error. An engine that
cannot continue raises an exception, and its actor is replaced.
"""

from collections.abc import Sequence
from pkgutil import resolve_name
from typing import NamedTuple, Protocol

import numpy as np

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.engines import ENGINES
from routelmt_ray.config.schema import LAST_TOKEN
from routelmt_ray.engines.artifact import Router


class Prompt(NamedTuple):
    """One request."""

    ids: Sequence[int]
    """Token ids, the turn markers of the chat template included."""
    max_new_tokens: int
    """Most tokens of the answer."""
    text: str
    """The source text, for engines without tokens."""
    content: str = ""
    """The rendered prompt, for engines that send it as text; else empty."""


HARMLESS = Prompt([0] * 8, 2, "", "Hello.")
"""A request that every working engine answers: token 0 is in every vocabulary."""


class Completion(NamedTuple):
    """One answer."""

    text: str | None
    """The translation; None where there is an error."""
    tokens: int
    """Number of generated tokens, the end marker included."""
    finish: str
    """`stop`: the model ended the answer. `length`: it was cut at the limit. `error`: the prompt failed.
    `filtered`: a content filter refused it."""
    error: str | None = None
    thinking: int = 0
    """Number of tokens of reasoning before the answer. They are not part of the text."""
    charged: tuple[int, int] = (0, 0)
    """Prompt and completion tokens that a server charged for this prompt, repeated requests included; 0 where none did."""


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

    def probe(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Computes raw head outputs on the state of each prompt, shape ``(prompts, heads)``, float32; NaN rows failed."""
        ...

    def states(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Reads the state of each prompt, shape ``(prompts, hidden)``, float32; NaN rows failed."""
        ...


def open_engine(config: ModelConfig) -> Engine:
    """Loads the engine of a translating actor, without the adapter of a router."""
    return resolve_name(config.kind.translator)(config)


def open_probe(config: ModelConfig, router: Router | None, pooling: str = LAST_TOKEN) -> ProbeEngine:
    """Loads the engine of a scoring actor: the small model with the heads of the router, and with its adapter if any.

    Without a router it gives only states, as `pooling` says. With a router, `vllm` gives only head outputs, and `hf`
    gives both. Raises ValueError if the configured engine has no prompt states to probe.
    """
    if config.kind.prober is None:
        able = " or ".join(name for name, kind in ENGINES.items() if kind.prober)
        raise ValueError(f"engine is {config.engine!r}, which has no prompt states to probe; use {able}")
    return resolve_name(config.kind.prober)(config, router, pooling=pooling)
