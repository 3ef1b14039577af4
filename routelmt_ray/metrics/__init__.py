"""Quality metrics on the 0–1 scale behind one small protocol, so that a gain has the same unit whatever the metric."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Metric(Protocol):
    """What a quality stage needs of a metric."""

    name: str
    """Ends the names of its columns."""
    needs_reference: bool
    """True where a segment without a reference cannot be measured."""

    def segment_scores(
        self,
        sources: Sequence[str | None],
        hypotheses: Sequence[str | None],
        references: Sequence[str | None],
    ) -> np.ndarray:
        """Quality of each segment.

        Args:
            sources: source texts.
            hypotheses: translations; None where there is none.
            references: human translations; None or blank where there is none.

        Returns:
            Shape ``(segments,)``, float64, on the 0–1 scale; NaN where a segment cannot be measured.
        """
        ...

    def signature(self) -> str:
        """What makes the score repeatable: settings, versions and checkpoint, on one line."""
        ...
