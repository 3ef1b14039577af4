"""Batches are a function of the lengths, within their bounds; a failure stays with its row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.engines import EngineDead
from routelmt_ray.engines.batching import length_batches, run_isolating


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), max_size=60), st.integers(1, 9), st.integers(1, 400))
def test_every_row_is_in_one_batch_within_the_bounds(
    rows: list[tuple[int, int]], max_rows: int, max_tokens: int
) -> None:
    lengths, rooms = [length for length, _ in rows], [room for _, room in rows]
    batches = length_batches(lengths, rooms, max_rows, max_tokens)
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    for batch in batches:
        padded = len(batch) * (max(lengths[i] for i in batch) + max(rooms[i] for i in batch))
        assert len(batch) <= max_rows
        assert len(batch) == 1 or padded <= max_tokens
    sizes = [lengths[i] + rooms[i] for batch in batches for i in batch]
    assert sizes == sorted(sizes, reverse=True)


def test_rows_of_like_length_share_a_batch() -> None:
    assert length_batches([5, 50, 6, 49], [0] * 4, 2, 1000) == [[1, 3], [2, 0]]


@given(st.sets(st.integers(0, 19)))
def test_only_the_rows_that_fail_alone_are_failed(poison: set[int]) -> None:
    def run(rows: list[int]) -> list[str]:
        if poison & set(rows):
            raise ValueError("poison")
        return [f"ok {row}" for row in rows]

    results = run_isolating(run, list(range(20)), lambda error: f"failed: {error}", ())
    assert results == ["failed: poison" if row in poison else f"ok {row}" for row in range(20)]


def test_a_fatal_error_is_raised_at_once() -> None:
    calls = []

    def run(rows: list[int]) -> list[str]:
        calls.append(rows)
        raise ConnectionError("the device is gone")

    with pytest.raises(EngineDead, match="ConnectionError: the device is gone"):
        run_isolating(run, [1, 2, 3], str, (ConnectionError,))
    assert calls == [[1, 2, 3]]
