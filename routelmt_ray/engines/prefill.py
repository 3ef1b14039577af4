"""Reads prompts in one forward pass, without decoding: for probes, training and log-probabilities."""

import logging
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from routelmt_ray.config.schema import MEAN
from routelmt_ray.engines.architecture import decoder_of

log = logging.getLogger(__name__)


def pad_right(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Builds token ids ``(batch, longest prompt)`` with the prompts at the left edge, and lengths ``(batch,)``, int64.

    No token reads those after it, so padding at the right needs no mask, and attention without a mask is faster.
    """
    # One flat copy instead of an assignment for each row: the device waits meanwhile.
    lengths = torch.tensor([len(ids) for ids in prompts])
    width = int(lengths.max())
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    ids[torch.arange(width) < lengths[:, None]] = torch.from_numpy(
        np.fromiter(chain.from_iterable(prompts), np.int64, int(lengths.sum()))
    )
    return ids.to(device), lengths.to(device)


def all_states(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Computes the states of every token of prompts that :func:`pad_right` gives: last layer, after the final norm,
    shape ``(batch, longest prompt, hidden)``, in the model's dtype."""
    # Without the projection to the vocabulary, which only some callers need. A mask of ones is left out by transformers. Without it,
    # transformers 4 makes a mask for packed sequences, with which attention is slower.
    return decoder_of(model)(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state


def prompt_states(model: Any, ids: torch.Tensor, lengths: torch.Tensor, pooling: str) -> torch.Tensor:
    """Computes the state of each prompt that heads read.

    Args:
        ids: token ids from :func:`pad_right`.
        lengths: tokens of each prompt, shape ``(batch,)``.
        pooling: :data:`~routelmt_ray.config.schema.MEAN` over the tokens of the prompt, or its last token.

    Returns:
        Shape ``(batch, hidden)``, float32.
    """
    states = all_states(model, ids)
    if pooling == MEAN:
        inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        return (states.float() * inside[:, :, None]).sum(1) / lengths[:, None]
    return states[torch.arange(len(ids), device=ids.device), lengths - 1].float()


def layers_of(model: Any) -> torch.nn.ModuleList:
    """Finds the layers of a causal language model: of all its lists of modules, the one with the most weights. Raises
    ValueError if the model has an unknown structure."""
    lists = [module for module in decoder_of(model).modules() if isinstance(module, torch.nn.ModuleList)]
    if not lists:
        raise ValueError(f"{type(model).__name__} has no list of layers")
    return max(lists, key=lambda layers: sum(weight.numel() for weight in layers.parameters()))


def compile_layers(model: Any, attempt: Callable[[], object]) -> bool:
    """Compiles the layers of a model, which are all alike, so that one is compiled in place of the whole model; returns
    whether it worked.

    A machine without a C compiler cannot do this. The model then stays as it is, and a warning is logged. `attempt`
    uses the model on at least two prompts, as PyTorch compiles a batch of one row separately.
    """
    layers = layers_of(model)
    plain = list(layers)
    try:
        for i, layer in enumerate(plain):
            compiled: Any = torch.compile(layer, dynamic=True)
            layers[i] = compiled
        attempt()
    except Exception as error:  # of any compiler; a broken model fails without it as well
        for i, layer in enumerate(plain):
            layers[i] = layer
        log.warning(
            "%s is not compiled, so a probe takes about twice as long: %s: %s", type(model).__name__, type(error).__name__,
            str(error)[:500],
        )  # fmt: skip
        return False
    return True
