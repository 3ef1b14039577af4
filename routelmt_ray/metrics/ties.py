"""Computes ranks and sums where values are equal (ties): the average over all orders of the equal values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def in_top(values: Array, k: int) -> Array:
    """Computes the probability that each row is among the k greatest: r / m for m tied rows that share r places."""
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
    """Sums each column, shape (n,), over the first 0, 1, ..., n rows in descending order of `order`: shapes (n + 1,).

    Within a tie every row is next with the same probability, so the expected sums lie on a straight line.
    """
    _, tie, sizes = np.unique(-order, return_inverse=True, return_counts=True)
    ends = np.concatenate(([0], np.cumsum(sizes)))
    sums = (np.concatenate(([0.0], np.cumsum(np.bincount(tie, weights=column)))) for column in columns)
    return [np.interp(np.arange(len(order) + 1), ends, at_ends) for at_ends in sums]


class Ranking:
    """Rows in descending order of a value, under a block of resamples; tied rows share evenly.

    Arrays have the shape (rows, resamples), with rows in this order, so that sorting moves whole rows of memory.
    """

    def __init__(self, values: Array, weights: Array) -> None:
        self.order = np.argsort(-values, kind="stable")
        ranked = values[self.order]
        starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
        self.tied = len(starts) < len(values)
        self._starts, self._lengths = starts, np.diff(np.append(starts, len(values)))
        self.weights = weights[self.order]
        self.size = self.grouped(self.weights)
        self.before = np.cumsum(self.size, axis=0) - self.size

    def grouped(self, ranked: Array) -> Array:
        """Sums a ranked array over each tie, shape (ties, resamples)."""
        return np.add.reduceat(ranked, self._starts, axis=0) if self.tied else ranked

    def spread(self, by_tie: Array) -> Array:
        """Gives the value of each tie to all its rows, shape (rows, resamples)."""
        return np.repeat(by_tie, self._lengths, axis=0) if self.tied else by_tie

    def taken(self, k: Array) -> Array:
        """Computes how much of each row's weight is among the first k, which has shape (resamples,); sums to k."""
        taken = np.clip(k - self.before, 0, self.size)
        if not self.tied:
            return taken
        share = np.divide(taken, self.size, out=np.zeros_like(taken), where=self.size > 0)
        return self.spread(share) * self.weights

    def centred_ranks(self, n: Array) -> Array:
        """Computes the rank of each row minus the mean rank; tied rows have their mean rank."""
        return self.spread(self.before + (self.size - n) / 2)

    def unordered(self, ranked: Array) -> Array:
        """Restores the original order of the rows."""
        out = np.empty_like(ranked)
        out[self.order] = ranked
        return out
