"""Tells families of models apart: where the decoder is, what it takes, how long a prompt may be."""

import inspect
from typing import Any


def decoder_of(model: Any) -> Any:
    """Finds the decoder of a causal language model: all of it but the projection to the vocabulary.

    Args:
        model: as `AutoModelForCausalLM` loads it.

    Raises:
        ValueError: it is built in a way that is not known here.
    """
    for found in (model.get_decoder(), model.base_model):
        if found is not None and found is not model:
            return found
    raise ValueError(f"{type(model).__name__} has no decoder apart from its projection to the vocabulary")


def takes(module: Any, argument: str) -> bool:
    """Tells whether the forward pass of a module has an argument of this name."""
    return argument in inspect.signature(module.forward).parameters


def text_config(config: Any) -> Any:
    """Finds the part of a model's configuration that is about text; models that also see or hear nest it."""
    return config.get_text_config(decoder=True)


def position_limit(config: Any) -> int | None:
    """Reads how many tokens a model has positions for; None for families that have no end of them (Bloom, MPT, Mamba).

    Args:
        config: the model's configuration, as transformers reads it.
    """
    limit = getattr(text_config(config), "max_position_embeddings", None)
    return int(limit) if limit is not None and limit > 0 else None


def adapted_layers(model: Any) -> str | list[str]:
    """Names the linear layers that LoRA adapts: all, but in Mamba the one whose weights no kernel reads past it."""
    return ["in_proj"] if "mamba" in text_config(model.config).model_type else "all-linear"
