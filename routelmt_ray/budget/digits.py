"""A row's rank, digit by digit.

The rank in the order (value descending, mix ascending) is a number of 96 bits, 0 the best: 32 of the value's
key, inverted, and 64 of the seeded mix of the row's place. It is read as six digits of 16 bits; a *prefix* is
a tuple of the leading ones.
"""

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.cut import CHUNK_ROWS
from routelmt_ray.budget.histogram import BINS, Counts, GrowingHistogram, Histogram, check_weights
from routelmt_ray.budget.keys import Floats, check_finite, from_key, high_halves, mix, to_keys

DIGITS = 6
VALUE_DIGITS = 2

Digits = npt.NDArray[np.uint16]
Positions = npt.NDArray[np.intp]


def join(digits: tuple[int, ...], length: int) -> int:
    """Joins digits to one number of `length` digits; missing digits are 0."""
    number = 0
    for digit in digits:
        number = number << 16 | digit
    return number << 16 * (length - len(digits))


def key_of(prefix: tuple[int, ...]) -> int:
    """Computes the key (uint32) of the rows that share a prefix; bits that the prefix leaves open are 0."""
    digits = prefix[:VALUE_DIGITS]
    return join(tuple(BINS - 1 - digit for digit in digits), VALUE_DIGITS)


def first_digits(values: Floats, weights: Counts | None, first_place: int) -> Histogram:
    """Counts the first digit of all eligible rows.

    The high halves are counted as they are and the bins put into order afterwards: mapping 65,536 bins is far
    cheaper than mapping every row, and is exact, since only two bins hold rows that need a second look.
    """
    raw = GrowingHistogram(weighted=weights is not None)
    for start in range(0, len(values), CHUNK_ROWS):
        chunk = values[start : start + CHUNK_ROWS]
        weighed = None if weights is None else check_weights(weights[start:][:CHUNK_ROWS], chunk, first_place + start)
        raw.add(high_halves(chunk), weighed)
        if raw.rows[0x7F80] or raw.rows[0xFF80]:  # infinity, or NaN with a payload in its low half alone
            check_finite(chunk, first_place + start)
        zeros = np.empty(0, dtype=np.intp)
        if raw.rows[0x8000]:  # -0.0, or the least negative denormals
            zeros = np.flatnonzero(chunk.view(np.uint32) == np.uint32(0x80000000))
        _settle(raw.rows, len(zeros))
        if raw.weights is not None and weighed is not None:
            _settle(raw.weights, int(weighed[zeros].sum()))
            raw.check()
    return Histogram(_best_first(raw.rows), None if raw.weights is None else _best_first(raw.weights))


def _settle(raw: Counts, negative_zeros: int) -> None:
    """Moves -0.0 to 0.0, and drops NaN."""
    raw[0x8000] -= negative_zeros
    raw[0x0000] += negative_zeros
    raw[0x7F80:0x8000] = 0
    raw[0xFF80:] = 0


def _best_first(raw: Counts) -> Counts:
    # Positive bits ascend with the value, negative ones descend: reverse the former to have the best first.
    return np.concatenate((raw[0x7FFF::-1], raw[0x8000:]))


def next_digits(values: Floats, first_place: int, prefix: tuple[int, ...], seed: int) -> tuple[Positions, Digits]:
    """Finds the rows that share a prefix of 1 to 5 digits, and their next digit. Returns their positions in the slice,
    shape (such rows,), and the digit of each that follows the prefix."""
    if len(prefix) < VALUE_DIGITS:
        return _low_digits(values, key_of(prefix) >> 16)
    rows = _rows_with_key(values, key_of(prefix))
    mixes = mix(rows.astype(np.uint64) + np.uint64(first_place), seed)
    mixed = prefix[VALUE_DIGITS:]
    if mixed:
        inside = (mixes >> np.uint64(64 - 16 * len(mixed))) == np.uint64(join(mixed, len(mixed)))
        rows, mixes = rows[inside], mixes[inside]
    mixes >>= np.uint64(48 - 16 * len(mixed))
    return rows, mixes.astype(np.uint16)


def _low_digits(values: Floats, half: int) -> tuple[Positions, Digits]:
    """The second digit of the rows whose key begins with the 16 bits `half`."""
    # Few rows do: find them by their own high bits before mapping any value to its key.
    halves = high_halves(values)
    near = halves == np.uint16(half ^ 0x8000 if half & 0x8000 else half ^ 0xFFFF)
    if half == 0x8000:  # 0.0 may come as -0.0
        near |= halves == np.uint16(0x8000)
    rows = np.flatnonzero(near)
    keys = to_keys(values[rows])
    inside = keys >> np.uint32(16) == half
    return rows[inside], (~keys[inside]).astype(np.uint16)


def _rows_with_key(values: Floats, key: int) -> Positions:
    bits = values.view(np.uint32)
    tied = bits == np.float32(from_key(key)).view(np.uint32)
    if key == 0x80000000:  # 0.0 may come as -0.0
        tied |= bits == np.uint32(0x80000000)
    return np.flatnonzero(tied)
