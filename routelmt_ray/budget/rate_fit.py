"""What finished pieces of work say of a model's rate: a scale of its profiled cost, and what a piece costs besides.

Pure arithmetic: importing it imports neither Ray nor torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FEW_PIECES = 6
"""Fewer pieces do not tell what one costs however small."""
_LEAST_RANGE = 3.0
"""Nor do pieces that are nearly all of one size: the largest tenth must be so many times as large as the smallest."""
_MOST_ERROR = 0.15
"""Nor do pieces whose scale is known no better than by this share (standard error)."""


LIKE = 2.0
"""Pieces are alike that are at least the size of the others divided by this."""
_FEW_ALIKE = 3
"""Fewer of them are too few to go by."""


def like_size(predicted_s: npt.NDArray[np.float64], piece_s: float) -> tuple[npt.NDArray[np.bool_], bool]:
    """Finds the pieces that say what pieces to come will cost: those that are not much smaller.

    A small piece costs more for its rows: its batches are not full, and what a piece costs besides its rows weighs more.

    Args:
        predicted_s: profiled device-seconds of each piece that is done, shape ``(pieces,)``.
        piece_s: the same of a piece to come; 0 where none is.

    Returns:
        Which pieces to go by, and False where all of them are much smaller: they then err on the dear side.
    """
    alike = predicted_s >= piece_s / LIKE
    if alike.sum() >= _FEW_ALIKE:
        return alike, True
    return np.ones(len(predicted_s), bool), bool(alike.any())


def fit_pieces(predicted_s: npt.NDArray[np.float64], measured_s: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Fits measured = piece_s + scale · predicted, by least squares weighted so that the pieces add up to what they took.

    Where the pieces cannot tell the two apart, all is put down to the scale. That errs on the dear side for larger pieces,
    which later ones put right; the other way round, small noisy pieces would make all work to come look free.

    Args:
        predicted_s: profiled device-seconds of each piece, above 0, shape ``(pieces,)``.
        measured_s: what it took, shape ``(pieces,)``.

    Returns:
        Device-seconds a piece costs however small, at least 0; and the scale, at least 0.
    """
    total = predicted_s.sum()
    plain = float(measured_s.sum() / total) if total > 0 else 0.0
    if len(predicted_s) < _FEW_PIECES:
        return 0.0, plain
    low, high = np.quantile(predicted_s, (0.1, 0.9))
    if high < _LEAST_RANGE * low:
        return 0.0, plain
    weights = 1 / np.sqrt(predicted_s)
    (scale, piece_s), covariance = np.polyfit(predicted_s, measured_s, 1, w=weights, cov=True)
    if piece_s <= 0 or scale <= 0 or np.sqrt(covariance[0, 0]) > _MOST_ERROR * scale:
        return 0.0, plain
    return float(piece_s), max(0.0, float((measured_s.sum() - piece_s * len(predicted_s)) / total))
