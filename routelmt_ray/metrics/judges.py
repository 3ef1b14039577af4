"""Judges: metrics without references, which guards and audits use to compare translations."""

from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Protocol

import numpy as np

from routelmt_ray.config.common import ModelConfig, ModelsConfig, PoolConfig
from routelmt_ray.config.judges import JUDGES, judging_models
from routelmt_ray.config.translate import GuardConfig
from routelmt_ray.metrics import Texts
from routelmt_ray.metrics.checkpoint import environment, inspect_checkpoint, reference_free

_KEY = "guard.comet_qe"


class Judge(Protocol):
    """A judge for the judge stage."""

    def scores(self, sources: Texts, source_langs: Texts, target_langs: Texts, hypotheses: Texts) -> np.ndarray:
        """Computes the quality of each translation, None where there is none.

        Returns the shape ``(rows,)``, float64, on the 0–1 scale; NaN where a translation cannot be judged.
        """
        ...


def check_judge(guard: GuardConfig, models: ModelsConfig) -> None:
    """Checks all that a judge needs, before Ray starts and without loading it; raises ValueError where it cannot be used."""
    resolve_name(JUDGES[guard.judge].check)(guard, models)


def judge_pool(guard: GuardConfig, models: ModelsConfig) -> PoolConfig:
    """Gets the pool of the actors of a judge."""
    return JUDGES[guard.judge].pool(guard, models)


def judge_python(guard: GuardConfig) -> str | None:
    """Gets the interpreter of the actors of a judge; None for that of the job."""
    return JUDGES[guard.judge].python(guard)


def open_judge(guard: GuardConfig, models: ModelsConfig) -> Judge:
    """Loads the judge of an actor."""
    judge: Judge = resolve_name(JUDGES[guard.judge].loads)(guard, models)
    return judge


def check_comet(guard: GuardConfig, models: ModelsConfig) -> None:
    """Checks the checkpoint of a COMET judge; see :func:`check_judge`."""
    environment(_KEY, guard.comet_qe.python)
    reference_free(_KEY, guard.comet_qe)


def check_logprob(guard: GuardConfig, models: ModelsConfig) -> None:
    """Checks the models of a `logprob` judge; see :func:`check_judge`."""
    for model in judging_models(guard, models):
        if not (model.kind.has_model and model.kind.runs_here):
            raise ValueError(
                f"guard.logprob_model is {guard.logprob_model}, whose engine `{model.engine}` gives no probabilities; choose another model or guard.judge"
            )


def open_logprob(guard: GuardConfig, models: ModelsConfig) -> "LogProbJudge":
    """Loads a `logprob` judge."""
    return LogProbJudge(judging_models(guard, models))


class CometJudge:
    """A COMET checkpoint without references. Scores are about 0 to 1 and not clipped. It cuts long texts itself."""

    def __init__(self, guard: GuardConfig, models: ModelsConfig) -> None:
        from routelmt_ray.metrics.comet import Comet

        config = guard.comet_qe
        self._metric = Comet("comet_qe", config, inspect_checkpoint(_KEY, config, has_references=False))

    def scores(self, sources: Texts, source_langs: Texts, target_langs: Texts, hypotheses: Texts) -> np.ndarray:
        """Computes the scores of the checkpoint, which does not use language codes; see :class:`Judge`."""
        return self._metric.segment_scores(sources, hypotheses, [None] * len(hypotheses))


class LogProbJudge:
    """Scores a translation by its probability for the translators: exp of the mean log-probability of its tokens.

    The end of the answer counts as a token. The score is the probability of a typical token, and is 1 where a model is
    sure of every token. Of two models it is the geometric mean, because each model prefers its own translations. One
    forward pass for each model is needed, without decoding. The models use their own prompts, without the adapter of a
    router. Fluent, likely text has a high score; the score does not measure adequacy.
    """

    def __init__(self, configs: Sequence[ModelConfig]) -> None:
        from routelmt_ray.engines.logprob import Reader

        self._readers = [(config, Reader(config)) for config in configs]

    def scores(self, sources: Texts, source_langs: Texts, target_langs: Texts, hypotheses: Texts) -> np.ndarray:
        """Computes the scores; also NaN where a model has no name for a language, or the text is too long for it."""
        from routelmt_ray.engines.logprob import translations

        logs = [
            reader.read(translations(config, sources, source_langs, target_langs, hypotheses)).log_probability
            for config, reader in self._readers
        ]
        judged: np.ndarray = np.exp(np.mean(logs, axis=0))
        return judged
