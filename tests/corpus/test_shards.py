"""Shards cut a corpus by place: every row in exactly one shard, in order, for any files."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.corpus.shards import Shard, ShardPlan, Span


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
    for index in (2, -1):
        with pytest.raises(IndexError):
            plan[index]


def test_a_stretch_is_any_run_of_places() -> None:
    plan = ShardPlan(["a", "b"], [3, 5], 4)
    assert plan.stretch(2, 6, 9) == Shard(9, 2, 4, (Span("a", 2, 3), Span("b", 0, 3)))
    assert plan.stretch(3, 4, 0).spans == (Span("b", 0, 1),)


class Counted(list[str]):
    """Names that count how often they are looked at."""

    looks = 0

    def __getitem__(self, at: Any) -> Any:
        self.looks += 1
        return super().__getitem__(at)


def test_a_shard_of_a_million_files_looks_at_its_own() -> None:
    files = Counted(str(i) for i in range(1_000_000))
    plan = ShardPlan(files, [3] * 1_000_000, 30)
    assert plan[99_999].spans == tuple(Span(str(i), 0, 3) for i in range(999_990, 1_000_000))
    assert files.looks == 10


def test_a_billion_rows_need_no_list() -> None:
    tracemalloc.start()
    huge = ShardPlan(["huge"], [10**9], 32_768)
    assert len(huge) == 30_518
    assert huge[len(huge) - 1] == Shard(30_517, 999_981_056, 18_944, (Span("huge", 999_981_056, 10**9),))
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_a_corpus_without_files_has_no_shard() -> None:
    assert (len(ShardPlan([], [], 9)), ShardPlan([], [], 9).rows) == (0, 0)
