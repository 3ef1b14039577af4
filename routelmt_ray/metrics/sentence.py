"""Metrics of sacrebleu for single segments, on the 0–1 scale. Only code that measures imports sacrebleu."""

from typing import TYPE_CHECKING

import numpy as np

from routelmt_ray.metrics import Texts
from routelmt_ray.metrics.segments import measure

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU, CHRF


class _SentenceMetric:
    """A metric of sacrebleu; see :class:`routelmt_ray.metrics.Metric`."""

    def __init__(self, metric: "BLEU | CHRF", title: str) -> None:
        self._metric, self._title = metric, title

    def segment_scores(self, sources: Texts, hypotheses: Texts, references: Texts) -> np.ndarray:
        """Scores each segment against its reference."""

        def score(row: int) -> float:
            return float(self._metric.sentence_score(hypotheses[row], [references[row]]).score) / 100

        return measure(hypotheses, references, lambda rows: [score(row) for row in rows])

    def signature(self) -> str:
        """Gives the signature of sacrebleu, which describes how to repeat the score."""
        self._metric.sentence_score("a", ["a"])  # the signature is complete only after a reference was scored
        return f"{self._title}|{self._metric.get_signature()}"


class ChrF(_SentenceMetric):
    """Character n-gram F-score (Popović 2015) with the defaults of sacrebleu (chrF2, six characters, no words)."""

    name = "chrf"

    def __init__(self) -> None:
        from sacrebleu.metrics import CHRF

        super().__init__(CHRF(), "chrF2")


class Bleu(_SentenceMetric):
    """BLEU (Papineni et al. 2002) of one sentence, as in ``sacrebleu.sentence_bleu``: smoothed, effective order."""

    def __init__(self, tokenize: str = "13a") -> None:
        from sacrebleu.metrics import BLEU

        super().__init__(BLEU(tokenize=tokenize, effective_order=True), "BLEU")
