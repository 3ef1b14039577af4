"""The store of a memory, by brute force, here and where its parts are gone, damaged or of another shape."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routelmt_ray.corpus import memory
from routelmt_ray.corpus.memory import Memory, open_memory
from routelmt_ray.corpus.repeats import Keys, keys_of

IDENTITY = {"model": "m", "prompt": "p"}


def sorted_keys(texts: list[str]) -> tuple[Keys, list[str]]:
    """Keys in ascending order, and the texts in that order."""
    keys = keys_of(texts, ["en→de"] * len(texts))
    order = np.argsort(keys.high)
    return Keys(keys.high[order], keys.low[order], keys.size[order]), [texts[i] for i in order]


def add(store: Memory, texts: list[str], mark: str = "") -> int:
    keys, texts = sorted_keys(texts)
    return store.add(keys, [f"{text} {mark}" for text in texts])


def found(store: Memory, texts: list[str]) -> dict[str, str]:
    """Looks texts up in the store."""
    keys, texts = sorted_keys(texts)
    numbers, translations = store.find(keys)
    assert numbers.tolist() == sorted(set(numbers.tolist()))
    return {texts[i]: text for i, text in zip(numbers, translations)}


TEXTS = st.lists(st.integers(0, 60).map(lambda n: f"text {n}"), max_size=40, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS.filter(bool), max_size=5), TEXTS)
def test_it_has_what_was_added_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, nights: list[list[str]], wanted: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "GROUP_ROWS", 7)
        store = open_memory(str(tmp_path_factory.mktemp("memory")), IDENTITY)
        for night, texts in enumerate(nights):
            add(store, texts, str(night))
        there = {text for texts in nights for text in texts}
        got = found(store, wanted)
        assert got.keys() == there & set(wanted)
        assert all(int(value.removeprefix(text)) in range(len(nights)) for text, value in got.items())
        assert found(store, wanted) == got  # of several translations always the same


def test_a_part_of_another_range_is_not_opened_and_a_row_group_without_a_key_not_read(tmp_path: Path) -> None:
    store = open_memory(str(tmp_path), IDENTITY)
    keys, texts = sorted_keys([f"text {i}" for i in range(40)])
    low, high = (Keys(*(part[cut] for part in keys)) for cut in (slice(0, 20), slice(20, 40)))
    store.add(low, texts[:20])
    store.add(high, texts[20:])
    first, second = sorted(path for path in store.folder.iterdir() if path.suffix == ".parquet")
    second.write_bytes(b"no Parquet")
    assert store.find(low)[1] == texts[:20]
    assert first.name.startswith(f"{int(low.high[0]) >> 32:08x}-{int(low.high[-1]) >> 32:08x}-")


def test_the_length_of_the_text_counts_too(tmp_path: Path) -> None:
    store = open_memory(str(tmp_path), IDENTITY)
    keys, _ = sorted_keys(["one", "two"])
    store.add(keys, ["eins", "zwei"])
    assert len(store.find(keys._replace(size=keys.size + 1))[0]) == 0
    assert len(store.find(keys._replace(low=keys.low + np.uint64(1)))[0]) == 0
    assert len(store.find(keys)[0]) == 2


def test_other_settings_have_another_folder_and_people_can_read_which(tmp_path: Path) -> None:
    one, other = open_memory(str(tmp_path), IDENTITY), open_memory(str(tmp_path), IDENTITY | {"prompt": "q"})
    add(one, ["a"])
    assert found(one, ["a"]) and not found(other, ["a"])
    assert '"prompt": "p"' in (one.folder / "identity.json").read_text()


def test_the_same_part_is_there_once_and_what_a_killed_writer_left_is_no_part(tmp_path: Path) -> None:
    store = open_memory(str(tmp_path), IDENTITY)
    size = add(store, ["a", "b"])
    (part,) = store.folder.glob("*.parquet")
    assert size == part.stat().st_size and add(store, ["a", "b"]) == 0
    part.with_name(f".{part.name}.1.tmp").write_bytes(part.read_bytes()[:50])
    assert found(store, ["a", "b", "c"]) == {"a": "a ", "b": "b "}
    assert pq.read_table(part).column_names == ["high", "low", "size", "translation"]


PARTS_OF_KEYS = st.lists(st.tuples(*[st.integers(0, 2)] * 3), unique=True, max_size=20).map(sorted)


def keys_from(parts: list[tuple[int, ...]]) -> Keys:
    """Keys of the given parts: high, low and size."""
    columns = np.array(parts, np.int64).reshape(-1, 3).T
    return Keys(columns[0].astype(np.uint64), columns[1].astype(np.uint64), columns[2])


@settings(max_examples=40, deadline=None)
@given(PARTS_OF_KEYS.filter(bool), PARTS_OF_KEYS)
def test_keys_that_are_equal_in_parts_never_get_the_translation_of_another(
    tmp_path_factory: pytest.TempPathFactory, there: list[tuple[int, ...]], wanted: list[tuple[int, ...]]
) -> None:
    store = open_memory(str(tmp_path_factory.mktemp("memory")), IDENTITY)
    store.add(keys_from(there), [str(parts) for parts in there])
    numbers, texts = store.find(keys_from(wanted))
    assert texts == [str(wanted[number]) for number in numbers]
    firsts = [i for i, parts in enumerate(wanted) if i == 0 or parts[0] != wanted[i - 1][0]]
    assert {i for i in firsts if wanted[i] in there} <= set(numbers.tolist()), (
        "at least the first of each half is found"
    )


def damage_page(part: Path, group: int = 0) -> None:
    """Changes a byte of the translations of a row group; the keys can still be read."""
    content, column = bytearray(part.read_bytes()), pq.read_metadata(part).row_group(group).column(3)
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 255
    part.write_bytes(content)


def with_column(part: Path, name: str, values: pa.Array) -> None:
    """Writes a part again with another column."""
    table = pq.read_table(part)
    pq.write_table(table.set_column(table.column_names.index(name), name, values), part)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda part: part.write_bytes(part.read_bytes()[:-9]),
    "empty": lambda part: part.write_bytes(b""),
    "page": damage_page,
    "fewer columns": lambda part: pq.write_table(pq.read_table(part).drop_columns(["translation"]), part),
    "numbers": lambda part: with_column(part, "translation", pa.array([1, 2])),
    "keys of text": lambda part: with_column(part, "high", pa.array(["1", "2"])),
    "null": lambda part: with_column(part, "translation", pa.nulls(2, pa.large_string())),
    "null keys": lambda part: with_column(part, "size", pa.nulls(2, pa.int64())),
    "bytes": lambda part: with_column(
        part, "translation", pa.array([b"\xff", b"\xfe"], pa.large_binary()).view(pa.large_string())
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_read_counts_as_not_there_and_is_added_again(tmp_path: Path, damage: str) -> None:
    store = open_memory(str(tmp_path), IDENTITY)
    add(store, ["a", "b"])
    (part,) = store.folder.glob("*.parquet")
    add(store, ["b", "c"])
    DAMAGES[damage](part)
    assert found(store, ["a", "b", "c"]) == {"b": "b ", "c": "c "}
    assert add(store, ["a", "b"]) > 0, "the same content under another name, as no part is changed"
    assert found(store, ["a", "b", "c"]) == {"a": "a ", "b": "b ", "c": "c "}
    assert add(store, ["a", "b"]) == 0 and len(list(store.folder.glob("*.parquet"))) == 3


def test_an_entry_takes_its_hash_and_little_more_beside_its_text(tmp_path: Path) -> None:
    keys, texts = sorted_keys([f"text {i}" for i in range(12_000)])
    assert open_memory(str(tmp_path), IDENTITY).add(keys, [""] * len(texts)) < 18 * len(texts)


def test_a_part_that_goes_after_it_is_listed_counts_as_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_memory(str(tmp_path), IDENTITY)
    add(store, ["a", "b"])
    (part,) = store.folder.glob("*.parquet")
    add(store, ["b", "c"])
    listed = store._parts(sorted_keys(["a", "b", "c"])[0])
    part.unlink()
    monkeypatch.setattr(Memory, "_parts", lambda self, keys: listed)
    assert found(store, ["a", "b", "c"]) == {"b": "b ", "c": "c "}


def test_a_damaged_row_group_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUP_ROWS", 5)
    store = open_memory(str(tmp_path), IDENTITY)
    _, texts = sorted_keys([f"text {i}" for i in range(20)])
    add(store, texts)
    (part,) = store.folder.glob("*.parquet")
    damage_page(part, 1)
    damage_page(part, 3)
    assert found(store, texts) == {text: f"{text} " for text in [*texts[:5], *texts[10:15]]}
