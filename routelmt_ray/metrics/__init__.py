"""Quality metrics on the 0–1 scale with one small protocol, so that gains of all metrics have the same unit."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

Texts = Sequence[str | None]
"""One text for each segment; None where there is none."""


class Metric(Protocol):
    """A metric for the quality stage."""

    def segment_scores(self, sources: Texts, hypotheses: Texts, references: Texts) -> np.ndarray:
        """Computes the quality of each segment, which needs a translation and maybe a reference that is not blank.

        Returns the shape ``(segments,)``, float64, on the 0–1 scale; NaN where a segment cannot be measured.
        """
        ...

    def signature(self) -> str:
        """Describes how to repeat the score, on one line: settings, versions and checkpoint."""
        ...
