"""Computes ranks and sums where values are equal (ties): the average over all orders of the equal values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def in_top(values: Array, k: int) -> Array:
    """Computes the probability that each row is among the k greatest: r / m for m tied rows that share r places.

    Args:
        values: Shape (n,), finite.
        k: In [0, n].

    Returns:
        Shape (n,), summing to k.
    """
    if k == 0:
        return np.zeros(len(values))
    kth = np.partition(values, len(values) - k)[len(values) - k]
    above, tied = values > kth, values == kth
    chance: Array = above + tied * ((k - above.sum()) / tied.sum())
    return chance


def average_ranks(values: Array) -> Array:
    """Computes ascending ranks from 1, shape (n,). Tied rows get the mean of their ranks."""
    _, tie, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = np.cumsum(sizes) - (sizes - 1) / 2
    return ranks[tie]


def expected_sums(order: Array, *columns: Array) -> list[Array]:
    """Sums each column over the first 0, 1, ..., n rows in descending order of `order`.

    Within a tie every row is next with the same probability, so the expected sums lie on a straight line.

    Args:
        order: Shape (n,), finite.
        columns: Shape (n,) each.

    Returns:
        One array of shape (n + 1,) for each column.
    """
    _, tie, sizes = np.unique(-order, return_inverse=True, return_counts=True)
    ends = np.concatenate(([0], np.cumsum(sizes)))
    sums = (np.concatenate(([0.0], np.cumsum(np.bincount(tie, weights=column)))) for column in columns)
    return [np.interp(np.arange(len(order) + 1), ends, at_ends) for at_ends in sums]
