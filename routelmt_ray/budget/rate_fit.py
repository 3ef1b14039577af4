"""Estimates a model's rate from its finished pieces of work: a factor for its profiled cost, and a cost per piece.

How a row's cost depends on the other rows of its batch is estimated too, as far as the pieces tell.

Pure arithmetic: importing it imports neither Ray nor torch.
"""

import numpy as np
import numpy.typing as npt

_FEW_PIECES = 6
"""Fewer pieces do not tell the cost per piece from the cost of their rows."""
_LEAST_RANGE = 3.0
"""Pieces of nearly one size do not tell it either: their 90th percentile must be this many times the 10th."""
_MOST_ERROR = 0.15
"""Pieces do not tell it either where the standard error of the scale is more than this share of the scale."""
LIKE = 2.0
"""A piece is like those to come if it has at least their size divided by this."""
_FEW_ALIKE = 3
"""Least number of such pieces to estimate from."""


def similar_size(predicted_s: npt.NDArray[np.float64], piece_s: float) -> tuple[npt.NDArray[np.bool_], bool]:
    """Finds the finished pieces that can predict the cost of future pieces: those that are not much smaller.

    A small piece costs more per row: its batches are not full, and the cost per piece is shared by fewer rows.

    Args:
        predicted_s: profiled device-seconds of each finished piece, shape ``(pieces,)``.
        piece_s: the same of a piece to come; 0 where none is.

    Returns:
        A mask of the pieces to estimate from, shape ``(pieces,)``: all of them where fewer than `_FEW_ALIKE` are large
        enough. And False where all are much smaller, so that they give too high a cost.
    """
    alike = predicted_s >= piece_s / LIKE
    if alike.sum() >= _FEW_ALIKE:
        return alike, True
    return np.ones(len(predicted_s), bool), bool(alike.any())


def fit_pieces(predicted_s: npt.NDArray[np.float64], measured_s: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Fits measured = piece_s + scale · predicted by weighted least squares; the total is that of the measured pieces.

    Where the pieces cannot tell the two apart, the scale stands for the whole cost. This gives too high a cost for
    larger pieces, which later pieces correct. The other way round, small noisy pieces would make all later work look
    free. Device-seconds of each piece have shape ``(pieces,)``; the predicted ones are above 0. Returns the fixed
    device-seconds of a piece, without those of its rows, and the scale, both at least 0.
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


_NOISE, _ROW_NOISE = 0.06, 0.5
"""Shares by which a piece deviates from its cost: any piece; and a piece of one row, divided by the square root of its rows."""
_FEW_BATCHES = 3
"""Fewer pieces do not tell the cost of empty places from that of rows."""
_CERTAIN = 4.0
"""Increase of the sum of squares, in variances, up to which a cost of empty places is possible: two standard errors."""
_STEPS = 21


def empty_share(
    rows: npt.NDArray[np.float64],
    predicted_s: npt.NDArray[np.float64],
    measured_s: npt.NDArray[np.float64],
    batch_rows: int,
    least_scale: float,
) -> float:
    """Bounds from above what an empty place of a batch costs, as a share of an average row.

    It is near 0 where each row costs the same in any batch, as on a CPU, and 1 where a batch costs the same with any number of
    rows. Of the shares on a grid, the bound is the largest that the pieces allow: measured = scale · (predicted + share ·
    empty places), by weighted least squares with a scale of at least `least_scale`.

    Args:
        rows: rows of each finished piece, above 0, shape ``(pieces,)``.
        predicted_s: profiled device-seconds of each piece, the same shape.
        measured_s: measured device-seconds of each piece, the same shape.
        batch_rows: rows of a full batch.
        least_scale: the least factor for profiled cost that is possible.

    Returns:
        A share from 0 to 1; 1 where the pieces do not tell.
    """
    if len(rows) < _FEW_BATCHES:
        return 1.0
    empty_s = predicted_s / rows * (-rows % batch_rows)
    shares = np.linspace(0.0, 1.0, _STEPS)
    # Each piece is divided by its measured cost, so that all have about the same relative error.
    noise = np.sqrt(_NOISE**2 + _ROW_NOISE**2 / rows)
    units = (predicted_s + shares[:, None] * empty_s) / np.maximum(measured_s, 1e-9) / noise
    scales = np.maximum((units / noise).sum(1) / (units**2).sum(1), least_scale)
    squares = ((scales[:, None] * units - 1 / noise) ** 2).sum(1)
    least = squares.min()
    spread = max(1.0, least / (len(rows) - 1))  # where even the best fit is poor, more is possible
    return float(shares[squares <= least + _CERTAIN * spread].max())
