"""Readers against arbitrary bytes: no crash, no hang, no row lost."""

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routelmt_ray import jsonl, salvage
from routelmt_ray.config import InputConfig
from routelmt_ray.corpus import is_text, open_corpus
from routelmt_ray.input_files import find_files
from routelmt_ray.shard_reader import read_shard
from routelmt_ray.stages.validate import needed_columns, validate

CONFIG = InputConfig(path="x", source_lang="en", target_lang="de")
SHORT = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
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
    ".jsonl.zst": (zstandard.compress, lambda b: decompressed(b, lambda: zstandard.ZstdDecompressor().decompressobj())),
}


def check_lines(folder: Path, suffix: str, data: st.DataObject) -> None:
    pack, unpack = PACKED[suffix]
    files = data.draw(st.lists(st.lists(LINES, max_size=6), min_size=1, max_size=3))
    expected = []
    for number, content in enumerate(files):
        packed = data.draw(mutated(pack(b"\n".join(content))))
        (folder / f"{number}{suffix}").write_bytes(packed)
        readable = unpack(packed).removeprefix(b"\xef\xbb\xbf")
        expected += [line.rstrip(b"\r") for line in readable.split(b"\n") if line.strip()]
    table = read(folder, data.draw(st.integers(1, 9)))
    bad = [line if jsonl.parse(line) is None else None for line in expected]
    assert (table[jsonl.BAD_LINE].to_pylist() if table.num_rows else []) == bad


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
    table.to_pylist() if "source" not in table.column_names else table.drop_columns(["source"]).to_pylist()


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
