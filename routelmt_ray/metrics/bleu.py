"""Sentence BLEU by sacrebleu, on the 0–1 scale."""

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import BLEU

from routelmt_ray.metrics.segments import measure


class Bleu:
    """BLEU (Papineni et al. 2002) of one sentence as ``sacrebleu.sentence_bleu`` has it: smoothed, effective order."""

    name = "bleu"
    needs_reference = True

    def __init__(self, tokenize: str = "13a") -> None:
        """Args: sacrebleu's name of a tokenizer."""
        self._metric = BLEU(tokenize=tokenize, effective_order=True)

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
        return f"BLEU|{self._metric.get_signature()}"
