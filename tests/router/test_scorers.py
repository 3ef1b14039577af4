"""Scorers without a model: what they score, and that shards do not matter."""

import numpy as np
import pyarrow as pa
import pytest

from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.stages import scorers
from routelmt_ray.stages.scorers import Unscored, scaled


def length(texts: list[str]) -> np.ndarray:
    return scorers.length_scores(Unscored(texts, np.arange(len(texts)), pa.table({}), 0, []), RouterConfig("length"))


def draw(places: np.ndarray, seed: int) -> np.ndarray:
    return scorers.random_scores(Unscored([], places, pa.table({}), seed, []), RouterConfig("random"))


def column(values: pa.ChunkedArray) -> np.ndarray:
    rows = Unscored([], np.arange(len(values)), pa.table({"mine": values}), 0, [])
    return scorers.column_scores(rows, RouterConfig("column", column="mine"))


def test_length_counts_characters() -> None:
    assert length(["", "abc", "ä€𝄞"]).tolist() == [0.0, 3.0, 3.0]
    assert length(["a"]).dtype == np.float32


def test_random_is_uniform_seeded_and_a_function_of_the_place_alone() -> None:
    places = np.arange(20_000)
    draws = draw(places, 3)
    assert draws.dtype == np.float32
    assert np.array_equal(draws[700:900], draw(places[700:900], 3))
    assert not np.array_equal(draws, draw(places, 4))
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(np.histogram(draws, 10, (0, 1))[0] - 2000).max() < 250


def test_a_column_of_any_number_type_with_holes() -> None:
    assert column(pa.chunked_array([[1, 2], [3]])).tolist() == [1.0, 2.0, 3.0]
    holes = column(pa.chunked_array([[0.5, None, float("nan"), float("inf"), 1e300, -0.0]]))
    assert np.isnan(holes).tolist() == [False, True, True, True, True, False]
    assert np.isnan(column(pa.chunked_array([pa.nulls(2)]))).all()


def test_integers_that_are_no_scores_are_not_scored() -> None:
    for kind in (pa.int64(), pa.uint64()):
        scores = column(pa.chunked_array([pa.array([2**53 - 1, 2**53, 2**60 + 1, None, 3], kind)]))
        assert np.isnan(scores).tolist() == [False, True, True, True, False]
    negative = column(pa.chunked_array([[1 - 2**53, -(2**53), -(2**63)]]))
    assert np.isnan(negative).tolist() == [False, True, True]
    assert np.isnan(column(pa.chunked_array([pa.array([2**64 - 1], pa.uint64())]))).all()


@pytest.mark.filterwarnings("error")
def test_a_scale_that_overflows_leaves_rows_without_a_score() -> None:
    scores = np.array([0.5, 2.0, -3.0, np.nan, 0.0], np.float32)
    assert scaled(scores, 2.0, 1.0).tolist()[:3] == [2.0, 5.0, -5.0]
    assert scaled(scores, 2.0, 1.0).dtype == np.float32
    assert np.isnan(scaled(scores, 3e38, 0.0)).tolist() == [False, True, True, True, False]
    assert np.isnan(scaled(scores, 1e300, 0.0)).tolist() == [True, True, True, True, False]
