"""Damaged Parquet: what can be read is read, in order, with anything else lost."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.corpus import salvage
from routelmt_ray.corpus.corpus import Corpus, open_corpus
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.corpus.input_table import InputTable, open_input
from routelmt_ray.corpus.shard_reader import InputChanged, read_shard

ROWS, GROUP = 300, 100
TABLE = pa.table(
    {"a": [f"row {i} {i * 7919 % 1000}" for i in range(ROWS)], "b": [[i, i + 1] for i in range(ROWS)], "c": range(ROWS)}
)


def here(function: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    return [function(*words) for words in arguments]


def opened(path: Path) -> Corpus:
    return open_corpus(find_files(str(path)), path.parent / "_run", here)


def damage(path: Path, group: int, column: int, part: float) -> None:
    """Overwrites the page in which a part of a column's bytes begins."""
    chunk = pq.read_metadata(path).row_group(group).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    at = start + int(part * chunk.total_compressed_size)
    content[at : at + 20] = b"\xff" * 20
    path.write_bytes(content)


@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.7])
def test_a_damaged_column_loses_its_rows_up_to_the_end_of_the_row_group(
    tmp_path: Path, column: int, part: float
) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(
        TABLE, path, row_group_size=GROUP, use_dictionary=False, data_page_size=100, write_batch_size=5, compression="zstd",
        write_page_checksum=True,
    )  # fmt: skip
    damage(path, 1, column, part)
    corpus = opened(path)
    name = TABLE.column_names[column]
    for shard_rows in (ROWS, 37):
        plan = corpus.plan(shard_rows)
        columns = [*TABLE.column_names, salvage.UNREADABLE]
        found = pa.concat_tables(read_shard(plan[i], corpus.schema, columns) for i in range(len(plan)))
        lost = [i for i, value in enumerate(found[salvage.UNREADABLE].to_pylist()) if value is not None]
        assert lost == list(range(lost[0], 2 * GROUP))
        assert GROUP + part * GROUP - 40 <= lost[0] <= GROUP + part * GROUP + 10
        assert found[salvage.UNREADABLE][lost[0]].as_py() == {"file": str(path), "columns": [name]}
        for other in TABLE.column_names:
            kept = [None if other == name and i in lost else value for i, value in enumerate(TABLE[other].to_pylist())]
            assert found[other].to_pylist() == kept
    assert read_shard(corpus.plan(ROWS)[0], corpus.schema, ["c" if name != "c" else "a"]).num_rows == ROWS


def test_a_footer_that_contradicts_itself_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"a": range(77)}), path)
    content = path.read_bytes()
    footer = content.rindex(b"PAR1", 0, -4) if content.count(b"PAR1") > 2 else len(content) // 2
    changed = content[:footer] + content[footer:].replace(b"\x9a\x01", b"\x9c\x01", 1)  # 77 as a zigzag varint
    assert changed != content
    path.write_bytes(changed)
    corpus = opened(path)
    assert corpus.parts[0].rows == 0
    assert "not readable as Parquet" in corpus.damage[0]


def test_a_file_that_goes_or_shrinks_after_the_start_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(TABLE, path)
    corpus = opened(path)
    shard = corpus.plan(ROWS)[0]
    pq.write_table(TABLE.slice(0, 10), path)
    with pytest.raises(InputChanged, match=r"in\.parquet has 10 rows; it had 300 or more"):
        read_shard(shard, corpus.schema, ["a"])
    path.write_bytes(b"nonsense")
    with pytest.raises(InputChanged, match=r"in\.parquet was readable when the corpus was opened"):
        read_shard(shard, corpus.schema, ["a"])
    path.unlink()
    with pytest.raises(InputChanged, match=r"in\.parquet is gone"):
        read_shard(shard, corpus.schema, ["a"])


def test_vectors_with_nulls_survive_beside_a_damaged_page(tmp_path: Path) -> None:
    """Lists of a fixed size that have nulls, and a duration, which Parquet alone does not know."""
    vectors = [None if i % 10 == 3 else [i / 2, i / 4] for i in range(ROWS)]
    table = pa.table(
        {
            "a": TABLE["a"],
            "v": pa.array(vectors, pa.list_(pa.float32(), 2)),
            "t": pa.array(range(ROWS), pa.duration("ms")),
        }
    )
    path = tmp_path / "in.parquet"
    pq.write_table(
        table,
        path,
        row_group_size=GROUP,
        use_dictionary=False,
        data_page_size=100,
        write_batch_size=5,
        write_page_checksum=True,
    )
    damage(path, 1, 0, 0.5)
    corpus = opened(path)
    assert corpus.schema.field("v").type == pa.list_(pa.float32())
    found = read_shard(corpus.plan(ROWS)[0], corpus.schema, [*table.column_names, salvage.UNREADABLE])
    assert found["v"].to_pylist() == vectors
    assert found["t"].to_pylist() == table["t"].to_pylist()
    lost = {name for row in found[salvage.UNREADABLE].to_pylist() if row for name in row["columns"]}
    assert lost == {"a"}


class Narrow:
    """A file whose reader holds a limited number of rows at once, as pyarrow does with 2 GiB of text inside lists."""

    def __init__(self, file: pq.ParquetFile, most: int, asked: list[int]) -> None:
        self._file, self._most, self._asked = file, most, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read_row_group(self, *_: Any, **__: Any) -> pa.Table:
        raise pa.ArrowNotImplementedError("Nested data conversions not implemented for chunked array outputs")

    def iter_batches(self, size: int, **options: Any) -> Any:
        self._asked.append(size)
        for batch in self._file.iter_batches(size, **options):
            if batch.num_rows > self._most:
                raise pa.ArrowCapacityError("array cannot contain more than 2147483646 bytes")
            yield batch


def test_what_a_reader_cannot_hold_at_once_is_read_in_smaller_batches(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(TABLE, path)
    asked: list[int] = []
    with open_input(str(path)) as whole:
        table = InputTable(Narrow(whole.file, 5, asked), whole.schema)
        for start, stop in ((0, ROWS), (7, 291)):
            found = pa.concat_tables(table.read(0, start, stop, TABLE.column_names))
            assert found.equals(TABLE.slice(start, stop - start))
        assert asked == [16_384, 1_024, 64, 4] * 2
        nothing = InputTable(Narrow(whole.file, 0, asked), whole.schema)
        with pytest.raises(pa.ArrowCapacityError):
            list(nothing.read(0, 0, ROWS, TABLE.column_names))
        assert asked[-1] == 1


def test_a_lack_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(TABLE, path)
    corpus = opened(path)

    def fails(*_: Any) -> Any:
        raise pa.ArrowMemoryError("malloc of size 99 failed")

    monkeypatch.setattr(InputTable, "read", fails)
    with pytest.raises(MemoryError):
        read_shard(corpus.plan(ROWS)[0], corpus.schema, ["a"])


class Limited:
    """Stands for `pyarrow.parquet.ParquetFile`; its reader fails on batches with too many rows."""

    most, error = 5, "ArrowCapacityError"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._file = PARQUET_FILE(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Limited":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_row_group(self, *_: Any, **__: Any) -> pa.Table:
        raise pa.ArrowNotImplementedError("Nested data conversions not implemented for chunked array outputs")

    def iter_batches(self, size: int, **options: Any) -> Any:
        for batch in self._file.iter_batches(size, **options):
            if batch.num_rows > self.most:
                raise getattr(pa, self.error)("array cannot contain more than 2147483646 bytes")
            yield batch


PARQUET_FILE = pq.ParquetFile


@pytest.fixture
def damaged(tmp_path: Path) -> Corpus:
    """Column `a` is damaged in the middle of the second of three row groups."""
    path = tmp_path / "in.parquet"
    options = {"use_dictionary": False, "write_page_checksum": True, "data_page_size": 100, "write_batch_size": 5}
    pq.write_table(TABLE, path, row_group_size=GROUP, **options)
    damage(path, 1, 0, 0.5)
    return opened(path)


@pytest.mark.parametrize("error", ["ArrowCapacityError", "ArrowNotImplementedError"])
@pytest.mark.parametrize("most", [70, 5, 1])
def test_batches_that_are_too_large_beside_a_damaged_page_cost_no_row(
    damaged: Corpus, monkeypatch: pytest.MonkeyPatch, error: str, most: int
) -> None:
    shard, columns = damaged.plan(ROWS)[0], [*TABLE.column_names, salvage.UNREADABLE]
    wanted = read_shard(shard, damaged.schema, columns)
    assert 0 < wanted["a"].null_count < GROUP and wanted["b"].null_count == 0
    monkeypatch.setattr(Limited, "most", most)
    monkeypatch.setattr(Limited, "error", error)
    monkeypatch.setattr(pq, "ParquetFile", Limited)
    assert read_shard(shard, damaged.schema, columns).equals(wanted)


def test_a_row_that_the_reader_cannot_hold_alone_is_named_and_costs_none_before_it(
    damaged: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limited, "most", 0)
    monkeypatch.setattr(pq, "ParquetFile", Limited)
    lost = read_shard(damaged.plan(ROWS)[0], damaged.schema, ["c", salvage.UNREADABLE])
    assert lost["c"].null_count == lost.num_rows == ROWS
    assert {tuple(row["columns"]) for row in lost[salvage.UNREADABLE].to_pylist()} == {("c",)}, (
        "no row is lost in silence"
    )


def test_a_lack_of_memory_beside_a_damaged_page_costs_no_row(damaged: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limited, "error", "ArrowMemoryError")
    read = InputTable.read

    def damage_seen(*arguments: Any) -> Any:
        yield from read(*arguments, batch_rows=Limited.most)  # small enough for the memory that is left

    monkeypatch.setattr(InputTable, "read", damage_seen)
    monkeypatch.setattr(pq, "ParquetFile", Limited)
    with pytest.raises(MemoryError, match="more than 2147483646"):
        read_shard(damaged.plan(ROWS)[0], damaged.schema, ["a"])
