"""Keys of segments, groups of equal keys by brute force, and the cut of a corpus into sections."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.corpus import repeats
from routelmt_ray.corpus.repeats import Keys, Sections, first_of, keys_of, rows_at
from routelmt_ray.corpus.shards import ShardPlan

PARTS = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))


def first_by_a_dict(rows: list[tuple[int, ...]]) -> list[int]:
    seen: dict[tuple[int, ...], int] = {}
    return [seen.setdefault(row, number) for number, row in enumerate(rows)]


@given(st.lists(PARTS, max_size=40))
def test_the_first_row_of_a_key_is_found_also_where_parts_of_keys_are_equal(rows: list[tuple[int, int, int]]) -> None:
    high, low, size = (np.array([row[part] for row in rows], np.int64) for part in range(3))
    found = first_of(Keys(high.astype(np.uint64), low.astype(np.uint64), size))
    assert found.tolist() == first_by_a_dict(rows)


@given(st.lists(st.integers(0, 20), unique=True).map(sorted), st.lists(st.integers(0, 21), max_size=9))
def test_a_row_is_found_by_its_place_and_never_another_one(places: list[int], wanted: list[int]) -> None:
    known, asked = np.array(places, np.int64), np.array(wanted, np.int64)
    if set(wanted) <= set(places):
        assert rows_at(known, asked).tolist() == [places.index(place) for place in wanted]
    else:
        with pytest.raises(LookupError, match=f"{len(wanted)} places are wanted"):
            rows_at(known, asked)


TEXTS = st.lists(
    st.tuples(st.sampled_from(["", "a", "b", "ab", "é", "e\u0301", "\ud800"]), st.sampled_from(["en→de", "en→fr"]))
)


@given(TEXTS)
def test_rows_have_one_key_if_text_and_languages_are_equal(rows: list[tuple[str, str]]) -> None:
    keys = keys_of([text for text, _ in rows], [pair for _, pair in rows])
    assert first_of(keys).tolist() == first_by_a_dict(rows)  # type: ignore[arg-type]
    assert keys.size.tolist() == [len(text.encode(errors="surrogatepass")) for text, _ in rows]


def test_a_key_is_the_published_hash() -> None:
    keys = keys_of(["Guten Tag"], ["de→en"])
    # printf 'de→en\0Guten Tag' | b2sum --length 128
    assert f"{keys.high[0]:016x}{keys.low[0]:016x}" == "352caefea272daf790657aef9d893bc8"


@given(st.integers(0, 90), st.integers(1, 7), st.integers(1, 30), st.integers(1, 5))
def test_sections_are_runs_of_whole_shards(rows: int, shard_rows: int, section_rows: int, most: int) -> None:
    plan = ShardPlan(["a", "b"], [rows // 3, rows - rows // 3], shard_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "SECTION_ROWS", section_rows)
        patch.setattr(repeats, "MOST_SECTIONS", most)
        sections = Sections.of(plan)
    assert sections.count <= most
    cut = [list(sections.shards_of(sections.section(plan, number))) for number in range(sections.count)]
    assert [shard for section in cut for shard in section] == [plan[i] for i in range(len(plan))]
    for number, section in enumerate(cut):
        for group, shard in enumerate(section):
            assert sections.group_of(shard.index) == (number, group)
            places = np.arange(shard.first_place, shard.first_place + shard.rows)
            assert set(sections.of_places(places)) == {number}


def test_keys_are_spread_over_partitions_in_their_order() -> None:
    keys = keys_of([str(i) for i in range(4000)], ["en→de"] * 4000)
    parts = Sections(10, 1, 8).of_keys(keys)
    assert np.bincount(parts).min() > 400 and len(np.bincount(parts)) == 8
    order = np.argsort(keys.high)
    assert (np.diff(parts[order]) >= 0).all()
    edges = Keys(np.array([0, 2**64 - 1], np.uint64), np.zeros(2, np.uint64), np.zeros(2, np.int64))
    assert Sections(10, 1, 1024).of_keys(edges).tolist() == [0, 1023]


def test_a_large_corpus_has_as_many_sections_as_can_be_read_and_a_smaller_one_enough_for_many_workers() -> None:
    assert Sections.of(ShardPlan(["huge"], [10**10], 32_768)).count == 1021
    assert Sections.of(ShardPlan(["large"], [10**8], 32_768)).count == 96
    assert Sections.of(ShardPlan(["medium"], [10**6], 32_768)) == Sections(32_768, 2, 16)
    assert Sections.of(ShardPlan(["small"], [60_000], 32_768)) == Sections(32_768, 2, 1)
    assert Sections.of(ShardPlan([], [], 9)).count == 0
