"""Judges: reference-free metrics of a translation, by which guards and audits tell a good one from a bad one."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from routelmt_ray.config import ModelConfig, ModelsConfig, PoolConfig
from routelmt_ray.config_label import CometConfig
from routelmt_ray.config_translate import GuardConfig
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


def check_judge(guard: GuardConfig, models: ModelsConfig) -> GuardConfig:
    """Looks at all a judge needs, before Ray starts and without loading it.

    Returns:
        The guard as workers are to have it: a checkpoint of the hub at the revision that was looked at.

    Raises:
        ValueError: naming the field, its value and what to do.
    """
    if guard.judge == "logprob":
        model = _model(guard, models)
        if model.engine == "echo":
            raise ValueError(
                f"guard.logprob_model is {guard.logprob_model}, whose engine is `echo`: it gives no probabilities"
            )
        return guard
    environment(_KEY, guard.comet_qe.python)
    checkpoint = reference_free(_KEY, guard.comet_qe)
    return replace(guard, comet_qe=replace(guard.comet_qe, revision=checkpoint.revision))


def judge_tag(guard: GuardConfig) -> str:
    """A name for what a judge says in a run, e.g. ``comet_qe-3f2a90c1``: another checkpoint or version has another."""
    if guard.judge == "logprob":
        return f"logprob-{guard.logprob_model}"
    version = environment(_KEY, guard.comet_qe.python)["unbabel-comet"]
    files = inspect_checkpoint(_KEY, guard.comet_qe, has_references=False).files
    return f"comet_qe-{hashlib.sha256(f'{files} {version}'.encode()).hexdigest()[:8]}"


def judge_pool(guard: GuardConfig, models: ModelsConfig) -> PoolConfig:
    """The actors a judge runs in: those of its checkpoint, or as many as its model has for translating."""
    return guard.comet_qe.pool if guard.judge == "comet_qe" else _model(guard, models).pool


def judge_python(guard: GuardConfig) -> str | None:
    """The interpreter of a judge's actors, where that is another one."""
    return guard.comet_qe.python if guard.judge == "comet_qe" else None


def open_judge(guard: GuardConfig, models: ModelsConfig) -> Judge:
    """Loads the judge an actor runs."""
    return CometJudge(guard.comet_qe) if guard.judge == "comet_qe" else LogProbJudge(_model(guard, models))


def _model(guard: GuardConfig, models: ModelsConfig) -> ModelConfig:
    return models.small if guard.logprob_model == "small" else models.large


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
    """exp of the mean log-probability a token, the end included, that a translator gives a translation.

    One forward pass, nothing decoded. It is the probability of a typical token: 1 where the model is sure of every one.
    The model's own prompt and no router's adapter are used. Fluent, likely text scores high; it is no measure of adequacy.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Loads the model."""
        from routelmt_ray.engines.logprob import Reader

        self._config, self._reader = config, Reader(config)

    def scores(
        self,
        sources: Sequence[str | None],
        source_langs: Sequence[str | None],
        target_langs: Sequence[str | None],
        hypotheses: Sequence[str | None],
    ) -> np.ndarray:
        """Scores of the model; NaN too where it has no name for a language, or the text is too long for it."""
        from routelmt_ray.engines.logprob import translations

        passages = translations(self._config, sources, source_langs, target_langs, hypotheses)
        judged: np.ndarray = np.exp(self._reader.read(passages).log_probability)
        return judged
