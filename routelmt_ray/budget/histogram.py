"""The counts of a pass: rows and their weight by digit, exact in integers."""

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.keys import Floats

BINS = 1 << 16
MAX_WEIGHT = 1 << 62
"""Largest total weight: two of this size still add up in 64 bits, so that an overflow is seen."""

Counts = npt.NDArray[np.int64]

_DOUBLE = 1 << 53
"""Integers up to here are exact as float64, in which `np.bincount` adds up."""
_LIGHT = 1 << 35
"""Weights below are exact in one go: 2**18 rows, the most counted at once, stay below 2**53."""
_LOW = (1 << 32) - 1
_FEW = 1 << 12
"""Up to this number, rows are added one by one, because `np.bincount` costs as much as its 65,536 bins."""
_memory = threading.local()


def _no_rows() -> Counts:
    return np.zeros(BINS, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Rows by digit, best digit first, and their weight. Histograms of disjoint slices add up with `+`.

    `Histogram()` counts nothing, so `sum(parts, Histogram())` is the histogram of the whole.
    """

    rows: Counts = field(default_factory=_no_rows)
    weights: Counts | None = None
    """int64, shape (65536,); None where every row weighs 1."""

    def __post_init__(self) -> None:
        for name, counts in (("rows", self.rows), ("weights", self.by_weight)):
            if counts.shape != (BINS,) or counts.dtype != np.int64:
                raise ValueError(f"{name} is {counts.dtype} of shape {counts.shape}; it must be int64, ({BINS},)")
        if self.weights is not None:
            check_total(self.weights)

    def __add__(self, other: "Histogram") -> "Histogram":
        rows = self.rows + other.rows
        if self.weights is None and other.weights is None:
            return Histogram(rows)
        return Histogram(rows, self.by_weight + other.by_weight)

    @property
    def by_weight(self) -> Counts:
        """Weight by digit: the rows themselves where every row weighs 1."""
        return self.rows if self.weights is None else self.weights


class GrowingHistogram:
    """A histogram that grows in place, chunk by chunk."""

    def __init__(self, *, weighted: bool) -> None:
        self.rows = _no_rows()
        self.weights = _no_rows() if weighted else None

    def add(self, digits: npt.NDArray[np.uint16], weights: Counts | None) -> None:
        """Adds the rows of a chunk, at most 2**18, to the counts, in place. Weights are from 0 to 2**62. Raises
        ValueError if these weights alone add up to more than 2**62."""
        light = weights is None or int(weights.max(initial=0)) * len(weights) < _DOUBLE
        if weights is not None and not light:
            check_total(weights)
        if len(digits) <= _FEW:
            np.add.at(self.rows, digits, 1)
            if weights is not None and self.weights is not None:
                np.add.at(self.weights, digits, weights)
            return
        places = _scratch("places", np.intp, digits)
        self.rows += np.bincount(places, minlength=BINS)
        if weights is None or self.weights is None:
            return
        if light:
            self.weights += _sums(places, weights)
        else:
            self.weights += _sums(places, weights >> 32) << 32
            self.weights += _sums(places, weights & _LOW)

    def check(self) -> None:
        """Refuses a total weight above 2**62; must be called after every chunk."""
        if self.weights is not None:
            check_total(self.weights)

    def histogram(self) -> Histogram:
        """Returns the counts as a histogram, which shares its arrays with this tally."""
        return Histogram(self.rows, self.weights)


def _sums(places: npt.NDArray[np.intp], weights: Counts) -> Counts:
    sums = np.bincount(places, _scratch("weights", np.float64, weights), BINS)
    return _scratch("sums", np.int64, sums)


def _scratch(name: str, dtype: type, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns a copy of `array` in another type, in memory that the next call of this name takes over."""
    # Fresh memory would go back to the system after every chunk, and its pages come one by one: 3 times slower.
    if not hasattr(_memory, name) or len(getattr(_memory, name)) < len(array):
        setattr(_memory, name, np.empty(len(array), dtype=dtype))
    copy: npt.NDArray[Any] = getattr(_memory, name)[: len(array)]
    copy[:] = array
    return copy


def check_total(weights: Counts) -> None:
    """Refuses weights that add up to more than 2**62, also where the sum does not fit into 64 bits. `weights` is int64,
    shape (n,), none below 0, n < 2**31. An element may be the sum of two weights that passed, even if that sum
    wrapped."""
    # A sum of two, wrapped to -2**63, is read as the 2**63 it was; the total is summed in halves, so as not to wrap.
    bits = weights.view(np.uint64)
    if int(bits.max(initial=0)) * len(bits) <= MAX_WEIGHT:
        return
    total = (int((bits >> np.uint64(32)).sum()) << 32) + int((weights & _LOW).sum())
    if total > MAX_WEIGHT:
        raise ValueError(
            f"the weights add up to {total}, above 2**62; choose a larger unit, or repair the weights that are too large"
        )


def as_weights(weights: npt.ArrayLike, rows: int) -> Counts:
    """Converts `weights` to an int64 array, without a copy where it already is one."""
    array = np.asarray(weights)
    if array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64):
        raise TypeError(f"weights has dtype {array.dtype}; it must be an integer type that int64 holds")
    if array.shape != (rows,):
        raise ValueError(f"weights has shape {array.shape}; it must be ({rows},), one for every value")
    return array.astype(np.int64, copy=False)


def check_weights(weights: Counts, values: Floats, first_place: int) -> Counts:
    """Refuses weights below 1 of eligible rows; the weights of other rows do not matter. Returns the weights; where one
    of any row is below 1 or very large, a copy with 0 for rows that are not eligible."""
    if weights.min(initial=1) >= 1 and weights.max(initial=1) < _LIGHT:
        return weights
    eligible = ~np.isnan(values)
    light = (weights < 1) & eligible
    if light.any():
        row = int(light.argmax())
        raise ValueError(f"weight at place {first_place + row} is {weights[row]}; it must be an integer >= 1")
    return np.where(eligible, weights, 0)
