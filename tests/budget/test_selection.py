"""The selection equals a full sort by (gain descending, mix ascending, place)."""

import math
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.budget import Cut, Search, select_top_k
from routelmt_ray.budget import cut as cut_module
from routelmt_ray.budget import selection as selection_module
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


@st.composite
def corpora(draw):
    """float32 gains, shape (rows,), and the same cut into shards at random."""
    values = draw(VALUES)
    rows = draw(st.lists(st.sampled_from(values), max_size=60))
    gains = np.array(rows, dtype=np.float32)
    edges = draw(st.lists(st.integers(0, len(rows)), max_size=6).map(sorted))
    return gains, np.split(gains, edges)


def full_sort(gains, k, seed):
    """Places of the selected rows, best first, by brute force."""
    places = [place for place, gain in enumerate(gains.tolist()) if not math.isnan(gain)]
    mixes = mix(np.arange(len(gains), dtype=np.uint64), seed).tolist()
    return sorted(places, key=lambda place: (-float(gains[place]), mixes[place], place))[:k]


@settings(max_examples=400, deadline=None)
@given(
    corpus=corpora(),
    k=st.integers(0, 70),
    seed=st.integers(0, 2**64 - 1),
    chunk_rows=st.sampled_from([1, 2, 5, 1 << 18]),
)
def test_equals_a_full_sort(corpus, k, seed, chunk_rows):
    gains, shards = corpus
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection_module, "CHUNK_ROWS", chunk_rows)
        patch.setattr(cut_module, "CHUNK_ROWS", chunk_rows)
        cut = select_top_k(shards, k, seed=seed)
        best = full_sort(gains, k, seed)
        assert np.flatnonzero(cut.mask(gains, 0)).tolist() == sorted(best)
    assert cut.k == len(best) == min(k, cut.n_eligible)
    assert cut.n_eligible == np.count_nonzero(~np.isnan(gains))
    assert cut.threshold == (gains[best[-1]] if best else None)
    # The same cut whatever the shards and however they are handed over.
    assert cut == select_top_k(gains, k, seed=seed)
    assert cut == select_top_k(lambda: iter(shards), k, seed=seed)
    # Any slice is decided alone.
    whole = cut.mask(gains, 0)
    first_place = 0
    for shard in shards:
        assert cut.mask(shard, first_place).tolist() == whole[first_place : first_place + len(shard)].tolist()
        first_place += len(shard)


@settings(deadline=None)
@given(corpus=corpora(), k=st.integers(0, 70), seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_seed_moves_ties_but_not_the_gains_chosen(corpus, k, seeds):
    gains, shards = corpus
    chosen = [np.sort(gains[select_top_k(shards, k, seed=seed).mask(gains, 0)]) for seed in seeds]
    assert (chosen[0] == chosen[1]).all()


@pytest.mark.parametrize("scale", [1e-41, 1e-3, 6e37])
def test_many_rows_equal_a_full_sort(scale):
    rng = np.random.default_rng(0)
    gains = (np.round(rng.normal(size=200_000), 3) * scale).astype(np.float32)
    gains[rng.random(len(gains)) < 0.1] = np.nan
    best = full_sort(gains, len(gains), 5)
    for k in (1, 60_000, 179_000):
        cut = select_top_k(np.array_split(gains, 7), k, seed=5)
        assert np.flatnonzero(cut.mask(gains, 0)).tolist() == sorted(best[:k])


def test_shards_may_be_counted_in_any_order_by_pickled_searches():
    rng = np.random.default_rng(1)
    gains = rng.integers(0, 4, size=5_000).astype(np.float32)
    shards = [(place, gains[place : place + 700]) for place in range(0, len(gains), 700)]
    state = Search(1_900, seed=9)
    passes = 0
    while isinstance(state, Search):
        assert len(pickle.dumps(state)) < 500
        rng.shuffle(shards)
        state = state.advance(sum(pickle.loads(pickle.dumps(state)).histogram(shard, place) for place, shard in shards))
        passes += 1
    assert state == select_top_k(gains, 1_900, seed=9)
    assert passes <= 4


def test_first_pass_counts_the_eligible():
    histogram = Search(1).histogram(np.array([1, -1, np.nan, 0, -0.0], dtype=np.float32), 0)
    assert histogram.dtype == np.int64
    assert histogram.shape == (65536,)
    assert histogram.sum() == 4
    assert histogram[0x7FFF] == 2  # both zeros


def test_ties_at_the_cut_are_drawn_evenly():
    gains = np.zeros(100_000, dtype=np.float32)
    for seed in range(3):
        routed = select_top_k(gains, 30_000, seed=seed).mask(gains, 0)
        assert routed.sum() == 30_000
        tenths = routed.reshape(10, -1).sum(axis=1)
        # Chi-square with 9 degrees of freedom exceeds 27.9 once in a thousand; the draw is seeded.
        assert ((tenths - 3_000) ** 2 / (3_000 * 0.7)).sum() < 27.9
        neighbours = np.corrcoef(routed[:-1], routed[1:])[0, 1]
        assert abs(neighbours) < 0.013


def test_memory_does_not_grow_with_the_ties():
    shard = np.full(100_000, 0.5, dtype=np.float32)

    def peak(shards):
        tracemalloc.start()
        cut = select_top_k(lambda: (shard for _ in range(shards)), 45_000 * shards)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert cut.k == 45_000 * shards
        return size

    assert peak(30) <= peak(5) * 1.05 + 100_000


def test_one_buffer_may_be_filled_again_and_again():
    rng = np.random.default_rng(2)
    gains = rng.normal(size=1_000).astype(np.float32)

    def shards():
        buffer = np.empty(10, dtype=np.float32)
        for start in range(0, len(gains), 10):
            buffer[:] = gains[start : start + 10]
            yield buffer

    assert select_top_k(shards, 300) == select_top_k(gains, 300)


def test_nothing_to_select():
    nan = np.full(3, np.nan, dtype=np.float32)
    assert select_top_k([], 5) == Cut(k=0, n_eligible=0, threshold=None)
    assert select_top_k([np.empty(0, dtype=np.float32)], 5) == Cut(k=0, n_eligible=0, threshold=None)
    assert select_top_k([nan], 5) == Cut(k=0, n_eligible=0, threshold=None)
    none = select_top_k([np.ones(3, dtype=np.float32)], 0)
    assert none == Cut(k=0, n_eligible=3, threshold=None)
    assert not none.mask(np.ones(3, dtype=np.float32), 0).any()


def test_float64_is_selected_as_float32():
    gains = np.random.default_rng(3).normal(size=1_000)
    cut = select_top_k(gains, 300)
    assert cut == select_top_k(gains.astype(np.float32), 300)
    assert cut.mask(gains, 0).sum() == 300


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_infinite_gain_is_refused_with_its_place(value):
    shards = [np.zeros(5), np.array([0.0, value, np.inf])]
    with pytest.raises(ValueError, match=r"gains at place 6 is -?inf as float32; it must be finite, or NaN"):
        select_top_k(shards, 1)


@pytest.mark.parametrize("name", ["k", "seed"])
def test_counts_are_checked(name):
    arguments = {"gains": [np.zeros(1, dtype=np.float32)], "k": 1, "seed": 0}
    with pytest.raises(ValueError, match=f"{name} is -1; it must be an integer"):
        select_top_k(**(arguments | {name: -1}))
    for value in (1.0, True, "1", None):
        with pytest.raises(TypeError, match=f"{name} is {value!r}; it must be an integer"):
            select_top_k(**(arguments | {name: value}))
    with pytest.raises(ValueError, match=r"seed is 18446744073709551616; .*\[0, 2\*\*64\)"):
        Search(1, seed=2**64)
    assert type(select_top_k(arguments["gains"], np.int64(1)).k) is int


def test_one_pass_inputs_are_refused():
    shards = [np.arange(9, dtype=np.float32)]
    with pytest.raises(TypeError, match="gains is a generator; several passes need"):
        select_top_k((shard for shard in shards), 2)
    spent = iter(shards)
    with pytest.raises(ValueError, match=r"found 0 rows where the pass before found .* fresh iterator"):
        select_top_k(lambda: spent, 2)


def test_bad_histograms_are_refused():
    with pytest.raises(ValueError, match=r"total has shape \(3,\); it must be \(65536,\)"):
        Search(1).advance(np.zeros(3, dtype=np.int64))
    state, row = Search(1), np.zeros(1, dtype=np.float32)
    for _ in range(5):
        state = state.advance(2 * state.histogram(row, 4))
    with pytest.raises(ValueError, match="2 rows share one place"):
        state.advance(2 * state.histogram(row, 4))
