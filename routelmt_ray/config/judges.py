"""The judges, metrics without references that guards and audits use: one table with all facts about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routelmt_ray.config.common import ModelConfig, ModelsConfig, PoolConfig
    from routelmt_ray.config.translate import GuardConfig


@dataclass(frozen=True)
class JudgeKind:
    """One kind of judge. Names of functions are `module:function`."""

    help: str
    """Description for `--help`."""
    loads: str
    """Loads a :class:`~routelmt_ray.metrics.judges.Judge`; takes the :class:`GuardConfig` and the
    :class:`ModelsConfig`."""
    check: str
    """Checks all that it needs before Ray starts, with a ValueError; takes the same."""
    pool: Callable[[GuardConfig, ModelsConfig], PoolConfig]
    """Gets the pool of its actors."""
    python: Callable[[GuardConfig], str | None] = lambda guard: None
    """Gets the interpreter of its actors; None for that of the job."""
    lacks: Callable[[GuardConfig], str | None] = lambda guard: None
    """Says what the configuration lacks, and what to do; None where it is complete."""


def judging_models(guard: GuardConfig, models: ModelsConfig) -> list[ModelConfig]:
    """Lists the models whose probabilities a `logprob` judge uses, the larger one last."""
    return {"small": [models.small], "large": [models.large], "both": [models.small, models.large]}[guard.logprob_model]


def _no_checkpoint(guard: GuardConfig) -> str | None:
    if guard.comet_qe.path:
        return None
    return (
        "guard.comet_qe.path is empty; guards and audits without references need a reference-free checkpoint, or "
        "guard.judge=logprob"
    )


JUDGES = {
    "comet_qe": JudgeKind(
        "a COMET checkpoint without references",
        "routelmt_ray.metrics.judges:CometJudge",
        "routelmt_ray.metrics.judges:check_comet",
        pool=lambda guard, models: guard.comet_qe.pool,
        python=lambda guard: guard.comet_qe.python,
        lacks=_no_checkpoint,
    ),
    "logprob": JudgeKind(
        "exp of the mean log-probability per token that the models of `logprob_model` give the translation",
        "routelmt_ray.metrics.judges:open_logprob",
        "routelmt_ray.metrics.judges:check_logprob",
        pool=lambda guard, models: judging_models(guard, models)[-1].pool,
    ),
}
"""The value of `guard.judge`, and the judge."""
