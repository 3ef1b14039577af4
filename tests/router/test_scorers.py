"""Scorers without a model: what they score, and that shards do not matter."""

import numpy as np
import pyarrow as pa

from routelmt_ray.router.scorers import column_scores, length_scores, random_scores


def test_length_counts_characters() -> None:
    assert length_scores(["", "abc", "ä€𝄞"]).tolist() == [0.0, 3.0, 3.0]
    assert length_scores(["a"]).dtype == np.float32


def test_random_is_uniform_seeded_and_a_function_of_the_place_alone() -> None:
    places = np.arange(20_000)
    draws = random_scores(places, 3)
    assert draws.dtype == np.float32
    assert np.array_equal(draws[700:900], random_scores(places[700:900], 3))
    assert not np.array_equal(draws, random_scores(places, 4))
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(np.histogram(draws, 10, (0, 1))[0] - 2000).max() < 250


def test_a_column_of_any_number_type_with_holes() -> None:
    assert column_scores(pa.chunked_array([[1, 2], [3]])).tolist() == [1.0, 2.0, 3.0]
    holes = column_scores(pa.chunked_array([[0.5, None, float("nan"), float("inf"), 1e300, -0.0]]))
    assert np.isnan(holes).tolist() == [False, True, True, True, True, False]
    assert np.isnan(column_scores(pa.chunked_array([pa.nulls(2)]))).all()
