"""Scorers that use COMET checkpoints: difficulty of the source, and quality of the small output.

Neither needs a reference. COMET is imported only where a checkpoint is configured; it cannot share an environment
with vLLM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np

from routelmt_ray.config.label import CometConfig
from routelmt_ray.evaluation.scorers import BASELINE, RANK, Parts, Scored, device_clock
from routelmt_ray.metrics.checkpoint import Checkpoint, reference_free


def look_up(key: str, config: CometConfig) -> Checkpoint:
    """Finds a checkpoint that works without references, before any work is done; raises ValueError where there is none."""
    if find_spec("comet") is None:
        raise ValueError(
            f"{key}.path is {config.path!r}, a COMET checkpoint, but unbabel-comet is not installed here; install it (in "
            f"an environment without vLLM), or leave {key}.path empty"
        )
    if config.python is not None:
        raise ValueError(
            f"{key}.python is {config.python!r}; the evaluation scores in its own environment: leave it null"
        )
    return reference_free(key, config)


@dataclass(frozen=True)
class _OfCheckpoint:
    """A scorer that uses a checkpoint."""

    config: CometConfig
    checkpoint: Checkpoint


class Sentinel(_OfCheckpoint):
    """Difficulty of the source, predicted by a checkpoint that sees neither model's output."""

    titles: ClassVar[dict[str, str]] = {"sentinel": "Sentinel (source difficulty)"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores rows by minus the quality that is predicted from only the source."""
        sources = parts.rows.sources
        quality, seconds = _score(self.config, self.checkpoint, sources, [""] * len(sources))
        note = f"{self.config.path}: difficulty of the source"
        return [Scored("sentinel", self.titles["sentinel"], -quality, RANK, BASELINE, seconds, note=note)]


class QualityEstimate(_OfCheckpoint):
    """Quality of the small model's output, estimated without a reference: a cascade."""

    titles: ClassVar[dict[str, str]] = {"qe": "QE of the small output"}

    def __call__(self, parts: Parts) -> list[Scored]:
        outputs = parts.small_translations()
        quality, seconds = _score(self.config, self.checkpoint, parts.rows.sources, [text or "" for text in outputs])
        quality[[text is None for text in outputs]] = np.nan
        note = f"{self.config.path}: a cascade, the small model translates every row first"
        return [Scored("qe", self.titles["qe"], -quality, RANK, BASELINE, seconds, True, note)]


def _score(
    config: CometConfig, checkpoint: Checkpoint, sources: Sequence[str], hypotheses: Sequence[str]
) -> tuple[np.ndarray, float]:
    """Computes scores (rows,) float32 and seconds for each row; loading is not counted."""
    import torch

    from routelmt_ray.metrics.comet import Comet

    metric = Comet("comet_qe", config, checkpoint)
    clock = device_clock(config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available()))
    scores = metric.segment_scores(sources, hypotheses, [None] * len(sources))
    return np.asarray(scores, np.float32), clock.seconds() / max(len(sources), 1)
