"""chrF by sacrebleu, a segment at a time, on the 0–1 scale."""

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import CHRF


class ChrF:
    """Character n-gram F-score (Popović 2015), sacrebleu's defaults (chrF2, six characters, no words)."""

    name = "chrf"

    def __init__(self) -> None:
        """Creates the scorer."""
        self._metric = CHRF()

    def segment_scores(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """Score of each segment against its reference, shape ``(segments,)``, float64, 0 to 1."""
        pairs = zip(hypotheses, references, strict=True)
        return np.asarray([self._metric.sentence_score(h, [r]).score / 100 for h, r in pairs], np.float64)

    def signature(self) -> str:
        """sacrebleu's signature: what makes the score repeatable."""
        self._metric.sentence_score("a", ["a"])  # the signature is complete only once a reference was seen
        return str(self._metric.get_signature())
