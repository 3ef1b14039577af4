"""A pass travels, adds up over shards, and refuses what no pass gives."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.budget import Cut, Histogram, Search
from tests.budget.corpora import place_shards, weighted_corpora
from tests.budget.selection import select_prefix, select_top_k


def test_shards_may_be_counted_in_any_order_by_pickled_searches():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 4, size=5_000).astype(np.float32)
    weights = rng.integers(1, 50, size=5_000)
    for state, whole in (
        (Search(k=1_900, seed=9), select_top_k(values, 1_900, weights=weights, seed=9)),
        (Search(capacity=45_000, seed=9), select_prefix(values, weights, 45_000, seed=9)),
    ):
        shards = place_shards(range(700, 5_000, 700), values, weights)
        passes = 0
        while isinstance(state, Search):
            assert len(pickle.dumps(state)) < 500
            rng.shuffle(shards)
            parts = [pickle.loads(pickle.dumps(state)).histogram(shard, place, heavy) for place, shard, heavy in shards]
            state = state.advance(sum(pickle.loads(pickle.dumps(parts)), Histogram()))
            passes += 1
        assert state == whole
        assert passes <= 4


@settings(deadline=None)
@given(corpus=weighted_corpora(), capacity=st.integers(0, 2**62), data=st.data())
def test_histograms_of_slices_add_up(corpus, capacity, data):
    values, edges, weights = corpus
    state = data.draw(st.sampled_from([Search(capacity=capacity), Search(k=capacity % 61)]))
    while isinstance(state, Search):
        whole = state.histogram(values, 0, weights)
        parts = [state.histogram(shard, place, heavy) for place, shard, heavy in place_shards(edges, values, weights)]
        total = sum(parts, Histogram())
        assert (total.rows == whole.rows).all() and (total.by_weight == whole.by_weight).all()
        state = state.advance(whole)


def test_first_pass_counts_the_eligible():
    values = np.array([1, -1, np.nan, 0, -0.0], dtype=np.float32)
    histogram = Search(k=1).histogram(values, 0)
    assert histogram.weights is None
    assert histogram.rows.sum() == 4
    assert histogram.rows[0x7FFF] == 2  # both zeros
    histogram = Search(k=1).histogram(values, 0, [10, 20, 40, 80, 160])
    assert histogram.rows.sum() == 4
    assert histogram.weights.sum() == 270
    assert histogram.weights[0x7FFF] == 240


def test_a_bin_taken_whole_ends_the_search():
    values = np.array([3, 2, 2, 2, 1], dtype=np.float32)
    for state in (Search(k=4), Search(capacity=4)):
        passes = 0
        while isinstance(state, Search):
            state, passes = state.advance(state.histogram(values, 0)), passes + 1
        assert (state.k, state.threshold, state.tie, passes) == (4, 2.0, None, 2)


def test_exactly_one_limit():
    for limits in ({}, {"k": 3, "capacity": 3}):
        with pytest.raises(TypeError, match=r"k is .* and capacity is .*; give one of them"):
            Search(**limits)
    for name in ("k", "capacity"):
        with pytest.raises(ValueError, match=f"{name} is -1; it must be an integer >= 0"):
            Search(**{name: -1})
        with pytest.raises(TypeError, match=f"{name} is 0.5; it must be an integer >= 0"):
            Search(**{name: 0.5})
    with pytest.raises(ValueError, match=r"seed is 18446744073709551616; .*\[0, 2\*\*64\)"):
        Search(k=1, seed=2**64)
    assert Search(k=1).seed == Cut(k=1, weight=1, n_eligible=1, threshold=0.5, tie=None).seed == 0


def test_changed_weights_are_refused():
    values = np.zeros(3, dtype=np.float32)
    state = Search(capacity=4)
    state = state.advance(state.histogram(values, 0, [3, 3, 3]))
    with pytest.raises(ValueError, match="found 3 rows of weight 3 where the pass before found 3 of weight 9"):
        state.advance(state.histogram(values, 0))


def test_rows_need_places_of_their_own():
    state, row = Search(k=1), np.zeros(1, dtype=np.float32)

    def twice():
        return state.histogram(row, 4) + state.histogram(row, 4)

    for _ in range(5):
        state = state.advance(twice())
    with pytest.raises(ValueError, match="2 rows share one place"):
        state.advance(twice())
