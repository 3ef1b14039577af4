"""An engine that has loaded has to answer before rows are given to it."""

from typing import Any

import numpy as np
import pytest

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import Completion, Prompt, warm_up
from tests.engines.conftest import SMALL


class Silent:
    """Fails on everything it is asked, without raising."""

    halved = 0

    def __init__(self, asked: list[Prompt]) -> None:
        self.asked = asked

    def translate(self, prompts: list[Prompt]) -> list[Completion]:
        self.asked += prompts
        return [Completion(None, 0, "error", "IndexError: index out of range")] * len(prompts)

    def probe(self, prompts: list[Prompt]) -> np.ndarray:
        self.asked += prompts
        return np.full((len(prompts), 1), np.nan, np.float32)


def test_an_engine_that_does_not_answer_has_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Prompt] = []
    router: Any = None
    monkeypatch.setattr(warm_up, "open_engine", lambda config: Silent(asked))
    monkeypatch.setattr(warm_up, "open_probe", lambda config, router: Silent(asked))
    with pytest.raises(warm_up.NotAnswering, match="fails on an ordinary prompt: IndexError: index out of range"):
        warm_up.open_warm_engine(SMALL)
    with pytest.raises(warm_up.NotAnswering, match="not a finite number; try another dtype than auto"):
        warm_up.open_warm_probe(SMALL, router)
    assert all(len(prompt.ids) > 5 for prompt in asked) and len(asked) == 2


def test_an_engine_without_tokens_is_warmed_up_too() -> None:
    assert warm_up.open_warm_engine(ModelConfig(engine="echo")).translate([]) == []
