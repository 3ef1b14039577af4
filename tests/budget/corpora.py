"""Corpora full of ties for property tests, and the selection by brute force."""

import math
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from routelmt_ray.budget.keys import mix

INFO = np.finfo(np.float32)
TINY = float(INFO.smallest_subnormal)

# Every kind of tie and near tie: one or two values, signed zeros, values that share high bits, anything.
VALUES = st.one_of(
    st.just([0.25]),
    st.just([0.25, -0.25]),
    st.just([0.0, -0.0, TINY, -TINY, 2 * TINY, float("nan")]),
    st.just([1.0, 1.0 + float(INFO.eps), 1.0 + 2 * float(INFO.eps), -1.0, -1.0 - float(INFO.eps)]),
    st.just([float(INFO.max), -float(INFO.max), float(INFO.tiny), float("nan"), 0.0]),
    st.just([float("nan")]),
    st.lists(st.floats(width=32, allow_infinity=False), min_size=1, max_size=40),
)
# One weight; weights a double does not hold exactly; weights of very different size. 60 rows stay within 2**62.
WEIGHTS = st.sampled_from([[1], [7], [1, 2, 3], [1, 2**53, 2**53 + 1], [1, 10**6, 2**35, 2**56 - 1]])
# Odd sizes that cut through chunks, and the real one.
CHUNK_ROWS = st.sampled_from([1, 2, 5, 1 << 18])


@st.composite
def corpora(draw):
    """float32 values, shape (rows,), and the edges of a random division into shards."""
    values = draw(VALUES)
    rows = draw(st.lists(st.sampled_from(values), max_size=60))
    return np.array(rows, dtype=np.float32), draw(st.lists(st.integers(0, len(rows)), max_size=6).map(sorted))


@st.composite
def weighted_corpora(draw):
    """Values and edges as `corpora`, and int64 weights, shape (rows,); not eligible rows may weigh anything."""
    values, edges = draw(corpora())
    heavy = draw(WEIGHTS)
    weights = np.array([draw(st.sampled_from(heavy)) for _ in values], dtype=np.int64)
    weights[np.isnan(values)] = draw(st.sampled_from([0, -1, 1, 2**63 - 1, -(2**63)]))
    return values, edges, weights


def full_sort(values, seed):
    """Places of all eligible rows, best first."""
    places = [place for place, value in enumerate(values.tolist()) if not math.isnan(value)]
    mixes = mix(np.arange(len(values), dtype=np.uint64), seed).tolist()
    return sorted(places, key=lambda place: (-float(values[place]), mixes[place], place))


def longest_prefix(places, weights, capacity):
    """The places up to the first that does not fit, by a cumulative sum of Python integers."""
    total = 0
    for position, place in enumerate(places):
        total += int(weights[place])
        if total > capacity:
            return places[:position]
    return places


def place_shards(edges, *arrays):
    """(first place, the arrays' rows) of every shard."""
    bounds = [0, *edges, len(arrays[0])]
    return [(start, *(array[start:end] for array in arrays)) for start, end in pairwise(bounds)]
