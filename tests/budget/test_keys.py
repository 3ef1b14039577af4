"""Keys sort as floats do."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.budget.keys import NOT_ELIGIBLE, as_float32, check_count, from_key, mix, to_keys

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(a=FLOAT32, b=FLOAT32)
def test_keys_sort_as_values(a, b):
    x, y = (int(key) for key in to_keys(np.array([a, b], dtype=np.float32)))
    assert (x < y, x == y, x > y) == (a < b, a == b, a > b)
    assert x > NOT_ELIGIBLE


@settings(deadline=None)
@given(value=FLOAT32)
def test_key_gives_its_value_back(value):
    assert from_key(int(to_keys(np.array([value], dtype=np.float32))[0])) == value


def test_extremes():
    info = np.finfo(np.float32)
    tiny = np.float32(info.smallest_subnormal)
    values = np.array([-info.max, -1, -tiny, -0.0, 0.0, tiny, info.tiny, 1, info.max], dtype=np.float32)
    keys = to_keys(values)
    assert keys[3] == keys[4] == 0x80000000
    assert (np.diff(np.delete(keys, 3).astype(np.int64)) > 0).all()


def test_every_nan_is_not_eligible():
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], dtype=np.uint32)
    assert (to_keys(bits.view(np.float32)) == NOT_ELIGIBLE).all()
    assert np.isnan(from_key(NOT_ELIGIBLE))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_refused_with_its_place(value):
    values = np.array([0, np.nan, value, np.inf], dtype=np.float32)
    with pytest.raises(ValueError, match=rf"value at place 102 is {value} as float32; it must be finite, or NaN"):
        to_keys(values, first_place=100)


def test_wider_floats_are_rounded():
    assert as_float32([0.1, 1e-60]).tolist() == [float(np.float32(0.1)), 0.0]
    with pytest.raises(ValueError, match="place 1 is inf as float32"):
        to_keys(as_float32([0.0, 1e300]))


def test_no_copy_of_float32():
    values = np.zeros(3, dtype=np.float32)
    assert as_float32(values) is values
    assert as_float32(np.array([1.5], dtype=">f4")).tolist() == [1.5]


GOLDEN, WORD = 0x9E3779B97F4A7C15, 2**64 - 1


def split_mix(state):
    """SplitMix64 of one step, as published: prng.di.unimi.it/splitmix64.c."""
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
    return z ^ (z >> 31)


def test_the_mix_is_split_mix():
    # The first values from the seed 1234567, as Rosetta Code lists them for this generator.
    assert [split_mix(1234567 + n * GOLDEN & WORD) for n in (1, 2)] == [6457827717110365317, 3203168211198807973]
    places = np.array([0, 1, 99, 2**40, 2**64 - 1], dtype=np.uint64)
    for seed in (0, 7, 2**64 - 1):
        offset = split_mix((seed + 1) * GOLDEN & WORD)
        assert mix(places, seed).tolist() == [split_mix(place * GOLDEN + offset & WORD) for place in places.tolist()]
    assert places.tolist() == [0, 1, 99, 2**40, 2**64 - 1]


def test_counts_have_their_bounds():
    assert [check_count("n", n, bits=64) for n in (0, np.uint64(2**64 - 1))] == [0, 2**64 - 1]
    assert check_count("n", 2**64) == 2**64
    for n in (-1, 2**64):
        with pytest.raises(ValueError, match=rf"n is {n}; it must be an integer in \[0, 2\*\*64\)"):
            check_count("n", n, bits=64)
    with pytest.raises(TypeError, match="n is True; it must be an integer >= 0"):
        check_count("n", True)


@pytest.mark.parametrize("values", [[1, 2], [True], ["a"]])
def test_only_floats_are_values(values):
    with pytest.raises(TypeError, match="it must be floating point"):
        as_float32(values)


@pytest.mark.parametrize("values", [0.5, [[0.5]]])
def test_only_one_dimension(values):
    with pytest.raises(ValueError, match="one-dimensional"):
        as_float32(values)


def test_import_is_light():
    code = "import sys, routelmt_ray.budget; sys.exit(any(m in sys.modules for m in ('ray', 'torch', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
