"""Judges: reference-free metrics of a translation, by which guards and audits tell a good one from a bad one."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from routelmt_ray.config.common import ModelConfig, ModelsConfig, PoolConfig
from routelmt_ray.config.label import CometConfig
from routelmt_ray.config.translate import GuardConfig
from routelmt_ray.metrics.checkpoint import environment, inspect_checkpoint, reference_free

_KEY = "guard.comet_qe"


class Judge(Protocol):
    """What a judge stage needs of a judge."""

    def scores(
        self,
        sources: Sequence[str | None],
        source_langs: Sequence[str | None],
        target_langs: Sequence[str | None],
        hypotheses: Sequence[str | None],
    ) -> np.ndarray:
        """Quality of each translation.

        Args:
            sources: source texts.
            source_langs: language codes of the sources.
            target_langs: language codes of the translations.
            hypotheses: translations; None where there is none.

        Returns:
            Shape ``(rows,)``, float64, on the 0–1 scale; NaN where a translation cannot be judged.
        """
        ...


def check_judge(guard: GuardConfig, models: ModelsConfig) -> None:
    """Looks at all a judge needs, before Ray starts and without loading it.

    Raises:
        ValueError: naming the field, its value and what to do.
    """
    if guard.judge == "logprob":
        if any(model.engine == "echo" for model in _judging(guard, models)):
            raise ValueError(
                f"guard.logprob_model is {guard.logprob_model}, whose engine is `echo`: it gives no probabilities"
            )
        return
    environment(_KEY, guard.comet_qe.python)
    reference_free(_KEY, guard.comet_qe)


def judge_pool(guard: GuardConfig, models: ModelsConfig) -> PoolConfig:
    """The actors a judge runs in: those of its checkpoint, or as many as its model has for translating."""
    return guard.comet_qe.pool if guard.judge == "comet_qe" else _judging(guard, models)[-1].pool


def judge_python(guard: GuardConfig) -> str | None:
    """The interpreter of a judge's actors, where that is another one."""
    return guard.comet_qe.python if guard.judge == "comet_qe" else None


def open_judge(guard: GuardConfig, models: ModelsConfig) -> Judge:
    """Loads the judge an actor runs."""
    return CometJudge(guard.comet_qe) if guard.judge == "comet_qe" else LogProbJudge(_judging(guard, models))


def _judging(guard: GuardConfig, models: ModelsConfig) -> list[ModelConfig]:
    """The models whose probabilities a `logprob` judge takes; the larger one last."""
    return {"small": [models.small], "large": [models.large], "both": [models.small, models.large]}[guard.logprob_model]


class CometJudge:
    """A COMET checkpoint without references. Its scores are not clipped: about 0 to 1; it cuts long texts itself."""

    def __init__(self, config: CometConfig) -> None:
        """Loads the checkpoint."""
        from routelmt_ray.metrics.comet import Comet

        self._metric = Comet("comet_qe", config, inspect_checkpoint(_KEY, config, has_references=False))

    def scores(
        self,
        sources: Sequence[str | None],
        source_langs: Sequence[str | None],
        target_langs: Sequence[str | None],
        hypotheses: Sequence[str | None],
    ) -> np.ndarray:
        """Scores of the checkpoint, which sees no language codes; see :class:`Judge`."""
        return self._metric.segment_scores(sources, hypotheses, [None] * len(hypotheses))


class LogProbJudge:
    """exp of the mean log-probability a token, the end included, that translators give a translation.

    One forward pass a model, nothing decoded. It is the probability of a typical token: 1 where a model is sure of every
    one; of two models it is the geometric mean, as each alone prefers what it would have said itself. The models' own
    prompts and no router's adapter are used. Fluent, likely text scores high; it is no measure of adequacy.
    """

    def __init__(self, configs: Sequence[ModelConfig]) -> None:
        """Loads the models."""
        from routelmt_ray.engines.logprob import Reader

        self._readers = [(config, Reader(config)) for config in configs]

    def scores(
        self,
        sources: Sequence[str | None],
        source_langs: Sequence[str | None],
        target_langs: Sequence[str | None],
        hypotheses: Sequence[str | None],
    ) -> np.ndarray:
        """Scores of the models; NaN too where one has no name for a language, or the text is too long for it."""
        from routelmt_ray.engines.logprob import translations

        logs = [
            reader.read(translations(config, sources, source_langs, target_langs, hypotheses)).log_probability
            for config, reader in self._readers
        ]
        judged: np.ndarray = np.exp(np.mean(logs, axis=0))
        return judged
