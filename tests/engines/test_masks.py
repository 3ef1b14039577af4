"""Attention masks that are built by broadcasting equal those of transformers, and no map over places is left."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import masking_utils

from routelmt_ray.engines import Prompt
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.masks import broadcast
from tests.engines.conftest import SMALL

transformers_4 = pytest.mark.skipif(
    not hasattr(masking_utils, "_vmap_for_bhqkv"), reason="transformers 5 broadcasts by itself"
)
PADDING = torch.arange(9) >= torch.tensor([0, 2, 5])[:, None]
MASKS: dict[str, Callable[[], Any]] = {
    "causal": lambda: masking_utils.causal_mask_function,
    "padded": lambda: masking_utils.and_masks(
        masking_utils.causal_mask_function, masking_utils.padding_mask_function(PADDING)
    ),
    "window": lambda: masking_utils.and_masks(
        masking_utils.sliding_window_causal_mask_function(3), masking_utils.padding_mask_function(PADDING)
    ),
    "packed": lambda: masking_utils.packed_sequence_mask_function(torch.arange(9).expand(3, 9) // 4),
}


def mapped(function: Any) -> Any:
    """Calls a function for each place of a mask."""
    for dims in ((None, None, None, 0), (None, None, 0, None), (None, 0, None, None), (0, None, None, None)):
        function = torch.vmap(function, in_dims=dims)
    return function


@transformers_4
@pytest.mark.parametrize("queries", [torch.arange(9), torch.tensor([8])], ids=["prompt", "step"])
@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_that_of_each_place_alone(name: str, queries: torch.Tensor) -> None:
    places = torch.arange(3), torch.arange(2), queries, torch.arange(9)
    with masking_utils.TransformGetItemToIndex():
        expected, found = mapped(MASKS[name]())(*places), broadcast(MASKS[name]())(*places)
    assert found.shape == (3, 2, len(queries), 9) and found.dtype == torch.bool
    assert torch.equal(found, expected)
    if name == "causal":
        assert torch.equal(broadcast(MASKS[name](), False)(*places), expected[0, 0])


def test_no_engine_maps_a_function_over_the_places_of_a_mask(
    prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = {len(prompt.ids) for prompt in prompts[:4]}
    assert len(lengths) > 1, "a batch with padding"
    engine = HfEngine(SMALL)
    expected = [engine.translate([prompt])[0] for prompt in prompts[:4]]
    monkeypatch.setattr(torch, "vmap", lambda *_, **__: pytest.fail("a mask is built place by place"))
    assert engine.translate(prompts[:4]) == expected
    engine.states(prompts[:4])
