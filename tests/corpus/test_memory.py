"""The store of a memory, by brute force, here and where its parts are gone, damaged or of another shape."""

from pathlib import Path

import numpy as np
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
    """Looks texts up in the store; both ways to look must agree."""
    keys, texts = sorted_keys(texts)
    numbers, translations = store.find(keys)
    assert numbers.tolist() == sorted(set(numbers.tolist())) == np.flatnonzero(store.known(keys)).tolist()
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


@pytest.mark.parametrize("damage", ["cut", "page", "gone", "columns"])
def test_what_cannot_be_read_counts_as_not_there(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_memory(str(tmp_path), IDENTITY)
    add(store, ["a", "b"])
    (part,) = store.folder.glob("*.parquet")
    add(store, ["b", "c"])
    content = bytearray(part.read_bytes())
    if damage == "cut":
        part.write_bytes(content[:-9])
    elif damage == "page":
        column = pq.read_metadata(part).row_group(0).column(3)
        content[column.data_page_offset + column.total_compressed_size - 3] ^= 255
        part.write_bytes(content)
    elif damage == "columns":
        pq.write_table(pq.read_table(part).drop_columns(["translation"]), part)
    else:  # it goes between the listing and the reading
        listed = store._parts(sorted_keys(["a", "b", "c"])[0])
        part.unlink()
        monkeypatch.setattr(Memory, "_parts", lambda self, keys: listed)
    keys, texts = sorted_keys(["a", "b", "c"])
    numbers, _ = store.find(keys)
    assert {texts[i] for i in numbers} == {"b", "c"}
