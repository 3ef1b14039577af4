"""The exact top k of any number of float32 gains, in a state of 512 KiB.

A row's rank in the order (gain descending, mix ascending) is a number of 96 bits: 32 of the gain, 64 of the
seeded mix of the row's place. Read it as six 16-bit digits. One pass over the rows counts the first digit;
the bin in which the k-th row falls is the first digit of the cut; the next pass counts the second digit
inside that bin, and so on. Two passes settle the gain. Ties at the cut take one or two more, never a list of
the tied rows, and none where all of them fit.

A pass is a `Search`: a handful of numbers that a driver sends to its workers. Each worker counts its shard
with `Search.histogram`; the driver adds up and calls `Search.advance`, which gives the next pass or the
`Cut`. `select_top_k` is that loop in one process.

A selection inside one stratum is the same passes with the other strata's gains set to NaN: places stay what
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.cut import CHUNK_ROWS, Cut
from routelmt_ray.budget.keys import (
    Bits,
    Floats,
    as_float32,
    check_count,
    check_finite,
    from_key,
    high_halves,
    mix,
    to_keys,
)

BINS = 1 << 16
_GAIN_DIGITS = 2
_DIGITS = 6
_MIX_ROWS = 1 << 16
"""Rows mixed at once. Larger uint64 temporaries go back to the system after every chunk: 4 times slower."""

Histogram = npt.NDArray[np.int64]
Gains = npt.NDArray[Any] | Sequence[npt.ArrayLike] | Callable[[], Iterable[npt.ArrayLike]]


def select_top_k(gains: Gains, k: int, *, seed: int = 0) -> Cut:
    """Find the cut that selects exactly the k best rows.

    Equal to a full sort by (gain descending, `mix` of the place ascending), the place being a row's ordinal
    over all arrays. NaN marks a row that is not eligible, -0.0 equals 0.0. Gains are compared as float32;
    wider floats are rounded to it first.

    Args:
        gains: Arrays of shape (rows,) in place order: one array, a sequence of them, or a callable that
            returns a fresh iterator of them, which is called once a pass.
        k: Rows to select; more than there are eligible selects all of these.
        seed: Seed of the order among equal gains, 0 <= seed < 2**64.

    Returns:
        The cut, whose `mask` decides any slice.

    Raises:
        TypeError: `k` or `seed` is no integer, or `gains` not of the kinds above.
        ValueError: `k` or `seed` is out of bounds, a gain is infinite (the first such place is named), or the
            gains changed from one pass to the next.
    """
    state: Search | Cut = Search(k, seed)
    while isinstance(state, Search):
        total = np.zeros(BINS, dtype=np.int64)
        first_place = 0
        for block in _blocks(_arrays(gains)):
            total += state.histogram(block, first_place)
            first_place += len(block)
        state = state.advance(total)
    return state


@dataclass(frozen=True)
class Search:
    """One pass of a selection: what is known of the cut so far. Start with `Search(k, seed)`.

    Raises:
        TypeError: `k` or `seed` is no integer.
        ValueError: `k` or `seed` is out of bounds.
    """

    k: int
    """Rows to select; from the second pass on at most n_eligible."""
    seed: int = 0
    """Seed of the order among equal gains, 0 <= seed < 2**64."""
    n_eligible: int = 0
    """Rows whose gain is not NaN; known from the second pass on."""
    prefix: tuple[int, ...] = ()
    """Leading 16-bit digits of the last selected row's rank; 0 is the best digit."""
    rows: int = 0
    """Rows that share the prefix."""
    left: int = 0
    """How many of these are selected, 1 <= left <= rows; which ones is what the search is for."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_count("k", self.k))
        object.__setattr__(self, "seed", check_count("seed", self.seed, bits=64))

    def histogram(self, gains: npt.ArrayLike, first_place: int) -> Histogram:
        """Count the next digit of the rows in this slice that share the prefix.

        Args:
            gains: float32, shape (rows,).
            first_place: Place of the slice's first row in the whole corpus.

        Returns:
            int64 row counts, shape (65536,), best bin first. Counts of disjoint slices add up.

        Raises:
            TypeError: The gains are not floating point, or the place no integer.
            ValueError: A gain is infinite, or the place out of bounds.
        """
        gains = as_float32(gains)
        first_place = check_count("first_place", first_place, bits=64)
        total = np.zeros(BINS, dtype=np.int64)
        step = CHUNK_ROWS if len(self.prefix) < _GAIN_DIGITS else min(CHUNK_ROWS, _MIX_ROWS)
        for start in range(0, len(gains), step):
            chunk = gains[start : start + step]
            if not self.prefix:
                total += _first_digits(chunk, first_place + start)
                continue
            digits = self._next_digits(chunk, first_place + start)
            if digits.size:
                total += np.bincount(digits, minlength=BINS)
        return total

    def advance(self, total: Histogram) -> Search | Cut:
        """Take the histogram of the whole corpus and return the next pass, or the cut once it is settled.

        Args:
            total: Sum of `histogram` over all slices, int64, shape (65536,).

        Raises:
            ValueError: The histogram has another shape, or does not count the rows that the pass before
                found: the gains changed, an iterator was handed out twice, or slices overlap.
        """
        if np.shape(total) != (BINS,):
            raise ValueError(f"total has shape {np.shape(total)}; it must be ({BINS},)")
        up_to = np.cumsum(total)
        rows = int(up_to[-1])
        if self.prefix and rows != self.rows:
            raise ValueError(
                f"a pass over the gains found {rows} rows where the pass before found {self.rows}; "
                "every pass must see the same gains: a callable must return a fresh iterator each time"
            )
        n_eligible = self.n_eligible if self.prefix else rows
        k = min(self.k, n_eligible)
        if k == 0:
            return Cut(k=0, n_eligible=n_eligible, threshold=None, seed=self.seed)
        left = self.left if self.prefix else k
        digit = int(np.searchsorted(up_to, left))
        inside = int(total[digit])
        left -= int(up_to[digit]) - inside
        found = replace(self, k=k, n_eligible=n_eligible, prefix=(*self.prefix, digit), rows=inside, left=left)
        # A bin taken whole needs no further digit; but without the second one the threshold would be no gain.
        if len(found.prefix) >= _GAIN_DIGITS and left == inside:
            return found._settled()
        if len(found.prefix) == _DIGITS:
            raise ValueError(f"{inside} rows share one place; every row of the corpus must have a place of its own")
        return found

    def _settled(self) -> Cut:
        mixed = self.prefix[_GAIN_DIGITS:]
        open_bits = 16 * (_DIGITS - len(self.prefix))
        tie = (_join(mixed) << open_bits) | ((1 << open_bits) - 1) if mixed else None
        return Cut(k=self.k, n_eligible=self.n_eligible, threshold=from_key(self._key()), tie=tie, seed=self.seed)

    def _key(self) -> int:
        """The key of which the gain digits are known, unknown bits 0."""
        gain = self.prefix[:_GAIN_DIGITS]
        open_bits = 16 * (_GAIN_DIGITS - len(gain))
        return (_join(gain) ^ ((1 << 16 * len(gain)) - 1)) << open_bits

    def _next_digits(self, gains: Floats, first_place: int) -> npt.NDArray[np.uint16]:
        """The next digit of every row that shares the prefix, shape (such rows,)."""
        if len(self.prefix) < _GAIN_DIGITS:
            return _low_digits(gains, self._key() >> 16)
        mixes = mix(_rows_with_key(gains, self._key()) + np.uint64(first_place), self.seed)
        mixed = self.prefix[_GAIN_DIGITS:]
        if mixed:
            mixes = mixes[(mixes >> np.uint64(64 - 16 * len(mixed))) == np.uint64(_join(mixed))]
        mixes >>= np.uint64(48 - 16 * len(mixed))
        return mixes.astype(np.uint16)


def _join(digits: tuple[int, ...]) -> int:
    value = 0
    for digit in digits:
        value = value << 16 | digit
    return value


def _first_digits(gains: Floats, first_place: int) -> Histogram:
    """Count the first digit of all eligible rows, shape (65536,).

    The high halves are counted as they are and the bins put into order afterwards: mapping 65,536 bins is far
    cheaper than mapping every row, and is exact, since only two bins hold rows that need a second look.
    """
    raw = np.bincount(high_halves(gains), minlength=BINS)
    if raw[0x7F80] or raw[0xFF80]:  # infinity, or NaN with a payload in its low half alone
        check_finite(gains, first_place)
    if raw[0x8000]:  # -0.0, or the least negative denormals
        negative_zeros = int(np.count_nonzero(gains.view(np.uint32) == np.uint32(0x80000000)))
        raw[0x8000] -= negative_zeros
        raw[0x0000] += negative_zeros
    raw[0x7F80:0x8000] = 0
    raw[0xFF80:] = 0
    # Positive bits ascend with the gain, negative ones descend: reverse the former to have the best first.
    return np.concatenate((raw[0x7FFF::-1], raw[0x8000:]))


def _low_digits(gains: Floats, half: int) -> npt.NDArray[np.uint16]:
    """The second digit of the rows whose key begins with the 16 bits `half`, shape (such rows,)."""
    # Few rows do: find them by their own high bits before mapping any gain to its key.
    halves = high_halves(gains)
    near = halves == np.uint16(half ^ 0x8000 if half & 0x8000 else half ^ 0xFFFF)
    if half == 0x8000:  # 0.0 may come as -0.0
        near |= halves == np.uint16(0x8000)
    keys = to_keys(gains[near])
    best_first: Bits = ~keys[keys >> np.uint32(16) == half]
    return best_first.astype(np.uint16)


def _rows_with_key(gains: Floats, key: int) -> npt.NDArray[np.uint64]:
    """Positions of the rows that have this key, shape (such rows,)."""
    bits = gains.view(np.uint32)
    tied = bits == np.float32(from_key(key)).view(np.uint32)
    if key == 0x80000000:  # 0.0 may come as -0.0
        tied |= bits == np.uint32(0x80000000)
    return np.flatnonzero(tied).astype(np.uint64)


def _arrays(gains: Gains) -> Iterable[npt.ArrayLike]:
    if isinstance(gains, np.ndarray):
        return [gains]
    if callable(gains):
        return gains()
    if isinstance(gains, Iterator) or not isinstance(gains, Sequence):
        raise TypeError(
            f"gains is a {type(gains).__name__}; several passes need an array, a list of arrays, or a "
            "callable that returns a fresh iterator of them"
        )
    return gains


def _blocks(arrays: Iterable[npt.ArrayLike]) -> Iterator[Floats]:
    """Gather small arrays into blocks: the cost of a histogram is that of 65,536 bins however few the rows.

    Rows are copied as they come, so an iterator may hand out one buffer again and again.
    """
    block = np.empty(CHUNK_ROWS, dtype=np.float32)
    filled = 0
    for array in map(as_float32, arrays):
        if filled + len(array) > CHUNK_ROWS:
            yield block[:filled]
            filled = 0
        if len(array) > CHUNK_ROWS:
            yield array
        else:
            block[filled : filled + len(array)] = array
            filled += len(array)
    yield block[:filled]
