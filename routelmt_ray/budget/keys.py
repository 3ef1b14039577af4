"""Bits that sort: float32 values as unsigned integers, and a seeded order among equal ones.

The selection never compares floats. It counts 16-bit digits, so it needs a value as an unsigned integer that
sorts the same way, and for rows of equal value a second number that puts them into a random yet repeatable
order.
"""

import operator
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint32]

NOT_ELIGIBLE = 0
"""The key of NaN. No finite float32 has it: the least one, -3.4e38, maps to 0x00800000."""

MIX_ROWS = 1 << 16
"""Rows mixed at once. Larger uint64 temporaries go back to the system after every chunk: 4 times slower."""

_SIGN = np.uint32(0x80000000)
_EXPONENT = np.uint32(0x7F800000)
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def as_float32(values: npt.ArrayLike) -> Floats:
    """Converts `values` to a contiguous, native float32 array, without a copy where it already is one.

    Wider floats are rounded to the nearest float32, so two values that differ by less than its precision
    become a tie; one beyond its range becomes infinite and is refused later with its place.
    """
    array = np.asarray(values)
    if array.dtype.kind != "f":
        raise TypeError(f"values has dtype {array.dtype}; it must be floating point: cast it to float32 first")
    if array.ndim != 1:
        raise ValueError(f"values has shape {array.shape}; it must be one-dimensional, (rows,)")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def high_halves(values: Floats) -> npt.NDArray[np.uint16]:
    """Returns a view of the high 16 bits (sign, exponent, 7 of 23 mantissa bits) of contiguous float32."""
    return values.view(np.uint16)[1 if sys.byteorder == "little" else 0 :: 2]


def check_finite(values: Floats, first_place: int = 0) -> None:
    """Refuses infinite values; NaN passes."""
    infinite = (values.view(np.uint32) & _MAGNITUDE) == _EXPONENT
    if infinite.any():
        row = int(infinite.argmax())
        raise ValueError(
            f"value at place {first_place + row} is {values[row]} as float32; it must be finite, or NaN for "
            "a row that is not eligible: repair the scorer, or set that row to NaN"
        )


def to_keys(values: Floats, first_place: int = 0) -> Bits:
    """Maps float32 to uint32 so that a greater value has a greater key.

    Positive floats already sort as their bits do, negative ones the other way round: flip the sign bit of the former
    and all bits of the latter. -0.0 takes the key of 0.0; NaN takes `NOT_ELIGIBLE`, below every value. Integers are
    compared rather than floats because a library in the same process may have set the CPU to flush denormals, which
    would make ties of them. Raises ValueError if some value is infinite, and names the first such place.
    """
    check_finite(values, first_place)
    bits = values.view(np.uint32)
    keys = np.where(bits < _SIGN, bits ^ _SIGN, ~bits)
    keys[bits == _SIGN] = _SIGN
    keys[(bits & _MAGNITUDE) > _EXPONENT] = NOT_ELIGIBLE
    return keys


def from_key(key: int) -> float:
    """Recovers the float32 value behind a key of `to_keys`, as a Python float that holds it exactly; `NOT_ELIGIBLE`
    gives NaN."""
    bits = key ^ 0x80000000 if key & 0x80000000 else key ^ 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))


def mix(places: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Scatters places over the 64-bit integers, as a function of the seed.

    For each seed this is a bijection of uint64: a multiplication by an odd number, an addition, and the
    finalizer of SplitMix64 (Steele, Lea, Flood 2014; constants of Stafford's variant 13), whose every step
    can be undone. So no two places have the same mix, and an order by (value, mix) is already total: the
    place itself never has to decide.
    """
    mixes = places * np.uint64(_GOLDEN)
    mixes += np.uint64(_offset(seed))
    _finalize(mixes)
    return mixes


def check_count(name: str, value: Any, *, bits: int | None = None) -> int:
    """Converts `value`, of any integer type, to an int, and refuses one below 0 or not below 2**bits."""
    bound = "an integer >= 0" if bits is None else f"an integer in [0, 2**{bits})"
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; it must be {bound}") from None
    if number < 0 or (bits is not None and number >> bits):
        raise ValueError(f"{name} is {number}; it must be {bound}")
    return number


def _offset(seed: int) -> int:
    # Added as it is, a seed greater by _GOLDEN would give the same order one place on.
    state = np.array([(seed * _GOLDEN + _GOLDEN) & _WORD], dtype=np.uint64)
    _finalize(state)
    return int(state[0])


def _finalize(z: npt.NDArray[np.uint64]) -> None:
    # In place and with one scratch array: fresh memory for every step would cost four times the arithmetic.
    scratch = z >> np.uint64(30)
    z ^= scratch
    z *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(z, np.uint64(27), out=scratch)
    z ^= scratch
    z *= np.uint64(0x94D049BB133111EB)
    np.right_shift(z, np.uint64(31), out=scratch)
    z ^= scratch
