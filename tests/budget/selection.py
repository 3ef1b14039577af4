"""A selection in one process: the passes of a `Search` over arrays in memory, for tests and benchmarks.

A selection inside one stratum is the same with the other strata's values set to NaN: places stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.cut import CHUNK_ROWS, Cut
from routelmt_ray.budget.histogram import Counts, Histogram, as_weights
from routelmt_ray.budget.keys import Floats, as_float32
from routelmt_ray.budget.search import Search

Arrays = npt.NDArray[Any] | Sequence[npt.ArrayLike] | Callable[[], Iterable[npt.ArrayLike]]


def select_top_k(gains: Arrays, k: int, *, weights: Arrays | None = None, seed: int = 0) -> Cut:
    """Finds the cut that selects exactly the k best rows.

    Equal to a full sort by (gain descending, `mix` of the place ascending), the place being a row's ordinal
    over all arrays. NaN marks a row that is not eligible, -0.0 equals 0.0. Gains are compared as float32;
    wider floats are rounded to it first.

    Args:
        gains: Arrays of shape (rows,) in place order: one array, a sequence of them, or a callable that
            returns a fresh iterator of them, which is called once a pass.
        k: Rows to select; more than the eligible rows selects all of these.
        weights: What each row weighs, int64, >= 1, in arrays that match `gains`. They do not change what is
            selected, only say what it weighs. None: every row weighs 1.
        seed: Seed of the order among equal gains, 0 <= seed < 2**64.

    Returns:
        The cut, whose `mask` decides any slice.

    Raises:
        TypeError: `k`, `seed` or a weight is no integer, or `gains` not of the kinds above.
        ValueError: A number is out of bounds, a gain is infinite (the first such place is named), the weights
            do not match, or the gains changed from one pass to the next.
    """
    return _select(Search(k=k, seed=seed), gains, weights)


def select_prefix(values: Arrays, weights: Arrays, capacity: int, *, seed: int = 0) -> Cut:
    """Finds the cut that selects as many of the best rows as fit into a capacity.

    Equal to a full sort by (value descending, `mix` of the place ascending) and a cumulative sum of the weights,
    in exact integers: rows are selected up to the first that would take the total above the capacity. That row
    ends the selection; a lighter row after it is not taken instead.

    Args:
        values: As the gains of `select_top_k`, e.g. gain per second.
        weights: What each row weighs, int64, >= 1 where the value is not NaN, in arrays that match `values`,
            e.g. microseconds. At most 2**62 in total.
        capacity: Weight to select, >= 0. Below the first row's weight it selects nothing.
        seed: Seed of the order among equal values, 0 <= seed < 2**64.

    Returns:
        The cut, whose `mask` decides any slice without the weights.

    Raises:
        TypeError: As `select_top_k`.
        ValueError: As `select_top_k`.
    """
    return _select(Search(capacity=capacity, seed=seed), values, weights)


def _select(state: Search | Cut, values: Arrays, weights: Arrays | None) -> Cut:
    while isinstance(state, Search):
        total = Histogram()
        first_place = 0
        for block, weighed in _blocks(_pairs(values, weights)):
            total += state.histogram(block, first_place, weighed)
            first_place += len(block)
        state = state.advance(total)
    return state


def _pairs(values: Arrays, weights: Arrays | None) -> Iterator[tuple[Floats, Counts | None]]:
    if weights is None:
        for array in _arrays("values", values):
            yield as_float32(array), None
        return
    for array, weighed in zip_longest(_arrays("values", values), _arrays("weights", weights)):
        if array is None or weighed is None:
            raise ValueError("values and weights are not as many arrays; they must match one by one")
        array = as_float32(array)
        yield array, as_weights(weighed, len(array))


def _arrays(name: str, arrays: Arrays) -> Iterable[npt.ArrayLike]:
    if isinstance(arrays, np.ndarray):
        return [arrays]
    if callable(arrays):
        return arrays()
    if not isinstance(arrays, Sequence):
        raise TypeError(
            f"{name} is a {type(arrays).__name__}; several passes need an array, a list of arrays, or a "
            "callable that returns a fresh iterator of them"
        )
    return arrays


def _blocks(pairs: Iterable[tuple[Floats, Counts | None]]) -> Iterator[tuple[Floats, Counts | None]]:
    """Gathers small arrays into blocks, because a histogram costs as much as its 65,536 bins even for few rows.

    Rows are copied as they come, so an iterator may hand out one buffer again and again.
    """
    block, weights = np.empty(CHUNK_ROWS, dtype=np.float32), np.empty(CHUNK_ROWS, dtype=np.int64)
    filled, weighed = 0, None
    for array, weighed in pairs:
        if filled + len(array) > CHUNK_ROWS:
            yield block[:filled], None if weighed is None else weights[:filled]
            filled = 0
        if len(array) > CHUNK_ROWS:
            yield array, weighed
            continue
        rows = slice(filled, filled + len(array))
        block[rows] = array
        if weighed is not None:
            weights[rows] = weighed
        filled += len(array)
    yield block[:filled], None if weighed is None else weights[:filled]
