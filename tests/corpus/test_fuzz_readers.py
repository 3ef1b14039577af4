"""Readers against arbitrary bytes: no crash, no hang, no row lost."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from routelmt_ray.config.common import InputConfig
from routelmt_ray.corpus import jsonl, salvage, sniff
from routelmt_ray.corpus.column_types import is_text
from routelmt_ray.corpus.corpus import open_corpus
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.stages.validate import needed_columns, validate

CONFIG = InputConfig(path="x", source_lang="en", target_lang="de")
SHORT = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck))
soak = [pytest.mark.soak, pytest.mark.timeout(3_600)]


def here(function: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    return [function(*words) for words in arguments]


def read(folder: Path, shard_rows: int) -> pa.Table:
    """All rows of a folder through the reader and, where there is a source, the checks."""
    corpus = open_corpus(find_files(str(folder)), folder / "_run", here)
    plan = corpus.plan(shard_rows)
    columns = [*corpus.schema.names, jsonl.BAD_LINE, salvage.UNREADABLE]
    parts = [read_shard(plan[i], corpus.schema, columns) for i in range(len(plan))]
    table = pa.concat_tables(parts) if parts else corpus.schema.empty_table()
    assert table.num_rows == sum(part.rows for part in corpus.parts) == plan.rows
    names = corpus.schema.names
    if parts and "source" in names and is_text(corpus.schema.field("source").type):
        statuses = validate(table.select(needed_columns(CONFIG)), CONFIG, "plain").statuses
        assert len(statuses) == table.num_rows
    return table


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
LINES = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(st.sampled_from(["source", "a", "b", ""]), VALUES, max_size=4).map(
        lambda row: json.dumps(row).encode()
    ),
    st.text(max_size=20).map(
        lambda text: json.dumps({"source": text}, ensure_ascii=False).encode(errors="surrogatepass")
    ),
)


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with some flipped, a stretch cut out or doubled, or the end cut off."""
    for kind in draw(st.lists(st.sampled_from(["flip", "cut", "splice", "end"]), max_size=3)):
        if not content:
            break
        at = draw(st.integers(0, len(content) - 1))
        stop = min(len(content), at + draw(st.integers(1, 64)))
        if kind == "flip":
            content = content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at] + content[stop:]
        elif kind == "splice":
            content = content[:stop] + content[at:stop] + content[stop:]
        else:
            content = content[:at]
    return content


def decompressed(content: bytes, new: Callable[[], Any]) -> bytes:
    """All that comes out of a compressed file before it breaks, byte by byte."""
    out, stream = b"", None
    for byte in content:
        stream = stream or new()
        try:
            out += stream.decompress(bytes([byte]))
        except (zlib.error, zstandard.ZstdError):
            break
        stream = None if stream.eof else stream
    return out


PACKED: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    ".jsonl": (bytes, bytes),
    ".jsonl.gz": (gzip.compress, lambda b: decompressed(b, lambda: zlib.decompressobj(wbits=31))),
    ".jsonl.zst": (
        zstandard.compress,
        lambda b: decompressed(b, lambda: zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()),
    ),
}


def check_lines(folder: Path, suffix: str, data: st.DataObject) -> None:
    pack, unpack = PACKED[suffix]
    files = data.draw(st.lists(st.lists(LINES, max_size=6), min_size=1, max_size=3))
    expected = []
    for number, content in enumerate(files):
        packed = data.draw(mutated(pack(b"\n".join(content))))
        (folder / f"{number}{suffix}").write_bytes(packed)
        assume(sniff.pointer(str(folder / f"{number}{suffix}")) is None)  # hypothesis knows the texts in the code
        readable = unpack(packed).removeprefix(b"\xef\xbb\xbf")
        expected += [line.rstrip(b"\r") for line in readable.split(b"\n") if line.strip()]
    table = read(folder, data.draw(st.integers(1, 9)))
    objects = [an_object(line) for line in expected]
    bad = [line if value is None else None for line, value in zip(expected, objects)]
    assert (table[jsonl.BAD_LINE].to_pylist() if table.num_rows else []) == bad
    names = [name for name in table.column_names if name not in (jsonl.BAD_LINE, salvage.UNREADABLE)]
    for value, row in zip(objects, table.select(names).to_pylist()):
        for name in names:
            assert is_kept(row[name], (value or {}).get(name)), (name, row[name], value)


def an_object(line: bytes) -> dict[str, Any] | None:
    """The object on a line; None where it is none or has half a character, which no UTF-8 has."""
    try:
        value = json.loads(str(line, "utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    halves = any("\ud800" <= c <= "\udfff" for c in "".join(texts_of(value)))
    return value if isinstance(value, dict) and not halves else None


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in texts_of(part)]
    if isinstance(value, list):
        return [text for part in value for text in texts_of(part)]
    return [value] if isinstance(value, str) else []


def is_kept(found: Any, wanted: Any) -> bool:
    """A value is there as it was, or as JSON text; a struct may have fields that only other rows have."""
    if isinstance(found, str) and not isinstance(wanted, str):
        return is_kept(json.loads(found), wanted)
    if isinstance(found, dict) and isinstance(wanted, dict):
        return all(is_kept(found.get(key), wanted.get(key)) for key in found.keys() | wanted.keys())
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(is_kept, found, wanted))
    return found == wanted or (found != found and wanted != wanted)


@pytest.mark.parametrize("suffix", PACKED)
@SHORT
@given(data=st.data())
def test_json_lines_of_any_bytes(tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject) -> None:
    check_lines(tmp_path_factory.mktemp("fuzz"), suffix, data)


@pytest.mark.parametrize("suffix", [pytest.param(suffix, marks=soak) for suffix in PACKED])
@LONG
@given(data=st.data())
def test_json_lines_of_any_bytes_for_long(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    check_lines(tmp_path_factory.mktemp("fuzz"), suffix, data)


def test_a_byte_order_mark_that_comes_in_pieces_is_no_line(tmp_path: Path) -> None:
    """As it does at the damage of a compressed file, where bytes come one by one: its stored mark, then a wrong block."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00<\xb5\x05k\x02\xff{\xbf{?\x01\xe1\x97\x10\x01\x03\x00\x00\x00")
    damage: list[str] = []
    assert list(jsonl.lines(str(path), damage)) == []
    assert damage


TABLE = pa.table(
    {
        "source": [None if i % 7 == 3 else f"row {i} {i * 7919 % 1000}" for i in range(60)],
        "n": range(60),
        "nested": [{"tags": ["x"] * (i % 3), "at": i / 3} for i in range(60)],
    }
)
KINDS: list[dict[str, Any]] = [
    {"compression": "none", "use_dictionary": False},
    {
        "compression": "zstd",
        "row_group_size": 20,
        "write_page_checksum": True,
        "data_page_size": 64,
        "write_batch_size": 4,
    },
    {"compression": "snappy", "use_dictionary": True, "data_page_version": "2.0"},
    {"compression": "gzip", "use_dictionary": False, "column_encoding": {"source": "DELTA_BYTE_ARRAY"}},
]


def check_parquet(folder: Path, data: st.DataObject) -> None:
    options = data.draw(st.sampled_from(KINDS))
    path = folder / "in.parquet"
    pq.write_table(TABLE.select(["source", "n"]) if "column_encoding" in options else TABLE, path, **options)
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    table = read(folder, data.draw(st.integers(1, 70)))
    lost = table[salvage.UNREADABLE].to_pylist() if table.num_rows else []
    start = 0
    for rows, columns in by_pyarrow(path) if table.num_rows else ():
        for name, column in columns.items():
            found = table[name].slice(start, rows)
            gone = [n for n, row in enumerate(lost[start : start + rows]) if row and name in row["columns"]]
            assert all(found[n].as_py() is None for n in gone)
            if column is None:  # damaged: the rows before it may still be there, none after it
                assert gone == list(range(rows - len(gone), rows))
            else:
                assert not gone
                assert shown(found) == shown(column)
        start += rows
    assert start == table.num_rows


def by_pyarrow(path: Path) -> Iterator[tuple[int, dict[str, pa.ChunkedArray | None]]]:
    """Rows of each row group and what pyarrow alone reads of its columns; None where it fails."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            columns: dict[str, pa.ChunkedArray | None] = {}
            rows = file.metadata.row_group(group).num_rows
            for name in file.schema_arrow.names:
                try:
                    column = file.read_row_group(group, [name], use_threads=False)[name]
                    column.validate()
                    columns[name] = column if len(column) == rows else None
                except (pa.ArrowException, OSError):
                    columns[name] = None
            yield rows, columns


def shown(column: pa.ChunkedArray) -> str:
    """Values, NaN and bytes that are no text among them."""
    try:
        return repr(column.to_pylist())
    except UnicodeDecodeError:
        return repr(pc.cast(column, pa.large_binary()).to_pylist()) if is_text(column.type) else "nested bytes"


@SHORT
@given(data=st.data())
def test_parquet_of_any_damage(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    check_parquet(tmp_path_factory.mktemp("fuzz"), data)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@LONG
@given(data=st.data())
def test_parquet_of_any_damage_for_long(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    check_parquet(tmp_path_factory.mktemp("fuzz"), data)
