"""Which segments can be measured at all: the others are NaN, whatever the metric."""

from collections.abc import Callable, Sequence

import numpy as np


def has_text(text: str | None) -> bool:
    """True where there is something to compare with: not null, not blank."""
    return text is not None and text.strip() != ""


def measure(
    hypotheses: Sequence[str | None],
    references: Sequence[str | None] | None,
    scores: Callable[[list[int]], Sequence[float] | np.ndarray],
) -> np.ndarray:
    """Scores of the segments that can be measured, NaN for the others.

    Args:
        hypotheses: translations; None where there is none. An empty string is one, and is measured.
        references: one a segment, None or blank where there is none; None where the metric needs none.
        scores: gives a score for each of the row numbers it is called with.

    Returns:
        Shape ``(segments,)``, float64; infinite scores are NaN too.

    Raises:
        ValueError: there are not as many references as hypotheses.
    """
    if references is not None and len(references) != len(hypotheses):
        raise ValueError(f"there are {len(hypotheses)} hypotheses, but {len(references)} references")
    rows = [
        i
        for i, hypothesis in enumerate(hypotheses)
        if hypothesis is not None and (references is None or has_text(references[i]))
    ]
    out = np.full(len(hypotheses), np.nan, np.float64)
    if rows:
        out[rows] = np.asarray(scores(rows), np.float64)
    out[~np.isfinite(out)] = np.nan
    return out
