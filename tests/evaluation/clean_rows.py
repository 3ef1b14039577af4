"""Selects the rows for a measure: finite arrays of one length, without NaN."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Rows(NamedTuple):
    """The arrays that `drop_nan` kept, all of shape (n,), and the number of rows it dropped."""

    score: Array
    gain: Array
    cost: Array | None
    predicted_cost: Array | None
    dropped: int


def drop_nan(
    score: npt.ArrayLike,
    gain: npt.ArrayLike,
    cost: npt.ArrayLike | None = None,
    predicted_cost: npt.ArrayLike | None = None,
) -> Rows:
    """Drops the rows with NaN in any of the arrays. Every measure calls it; call it to find the number of dropped rows.

    Args:
        score: Shape (rows,).
        gain: Shape (rows,).
        cost: Shape (rows,), > 0.
        predicted_cost: Shape (rows,), > 0; only beside `cost`.

    Raises:
        ValueError: Lengths differ, an array is not one-dimensional, a value is infinite, a cost is not above 0,
            `predicted_cost` comes without `cost`, or no row is left.
    """
    if cost is None and predicted_cost is not None:
        raise ValueError("predicted_cost is given without cost; the axis needs the true cost")
    given = {"score": score, "gain": gain, "cost": cost, "predicted_cost": predicted_cost}
    arrays = {name: np.asarray(values, np.float64) for name, values in given.items() if values is not None}
    for name, array in arrays.items():
        if array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}; it must be one-dimensional, (rows,)")
        if len(array) != len(arrays["score"]):
            raise ValueError(f"{name} has {len(array)} rows; it must have as many as score, {len(arrays['score'])}")
        _refuse(np.isinf(array), name, array, "finite, or NaN to be dropped")
        if "cost" in name:
            _refuse(array <= 0, name, array, "above 0")
    kept = ~np.any([np.isnan(array) for array in arrays.values()], axis=0)
    if not kept.any():
        raise ValueError(f"score and gain have {len(kept)} rows, none of them without NaN; at least 1 is needed")
    return Rows(
        score=arrays["score"][kept],
        gain=arrays["gain"][kept],
        cost=arrays["cost"][kept] if "cost" in arrays else None,
        predicted_cost=arrays["predicted_cost"][kept] if "predicted_cost" in arrays else None,
        dropped=int(np.count_nonzero(~kept)),
    )


def _refuse(bad: npt.NDArray[np.bool_], name: str, array: Array, bound: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{name} is {array[row]} at row {row}; it must be {bound}")
