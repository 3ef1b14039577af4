"""Shards cut a corpus by place: every row in exactly one shard, in order, whatever the files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.shards import Shard, ShardPlan, Span


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 9))
def test_spans_give_every_row_once_and_in_order(file_rows: list[int], shard_rows: int) -> None:
    files = [f"file-{i}" for i in range(len(file_rows))]
    plan = ShardPlan(files, file_rows, shard_rows)
    shards = [plan[i] for i in range(len(plan))]
    rows = [(s.file, row) for shard in shards for s in shard.spans for row in range(s.start, s.stop)]
    assert rows == [(file, row) for file, n in zip(files, file_rows) for row in range(n)]
    assert [shard.first_place for shard in shards] == list(range(0, sum(file_rows), shard_rows))
    assert all(shard.rows == shard_rows for shard in shards[:-1])
    assert plan.rows == sum(file_rows)


def test_small_files_share_a_shard_and_large_ones_give_many() -> None:
    plan = ShardPlan(["a", "b", "c"], [2, 0, 6], 4)
    assert plan[0] == Shard(0, 0, 4, (Span("a", 0, 2), Span("c", 0, 2)))
    assert plan[1] == Shard(1, 4, 4, (Span("c", 2, 6),))
    with pytest.raises(IndexError):
        plan[2]


def test_a_stretch_is_any_run_of_places() -> None:
    plan = ShardPlan(["a", "b"], [3, 5], 4)
    assert plan.stretch(2, 6, 9) == Shard(9, 2, 4, (Span("a", 2, 3), Span("b", 0, 3)))
    assert plan.stretch(3, 4, 0).spans == (Span("b", 0, 1),)


def test_a_million_files_are_cut_quickly_and_a_billion_rows_need_no_list() -> None:
    assert ShardPlan([str(i) for i in range(1_000_000)], [3] * 1_000_000, 30)[99_999].spans[-1] == Span("999999", 0, 3)
    huge = ShardPlan(["huge"], [10**9], 32_768)
    assert huge[len(huge) - 1].spans == (Span("huge", 999_981_056, 10**9),)
