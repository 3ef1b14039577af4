"""Selects the segments that any metric can measure. The others are NaN."""

from collections.abc import Callable, Sequence

import numpy as np

from routelmt_ray.metrics import Texts


def has_text(text: str | None) -> bool:
    """Tells whether a text is neither null nor blank."""
    return text is not None and text.strip() != ""


def measure(
    hypotheses: Texts,
    references: Texts | None,
    scores: Callable[[list[int]], Sequence[float] | np.ndarray],
) -> np.ndarray:
    """Computes the scores of the segments that can be measured, float64; NaN for the others and for infinite scores.

    A segment needs a translation, which may be empty, and a reference that is not blank, unless `references` is None. `scores`
    gives one score for each of the given row numbers. Raises ValueError where the numbers of both differ.
    """
    if references is not None and len(references) != len(hypotheses):
        raise ValueError(f"there are {len(hypotheses)} hypotheses, but {len(references)} references")
    known = [hypothesis is not None for hypothesis in hypotheses]
    rows = [i for i, there in enumerate(known) if there and (references is None or has_text(references[i]))]
    out = np.full(len(hypotheses), np.nan, np.float64)
    if rows:
        out[rows] = np.asarray(scores(rows), np.float64)
    out[~np.isfinite(out)] = np.nan
    return out
