"""chrF by sacrebleu, a segment at a time, on the 0–1 scale."""

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import CHRF

from routelmt_ray.metrics.segments import measure


class ChrF:
    """Character n-gram F-score (Popović 2015), sacrebleu's defaults (chrF2, six characters, no words)."""

    name = "chrf"
    needs_reference = True

    def __init__(self) -> None:
        """Creates the scorer."""
        self._metric = CHRF()

    def segment_scores(
        self,
        sources: Sequence[str | None],
        hypotheses: Sequence[str | None],
        references: Sequence[str | None],
    ) -> np.ndarray:
        """Score of each segment against its reference; see :class:`routelmt_ray.metrics.Metric`."""

        def score(row: int) -> float:
            return float(self._metric.sentence_score(hypotheses[row], [references[row]]).score) / 100

        return measure(hypotheses, references, lambda rows: [score(row) for row in rows])

    def signature(self) -> str:
        """sacrebleu's signature: what makes the score repeatable."""
        self._metric.sentence_score("a", ["a"])  # the signature is complete only once a reference was seen
        return f"chrF2|{self._metric.get_signature()}"
