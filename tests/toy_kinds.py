"""One toy of each kind, added through its table alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding
from routelmt_ray.config.checks import CHECKS, CheckKind, ChecksConfig
from routelmt_ray.config.common import ModelConfig, ModelsConfig
from routelmt_ray.config.engines import ENGINES, EngineKind
from routelmt_ray.config.guards import GUARDS, GuardKind
from routelmt_ray.config.judges import JUDGES, JudgeKind
from routelmt_ray.config.loader import option
from routelmt_ray.config.metrics import METRICS, MetricKind
from routelmt_ray.config.scorers import SCORERS, ScorerKind
from routelmt_ray.config.translate import GuardConfig, RouterConfig, TranslateConfig
from routelmt_ray.engines import Completion, Prompt
from routelmt_ray.metrics import Texts
from routelmt_ray.stages.scorers import Unscored

VOWELS = "aeiou"


class Shout:
    """An engine that answers in upper case."""

    halved = 0

    def __init__(self, config: ModelConfig) -> None:
        pass

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        return [Completion(prompt.text.upper(), 0, "stop") for prompt in prompts]


class Swap:
    """An engine that answers with small letters for large ones, and the other way round."""

    halved = 0

    def __init__(self, config: ModelConfig) -> None:
        pass

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        return [Completion(prompt.text.swapcase(), 0, "stop") for prompt in prompts]


def count_vowels(rows: Unscored, router: RouterConfig) -> np.ndarray:
    return np.array([sum(letter in VOWELS for letter in text) for text in rows.texts], np.float32)


class UpperCase:
    """A metric: the share of letters in upper case. As a judge it prefers the translations of :class:`Shout`."""

    def segment_scores(self, sources: Texts, hypotheses: Texts, references: Texts) -> np.ndarray:
        return np.array([np.nan if text is None else np.mean([c.isupper() for c in text]) for text in hypotheses])

    def scores(self, sources: Texts, source_langs: Texts, target_langs: Texts, hypotheses: Texts) -> np.ndarray:
        return self.segment_scores(sources, hypotheses, [])

    def signature(self) -> str:
        return "upper case"


def open_upper_case(guard: GuardConfig, models: ModelsConfig) -> UpperCase:
    return UpperCase()


def no_check(guard: GuardConfig, models: ModelsConfig) -> None:
    pass


@dataclass(frozen=True)
class ToyGuardConfig(GuardConfig):
    """The guards, and the toy's key."""

    longest: float | None = option(None, "null or a number", lambda v: True)
    """Never route a row with more source tokens."""


def open_shouted(plan: CheckPlan) -> Check:
    def check(output: CheckedOutput) -> Finding:
        return Finding(float(output.translation.isupper()), output.translation.isupper(), "it shouts")

    return check


@dataclass(frozen=True)
class ToyCheck:
    """A translation in upper case."""

    action: str | None = None
    """Action for a row that fails."""


@dataclass(frozen=True)
class ToyChecksConfig(ChecksConfig):
    """The checks, and the toy's section."""

    shouted: ToyCheck = field(default_factory=ToyCheck)
    """A translation in upper case."""


@dataclass(frozen=True)
class ToyTranslateConfig(TranslateConfig):
    """The configuration with the keys of the toy guard and the toy check."""

    guard: ToyGuardConfig = field(default_factory=ToyGuardConfig)
    """The guards."""
    checks: ToyChecksConfig = field(default_factory=ToyChecksConfig)
    """The checks."""


KINDS: list[tuple[dict[str, Any], str, object]] = [
    (ENGINES, "shout", EngineKind("upper case", f"{__name__}:Shout", has_model=False)),
    (ENGINES, "swap", EngineKind("swapped case", f"{__name__}:Swap", has_model=False)),
    (SCORERS, "vowels", ScorerKind("vowels of the source", "vowels", f"{__name__}:count_vowels")),
    (GUARDS, "longest", GuardKind("longest", "it is too long", "source_tokens", lambda tokens, limit: tokens > limit)),
    (
        JUDGES,
        "upper_case",
        JudgeKind(
            "share of upper case",
            f"{__name__}:open_upper_case",
            f"{__name__}:no_check",
            lambda guard, models: models.small.pool,
        ),
    ),
    (CHECKS, "shouted", CheckKind("upper case", f"{__name__}:open_shouted", "shouted", "1 for upper case")),
    (
        METRICS,
        "upper_case",
        MetricKind("share of upper case", f"{__name__}:UpperCase", "a share", "numpy", needs_reference=False),
    ),
]
"""Table, name and entry."""


def add() -> None:
    """Adds the toys for as long as the process lives, as the tests' workers do."""
    for table, name, kind in KINDS:
        table[name] = kind


def remove() -> None:
    """Removes them, for a driver that is forked from such a process."""
    for table, name, _ in KINDS:
        del table[name]
