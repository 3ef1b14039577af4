"""Engines whose device time is simulated, in real actors under real meters: a run of minutes takes no CPU time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routelmt_ray import storage
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import RouterConfig, TranslateConfig
from routelmt_ray.engines import Completion, Prompt
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.job.profiling import made_for
from routelmt_ray.runtime import metering
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.engine_host import EngineHost
from routelmt_ray.stages import score, translate
from tests.budget.test_cost import model

PROBE = "probe"
ROW_S = {SMALL: 0.5, LARGE: 3.0, PROBE: 0.2}
LOAD_S = {SMALL: 10.0, LARGE: 20.0, PROBE: 8.0}
BATCH_ROWS = 4
FAILS = "cannot be translated"


class Clock:
    """Counts what one engine spends, in place of `routelmt_ray.runtime.metering.DeviceClock`."""

    unit = "cpu_s"
    spent_s = 0.0

    def seconds(self) -> float:
        return self.spent_s


class Engine:
    """Answers with its input, and spends what a row costs; a batch that is not full costs half of what it lacks."""

    halved = 0

    def __init__(self, size: str, clock: Clock, beat: Callable[[], None]) -> None:
        self._size, self._clock, self._beat = size, clock, beat
        clock.spent_s += LOAD_S[size]

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        row_s = ROW_S[self._size]
        for start in range(0, len(prompts), BATCH_ROWS):
            batch = prompts[start : start + BATCH_ROWS]
            unlike = sum(0.7 + 0.6 * (sum(prompt.text.encode()) % 97) / 96 for prompt in batch)
            self._clock.spent_s += row_s * (unlike + 0.5 * (BATCH_ROWS - len(batch)))
            self._beat()
        fails = [FAILS in prompt.text and self._size == LARGE for prompt in prompts]
        return [
            Completion(None, 0, "error", "no") if f else Completion(p.text, 0, "stop") for f, p in zip(fails, prompts)
        ]


class Translate(translate.Translate):
    """The stage with such an engine."""

    def __init__(self, context: RunContext, size: str) -> None:
        clock = Clock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metering, "DeviceClock", lambda *_, **__: clock)
            self._host: EngineHost[Any] = EngineHost(
                context.run,
                size,
                context.model(size).pool,
                lambda: Engine(size, clock, lambda: self._host.meter._beat()),
            )


class ProbeEngine:
    """Reads prompts, and spends what a row costs."""

    halved = 0

    def __init__(self, heads: int, clock: Clock, beat: Callable[[], None]) -> None:
        self._heads, self._clock, self._beat = heads, clock, beat
        clock.spent_s += LOAD_S[PROBE]

    def probe(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        self._clock.spent_s += ROW_S[PROBE] * len(prompts)
        self._beat()
        return [np.full(self._heads, sum(prompt.ids) % 101 / 100, np.float32) for prompt in prompts]


class Probe(score.Probe):
    """The stage with such an engine."""

    def __init__(self, context: RunContext, router: RouterConfig) -> None:
        self._router, clock = load_router(str(router.path)), Clock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metering, "DeviceClock", lambda *_, **__: clock)
            self._host: EngineHost[Any] = EngineHost(
                context.run,
                PROBE,
                context.models.small.pool,
                lambda: ProbeEngine(len(self._router.heads), clock, lambda: self._host.meter._beat()),
            )


def write_costs(path: Path, words: list[str], wrong: tuple[float, float], files: Sequence[str] = ()) -> None:
    """Writes a profile that says `wrong` times what rows really cost on each model, and what their scores do."""
    config = configlib.load(TranslateConfig, files, words)
    costs = model(made_for=made_for(config.models, config.router)).to_dict()
    for size, factor in zip((SMALL, LARGE), wrong):
        nothing = dict.fromkeys(("prefill_token_s", "output_token_s", "prompt_ratio", "output_row_tokens"), 0.0)
        costs[size] |= nothing | {"row_s": ROW_S[size] * factor, "load_s": LOAD_S[size], "relative_error": 0.05}
        costs["mean_row_s"][size] = ROW_S[size] * factor
    costs[PROBE] |= {"row_s": ROW_S[PROBE], "prefill_token_s": 0.0, "load_s": LOAD_S[PROBE]}
    costs["mean_row_s"][PROBE] = ROW_S[PROBE]
    storage.write_json(path, costs)
