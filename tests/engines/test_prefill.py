"""Prompts read in one forward pass: padding, states of any architecture's prompt ends, compiled layers."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from routelmt_ray.engines import Prompt
from routelmt_ray.engines import hf as hf_module
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.prefill import layers_of, pad_right
from tests.conftest import DEMO
from tests.engines.conftest import SMALL

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles with g++ on a CPU")


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_prompts_are_padded_at_the_right(kind: Any) -> None:
    ids, lengths = pad_right([kind([5, 6]), kind([1, 2, 3, 4]), kind([9])], 7, torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7, 7], [1, 2, 3, 4], [9, 7, 7, 7]]
    assert lengths.tolist() == [2, 4, 1]
    assert ids.dtype == lengths.dtype == torch.int64


def test_a_probe_is_limited_by_tokens_and_not_by_rows(prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(ids: Sequence[Sequence[int]], *rest: Any) -> Any:
        sizes.append(len(ids))
        return pad_right(ids, *rest)

    monkeypatch.setattr(hf_module, "pad_right", counted)
    router = load_router(str(DEMO / "router"))
    HfEngine(replace(SMALL, batch_rows=2), router).probe(prompts)
    assert sizes == [len(prompts)]
    longest = max(len(prompt.ids) for prompt in prompts)
    HfEngine(replace(SMALL, batch_rows=2, batch_tokens=3 * longest), router).probe(prompts)
    assert sum(sizes[1:]) == len(prompts) and max(sizes[1:]) < len(prompts) / 2


def test_the_layers_of_a_model_are_found_and_none_is_compiled_on_a_cpu(prompts: list[Prompt]) -> None:
    engine = HfEngine(SMALL, load_router(str(DEMO / "router")))
    layers = layers_of(engine._model)
    assert len(layers) == engine._model.config.num_hidden_layers
    assert not engine.compiled
    with pytest.raises(ValueError, match="Linear has no list of layers"):
        layers_of(_Flat())


class _Flat(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 1)
        self.base_model = torch.nn.Linear(1, 1)

    def get_decoder(self) -> None:
        return None


_Flat.__name__ = "Linear"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=NEEDS_COMPILER)])
def test_compiled_layers_compute_the_same(prompts: list[Prompt], backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # PyTorch's own compiler takes a minute on a CPU. The other backend has the same graphs and shapes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    router = load_router(str(DEMO / "router"))
    engine = HfEngine(replace(SMALL, compile=True), router)
    assert engine.compiled
    expected = HfEngine(SMALL, router).probe(prompts)
    np.testing.assert_allclose(engine.probe(prompts), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(engine.probe(prompts[:1]), expected[:1], atol=1e-5, rtol=0)


def test_without_a_compiler_the_model_is_used_as_it_is(
    prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C compiler found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    router = load_router(str(DEMO / "router"))
    with caplog.at_level(logging.WARNING):
        engine = HfEngine(replace(SMALL, compile=True), router)
    assert not engine.compiled
    assert "is not compiled, so a probe takes about twice as long" in caplog.text and "no C compiler" in caplog.text
    np.testing.assert_array_equal(engine.probe(prompts), HfEngine(SMALL, router).probe(prompts))


def test_an_engine_without_a_router_is_never_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    assert not HfEngine(replace(SMALL, compile=True)).compiled
