"""Which failures of vLLM are those of a row and which are those of the engine, with a fake in place of vLLM."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from routelmt_ray.engines import HARMLESS, Completion, EveryRowFailed, Prompt, vllm
from routelmt_ray.engines.batching import MANY
from tests.engines.conftest import SMALL

Ask = Callable[[Sequence[Prompt]], list[str]]
"""Asks an engine; gives for each prompt `ok` or why it failed."""
STATE = torch.zeros(3)
GOOD, BAD = Prompt([5, 6, 7], 4, "good"), Prompt([9, 9], 4, "bad")


class Requests:
    """Stands for vLLM: answers requests as a test says, and notes them."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[int, ...], str | Exception] = {}
        self.asked: list[tuple[int, ...]] = []

    def run(self, requests: Sequence[Any]) -> list[Any]:
        return [self._answer(tuple(ids)) for ids, _ in requests]

    def _answer(self, ids: tuple[int, ...]) -> Any:
        self.asked.append(ids)
        outcome = self.outcomes.get(ids, "stop")
        if isinstance(outcome, Exception):
            return outcome
        return SimpleNamespace(outputs=[SimpleNamespace(finish_reason=outcome, token_ids=[5, 6])])


class Pooled(Requests):
    """Answers with states."""

    def _answer(self, ids: tuple[int, ...]) -> Any:
        output = super()._answer(ids)
        return output if isinstance(output, Exception) else SimpleNamespace(outputs=SimpleNamespace(data=STATE))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a module of vLLM in which parameters are plain dicts."""
    modules = {
        "vllm": ModuleType("vllm"),
        "vllm.sampling_params": SimpleNamespace(
            SamplingParams=dict, RequestOutputKind=SimpleNamespace(FINAL_ONLY="final")
        ),
        "vllm.pooling_params": SimpleNamespace(PoolingParams=dict),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("check_vllm", "set_environment"):
        monkeypatch.setattr(vllm, name, lambda *_: None)
    monkeypatch.setattr(vllm, "engine_arguments", lambda _: {})


@pytest.fixture(params=["translate", "probe"])
def opened(request: pytest.FixtureRequest, fake: None, monkeypatch: pytest.MonkeyPatch) -> tuple[Ask, Requests]:
    """An engine that translates or that gives states, and its fake."""
    config = replace(SMALL, engine="vllm")
    if request.param == "probe":
        pooled = Pooled()
        monkeypatch.setattr(vllm, "_start", lambda _: pooled)
        probe = vllm.VllmProbe(config, None)
        probe._width = len(STATE)
        return lambda prompts: ["failed" if np.isnan(row).all() else "ok" for row in probe.states(prompts)], pooled
    requests = Requests()
    monkeypatch.setattr(vllm, "_start", lambda _: requests)
    engine = vllm.VllmEngine(config)
    return lambda prompts: [_said(answer) for answer in engine.translate(prompts)], requests


def _said(answer: Completion) -> str:
    assert (answer.finish == "error") == (answer.text is None) == (answer.error is not None)
    return "ok" if answer.error is None else "failed"


def test_many_rows_that_fail_alike_fail_the_shard_with_the_cause(opened: tuple[Ask, Requests]) -> None:
    ask, requests = opened
    requests.outcomes[tuple(BAD.ids)] = ValueError("no memory for 17 tokens")
    with pytest.raises(EveryRowFailed, match="no row is to blame: ValueError: no memory for 17 tokens"):
        ask([BAD] * MANY)
    assert ask([*[BAD] * MANY, GOOD]) == [*["failed"] * MANY, "ok"], "one answer shows that the engine works"
    assert tuple(HARMLESS.ids) not in requests.asked


def test_a_few_rows_that_fail_are_to_blame_if_a_harmless_prompt_is_answered(opened: tuple[Ask, Requests]) -> None:
    ask, requests = opened
    requests.outcomes[tuple(BAD.ids)] = ValueError("not this one")
    assert ask([BAD] * (MANY - 1)) == ["failed"] * (MANY - 1)
    assert requests.asked[-1] == tuple(HARMLESS.ids)
    requests.outcomes[tuple(HARMLESS.ids)] = MemoryError("nothing is left")
    with pytest.raises(EveryRowFailed, match="MemoryError: nothing is left"):
        ask([BAD])
    assert ask([]) == []


def test_requests_that_vllm_ends_early_have_failed(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = Requests()
    monkeypatch.setattr(vllm, "_start", lambda _: requests)
    engine = vllm.VllmEngine(replace(SMALL, engine="vllm"))
    requests.outcomes[tuple(BAD.ids)] = "abort"
    bad, good = engine.translate([BAD, GOOD])
    assert bad == Completion(None, 0, "error", "RuntimeError: vLLM ended the request: abort")
    assert good.text and good.error is None
    with pytest.raises(EveryRowFailed, match="vLLM ended the request: abort"):
        engine.translate([BAD] * MANY)
    requests.outcomes[tuple(BAD.ids)] = "length"
    assert engine.translate([BAD])[0].finish == "length"
