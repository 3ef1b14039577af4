"""Damaged Parquet: what can be read is read, in order, whatever else is lost."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import salvage
from routelmt_ray.corpus import Corpus, open_corpus
from routelmt_ray.input_files import find_files
from routelmt_ray.shard_reader import InputChanged, read_shard

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
