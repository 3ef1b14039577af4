"""The mix is a bijection of the published kind, and the selection reads all of its digits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.budget import Histogram, Search
from routelmt_ray.budget.keys import mix

UINT64 = st.integers(0, 2**64 - 1)
MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """Finalizer of SplitMix64 in plain Python, after https://prng.di.unimi.it/splitmix64.c."""
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def unmix(mixed: int, seed: int) -> int:
    """The place whose mix is `mixed`: every step of the mix undone, in plain Python."""

    def unshift(z: int, by: int) -> int:
        x = z
        for _ in range(64 // by + 1):
            x = z ^ (x >> by)
        return x

    z = unshift(mixed, 31) * pow(0x94D049BB133111EB, -1, 2**64) & MASK
    z = unshift(z, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) & MASK
    z = unshift(z, 30)
    golden = 0x9E3779B97F4A7C15
    return (z - splitmix64((seed * golden + golden) & MASK)) * pow(golden, -1, 2**64) & MASK


def test_published_splitmix64_values():
    # First two outputs from state 0, as listed with the reference implementation.
    assert splitmix64(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    assert splitmix64(2 * 0x9E3779B97F4A7C15 & MASK) == 0x6E789E6AA1B965F4


@settings(deadline=None)
@given(place=UINT64, seed=UINT64)
def test_mix_can_be_undone(place, seed):
    mixed = int(mix(np.array([place], dtype=np.uint64), seed)[0])
    assert unmix(mixed, seed) == place


def test_neighbouring_seeds_order_differently():
    places = np.arange(1000, dtype=np.uint64)
    orders = [np.argsort(mix(places, seed)) for seed in range(3)]
    assert np.mean(orders[0] == orders[1]) < 0.02
    assert np.mean(orders[1] == orders[2]) < 0.02


def test_ties_fall_to_the_last_digit_of_the_mix():
    seed, mixes = 11, [0xABCD_0123_4567_0000 + low for low in (3, 9, 4, 77, 50)]
    places = [unmix(mixed, seed) for mixed in mixes]
    row = np.array([0.5], dtype=np.float32)
    for k in range(1, 6):
        state, passes = Search(k=k, seed=seed), 0
        while isinstance(state, Search):
            parts = (state.histogram(row, place) for place in places)
            state, passes = state.advance(sum(parts, Histogram())), passes + 1
        assert [bool(state.mask(row, place)[0]) for place in places] == [m <= sorted(mixes)[k - 1] for m in mixes]
        assert passes == (6 if k < 5 else 2)
