"""A corpus is found and read on S3 as on this machine."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.corpus.column_checks import check_columns
from routelmt_ray.corpus.corpus import open_corpus
from routelmt_ray.corpus.input_files import find_files, fingerprint
from routelmt_ray.corpus.shard_reader import read_shard
from tests.s3.proxy import FaultProxy

NAMES = ("b/2.jsonl", "b/1.jsonl.gz", "b/c/deep.jsonl", "a.parquet", "_hidden/x.jsonl", "b/.x.jsonl", "notes.txt")


@pytest.fixture
def both(tmp_path: Path, bucket) -> tuple[str, str]:
    """The same files here and on S3."""
    for name in NAMES:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps({"source": f"{name} {i}", "n": i}) + "\n" for i in range(5)).encode()
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"source": [f"{name} {i}" for i in range(40)]}), path, row_group_size=10)
        else:
            path.write_bytes(gzip.compress(lines + b"no json\n") if name.endswith(".gz") else lines)
        storage.write_bytes(bucket / "in" / name, path.read_bytes())
    return str(tmp_path / "in"), str(bucket / "in")


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "/",
        "/b",
        "/b/2.jsonl",
        "/*/*.jsonl",
        "/b/*",
        "/b/[12].*",
        "/**/*.jsonl",
        "/b/**",
        "/*.parquet",
        "/b/?.jsonl",
    ],
)
def test_the_same_names_are_found_in_the_same_order(both: tuple[str, str], asked: str) -> None:
    here, there = (find_files(root + asked) for root in both)
    assert here
    assert [(f.name, f.size_bytes) for f in there] == [(f.name, f.size_bytes) for f in here]
    for file in there:
        assert file.path.startswith("s3://")
        assert len(storage.read_bytes(storage.path(file.path))) == file.size_bytes


def test_what_is_not_there_or_of_no_known_kind_is_refused_with_the_address(both: tuple[str, str], bucket) -> None:
    _, there = both
    for asked, words in (
        ("/nothing", "no such object"),
        ("/nothing/*", "no such object"),
        ("/notes.txt", "unknown kind of file"),
        ("/_hidden", "no such object"),
    ):
        if asked == "/_hidden":
            assert [f.name for f in find_files(there + asked)] == ["x.jsonl"]
            continue
        with pytest.raises(ValueError, match=rf"input\.path s3://.*{words}"):
            find_files(there + asked)
    storage.write_text(bucket / "texts/a.txt", "")
    with pytest.raises(ValueError, match="has no file that ends in"):
        find_files(str(bucket / "texts"))
    with pytest.raises(ValueError, match="the name of a bucket cannot be a glob"):
        find_files("s3://test-*/x")


def test_the_fingerprint_sees_a_changed_word_and_reads_nothing(
    both: tuple[str, str], bucket, proxy: FaultProxy
) -> None:
    first = fingerprint(find_files(both[1]))
    assert {request.method for request in proxy.seen} == {"GET"}
    assert all("list-type=2" in request.target for request in proxy.seen)
    assert fingerprint(find_files(both[1])) == first
    path = bucket / "in/b/2.jsonl"
    storage.write_bytes(path, storage.read_bytes(path).replace(b"0", b"1", 1))
    assert fingerprint(find_files(both[1])) != first


def each(function: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    return [function(*words) for words in arguments]


def test_rows_are_the_same_and_json_lines_are_staged_on_s3(both: tuple[str, str], bucket, tmp_path: Path) -> None:
    found = []
    for root, folder in zip(both, (tmp_path / "run", bucket / "run")):
        files = find_files(root)
        check_columns(files, {"input.columns.source": "source"})
        corpus = open_corpus(files, folder, each)
        plan = corpus.plan(7)
        found.append([read_shard(plan[i], corpus.schema, ["source", "n"]).to_pylist() for i in range(len(plan))])
    assert found[0] == found[1]
    assert sum(map(len, found[0])) == 56
    assert storage.list_tree(bucket / "run") == ["corpus.json", "schema.parquet", "staged/000000.parquet"]
    assert storage.list_tree(tmp_path / "run") == storage.list_tree(bucket / "run")


def test_of_a_large_file_only_the_row_groups_of_a_shard_are_fetched(bucket, proxy: FaultProxy) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"source": [f"{i:0100d}" for i in range(40_000)], "other": range(40_000)})
    pq.write_table(table, sink, row_group_size=1_000, compression="none", use_dictionary=False)
    storage.write_bytes(bucket / "a.parquet", sink.getvalue().to_pybytes())
    corpus = open_corpus(find_files(str(bucket / "a.parquet")), bucket / "run", each)
    proxy.bytes_answered = 0
    rows = read_shard(corpus.plan(1_000)[17], corpus.schema, ["source"])
    assert rows["source"].to_pylist() == table["source"][17_000:18_000].to_pylist()
    assert 104_000 < proxy.bytes_answered < 104_000 + 200_000  # a row group, and the footer
