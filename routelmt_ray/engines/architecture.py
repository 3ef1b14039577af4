"""Finds how families of models differ: the decoder, and the longest prompt."""

from typing import Any


def decoder_of(model: Any) -> Any:
    """Finds the decoder of a causal language model: the model without the projection to the vocabulary. Raises
    ValueError if the model has an unknown structure."""
    for found in (model.get_decoder(), model.base_model):
        if found is not None and found is not model:
            return found
    raise ValueError(f"{type(model).__name__} has no decoder apart from its projection to the vocabulary")


def text_config(config: Any) -> Any:
    """Finds the part of a configuration that is about text. It is nested in models that also see or hear."""
    return config.get_text_config(decoder=True)


def position_limit(config: Any) -> int | None:
    """Reads the number of token positions of a model; None for families without a limit (Bloom, MPT, Mamba)."""
    limit = getattr(text_config(config), "max_position_embeddings", None)
    return int(limit) if limit is not None and limit > 0 else None


def adapted_layers(model: Any) -> str | list[str]:
    """Names the linear layers that LoRA adapts: all; in Mamba only `in_proj`, as kernels bypass LoRA on others."""
    return ["in_proj"] if "mamba" in text_config(model.config).model_type else "all-linear"
