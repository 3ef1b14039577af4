"""The metrics of quality that the label job measures: one table with all facts about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routelmt_ray.config.label import MetricsConfig

_SACREBLEU = "sacrebleu's divided by 100"
_COMET = "as the checkpoint gives it, about 0 to 1, not clipped"


@dataclass(frozen=True)
class MetricKind:
    """One metric."""

    help: str
    """Description for `--help`."""
    loads: str
    """`module:function` that loads a :class:`~routelmt_ray.metrics.Metric`; takes the settings by name. With a
    checkpoint it takes the metric's name, its :class:`CometConfig` and its
    :class:`~routelmt_ray.metrics.checkpoint.Checkpoint`."""
    scale: str
    """Meaning of its numbers, for the dataset card."""
    package: str
    """Package that computes it, whose version is part of its identity; `unbabel-comet` for every checkpoint."""
    has_checkpoint: bool = False
    """True where a section of :class:`MetricsConfig` with its name describes a checkpoint, which runs in actors and says
    whether it needs references. False: it runs in plain tasks."""
    needs_reference: bool = True
    """True where a row without a reference cannot be measured."""
    settings: Callable[[MetricsConfig], dict[str, str]] = lambda config: {}
    """Collects the settings that change a score."""


METRICS = {
    "chrf": MetricKind("chrF2 of sacrebleu", "routelmt_ray.metrics.sentence:ChrF", _SACREBLEU, "sacrebleu"),
    "bleu": MetricKind(
        "sentence BLEU of sacrebleu",
        "routelmt_ray.metrics.sentence:Bleu",
        _SACREBLEU,
        "sacrebleu",
        settings=lambda config: {"tokenize": config.bleu.tokenize},
    ),
    "comet": MetricKind(
        "a COMET checkpoint", "routelmt_ray.metrics.comet:Comet", _COMET, "unbabel-comet", has_checkpoint=True
    ),
    "comet_qe": MetricKind(
        "a second COMET checkpoint, usually one without references",
        "routelmt_ray.metrics.comet:Comet",
        _COMET,
        "unbabel-comet",
        has_checkpoint=True,
    ),
}
"""The name in `metrics.names`, and the metric."""
