"""Builds attention masks by broadcasting, where transformers 4 calls a function for each place of the mask.

Transformers 5 broadcasts too. Transformers 4 maps the function over four dimensions with `torch.vmap`, in every step of decoding a
padded batch. On a CPU this takes 13 ms, more than half of a step of a small model.
"""

from collections.abc import Callable

import torch
from transformers import masking_utils

Places = torch.Tensor
"""Numbers along one dimension of a mask, int64, shape `(places,)`."""
Mask = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Tells whether a query sees a key, from the numbers of row, head, query and key."""


def broadcast(mask: Mask, bh_indices: bool = True) -> Callable[[Places, Places, Places, Places], torch.Tensor]:
    """Returns a function that builds the whole mask, shape `(rows, heads, queries, keys)`; without `bh_indices`, that of one row
    and head, shape `(queries, keys)`."""

    def build(rows: Places, heads: Places, queries: Places, keys: Places) -> torch.Tensor:
        if not bh_indices:
            return mask(rows, heads, queries[:, None], keys).expand(len(queries), len(keys))
        seen = mask(rows[:, None, None, None], heads[:, None, None], queries[:, None], keys)
        return seen.expand(len(rows), len(heads), len(queries), len(keys))

    return build


def build_fast_masks() -> None:
    """Has transformers 4 build its masks by broadcasting, from now on and in this process."""
    if hasattr(masking_utils, "_vmap_for_bhqkv"):
        masking_utils._vmap_for_bhqkv = broadcast
