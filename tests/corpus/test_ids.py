"""Ids: exact while they are few, close when they are many, in bounded memory."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.corpus import ids
from routelmt_ray.corpus.ids import IdCount, count_ids, id_keys


@settings(deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.integers(0, 20))), shard_rows=st.integers(1, 10))
def test_few_ids_are_counted_exactly(values: list[int | None], shard_rows: int) -> None:
    shards = [values[i : i + shard_rows] for i in range(0, len(values), shard_rows)]
    known = [value for value in values if value is not None]
    found = count_ids(pa.chunked_array([id_keys(pa.chunked_array([pa.array(s, pa.int64())]))]) for s in shards)
    assert found == IdCount(len(values) - len(known), len(known) - len(set(known)), True)


def test_many_ids_are_estimated_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "MOST_KEPT", 5_000)
    rng = np.random.default_rng(3)

    def shards() -> Iterator[pa.ChunkedArray]:
        for _ in range(40):
            yield pa.chunked_array(
                [pa.array(rng.integers(0, 60_000, 5_000).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))]
            )

    found = count_ids(shards())
    assert not found.exact
    expected = 200_000 - 60_000 * (1 - (1 - 1 / 60_000) ** 200_000)
    assert found.duplicates == pytest.approx(expected, rel=0.05)


def test_equal_ids_of_other_types_and_of_invalid_bytes_have_equal_keys() -> None:
    invalid = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"\xff"]).buffers())
    kinds = [
        pa.array(["a", "a"]),
        pa.array(["a", "a"]).dictionary_encode(),
        pa.array(["a", "a"], pa.string_view()),
        invalid,
    ]
    keys = [id_keys(pa.chunked_array([kind])).to_pylist() for kind in kinds]
    assert all(one == other for one, other in keys)
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert id_keys(pa.chunked_array([pa.array([[1], None, {"a": 1}["a"] and [1]])])).to_pylist()[1] is None
