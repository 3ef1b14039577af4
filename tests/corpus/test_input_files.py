"""Of a path, a folder or a glob all is read or named: nothing is left out without a word."""

import bz2
import dataclasses
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from routelmt_ray import storage
from routelmt_ray.corpus import s3_inputs
from routelmt_ray.corpus.corpus import open_corpus
from routelmt_ray.corpus.input_files import Found, find, find_files
from routelmt_ray.corpus.input_kinds import expand_braces
from routelmt_ray.corpus.shard_reader import read_shard

LINE = b'{"source": "x"}\n'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def put(folder: Path, *names: str, content: bytes = LINE) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def names(found: Found) -> list[str]:
    return [file.name for file in found.files]


def unread(found: Found, counts: bool | None = None) -> dict[str, str]:
    return {other.name: other.reason for other in found.unread if counts in (None, other.counts)}


PACKED = {
    ".gz": gzip.compress, ".zst": zstandard.compress, ".zstd": zstandard.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    "": bytes,
}  # fmt: skip


def test_every_spelling_of_json_lines_and_parquet_is_read(tmp_path: Path) -> None:
    wanted = []
    for number, (packed, pack) in enumerate(each for each in PACKED.items() for _ in range(2)):
        kind = (".jsonl", ".json", ".JSONL", ".ndjson", ".Json")[number % 5]
        name = f"{number:02d}{kind}{packed.upper() if number % 3 == 0 else packed}"
        put(tmp_path, name, content=pack(json.dumps({"source": name}).encode() * 1 + b"\n"))
        wanted.append(name)
    for name in ("50.parq", "51.PARQUET", "52.pq"):
        pq.write_table(pa.table({"source": [name]}), tmp_path / name)
        wanted.append(name)
    found = find(str(tmp_path))
    assert names(found) == wanted
    assert not found.unread

    def here(function: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
        return [function(*each) for each in arguments]

    corpus = open_corpus(found.files, tmp_path / "_run", here)
    assert not corpus.damage
    assert read_shard(corpus.plan(99)[0], corpus.schema, ["source"])["source"].to_pylist() == wanted


@pytest.mark.parametrize("packed", [".bz2", ".xz"])
def test_a_cut_file_of_any_compression_keeps_what_is_before(tmp_path: Path, packed: str) -> None:
    lines = b"".join(
        b'{"source": "%d %d"}\n' % (i, i * 7919 % 10007) for i in range(200_000 if packed == ".bz2" else 20_000)
    )
    whole = PACKED[packed](lines)
    put(tmp_path, f"a.jsonl{packed}", content=whole[: len(whole) * 3 // 4])
    put(tmp_path, f"b.jsonl{packed}", content=PACKED[packed](LINE) * 2)
    corpus = open_corpus(find_files(str(tmp_path)), tmp_path / "_run", lambda f, given: [f(*each) for each in given])
    assert ["a.jsonl" in text and "cut short" in text for text in corpus.damage] == [True]
    assert sum(part.rows for part in corpus.parts) > 2 + lines.count(b"\n") // 4


def test_what_is_not_read_is_named_and_counts_where_it_may_hold_rows(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "state.json", "README.md", ".x.jsonl", "_temporary/0/b.jsonl", "_SUCCESS", ".git/c.jsonl")
    put(tmp_path, "more.csv", "x.arrow", "y.jsonl.lz4", "z.tar")
    put(tmp_path, "pretty.json", content=b'{\n  "source": "x"\n}\n')
    put(tmp_path, "list.json.gz", content=gzip.compress(b'[\n{"source": "x"}\n]'))
    put(tmp_path, "lfs.parquet", "lfs.jsonl", content=LFS)
    found = find(str(tmp_path))
    assert names(found) == ["a.jsonl"]
    lost = unread(found, True)
    assert list(lost) == [
        "lfs.jsonl",
        "lfs.parquet",
        "list.json.gz",
        "more.csv",
        "pretty.json",
        "x.arrow",
        "y.jsonl.lz4",
        "z.tar",
    ]
    assert "git lfs pull" in lost["lfs.parquet"] == lost["lfs.jsonl"]
    assert "jq -c '.[]'" in lost["list.json.gz"]
    assert "jq -c '.'" in lost["pretty.json"]
    assert list(unread(found, False)) == [".x.jsonl", "README.md", "_temporary/", "state.json"]


def test_a_pipe_among_the_files_does_not_stop_the_search(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json' is not a file"):
        find(str(tmp_path))


def test_linked_folders_are_read_once_and_folders_that_cannot_be_are_named(tmp_path: Path, monkeypatch) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    put(folder, "z/a.jsonl", "closed/b.jsonl")
    put(away, "deep/c.jsonl")
    for link, target in (
        ("l", away),
        ("m", away / "deep"),
        ("loop", folder),
        ("up", tmp_path),
        ("inside", folder / "z"),
    ):
        (folder / link).symlink_to(target)
    (away / "back").symlink_to(folder)
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find(str(folder))
    assert [os.path.basename(name) for name in names(found)] in (["c.jsonl", "a.jsonl"], ["a.jsonl", "c.jsonl"])
    assert "z/a.jsonl" in names(found)
    assert unread(found, True) == {
        "closed/": "cannot be listed: Permission denied", "up/": "a link to a folder that this one is in"
    }  # fmt: skip
    assert [Path(name).name for name in names(find(f"{folder}/**/*.jsonl")) if "a.jsonl" in name] == ["a.jsonl"]
    with pytest.raises(ValueError, match="closed cannot be listed: Permission denied"):
        find(str(folder / "closed"))


def test_a_glob_reads_folders_and_leaves_out_what_jobs_leave(tmp_path: Path) -> None:
    put(
        tmp_path,
        "2023.jsonl/part-0.jsonl",
        "2023.jsonl/_temporary/0/x.jsonl",
        "2024.jsonl",
        "d/_temporary/y.jsonl",
        "d/e/z.jsonl",
    )
    found = find(f"{tmp_path}/202*")
    assert names(found) == ["2023.jsonl/part-0.jsonl", "2024.jsonl"]
    assert unread(found) == {"2023.jsonl/_temporary/": "its name begins with . or _"}
    found = find(f"{tmp_path}/**/*.jsonl")
    assert names(found) == ["2023.jsonl/part-0.jsonl", "2024.jsonl", "d/e/z.jsonl"]
    assert list(unread(found)) == ["2023.jsonl/_temporary/", "d/_temporary/"]
    assert names(find(f"{tmp_path}/d/_temporary/*")) == ["y.jsonl"]
    assert names(find(f"{tmp_path}/{{2024,d/e/z}}.jsonl")) == ["2024.jsonl", "d/e/z.jsonl"]
    assert names(find(f"{tmp_path}/{{d,2024.jsonl,d}}")) == ["2024.jsonl", "d/e/z.jsonl"]
    assert names(find(f"file://{tmp_path}/2024.jsonl")) == ["2024.jsonl"]


def run_directory(folder: Path) -> None:
    put(folder, "manifest.json", "input/files.json", "output/shard-000000.jsonl", "scores/shard-000000.jsonl")


def test_run_directories_among_the_files_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "sub/b.jsonl")
    run_directory(tmp_path / "sub" / "run")
    for path in (tmp_path, f"{tmp_path}/**/*.jsonl", f"{tmp_path}/*"):
        found = find(str(path))
        assert names(found) == ["a.jsonl", "sub/b.jsonl"]
        assert unread(found) == {"sub/run/": "a run directory"}
    assert names(find(f"{tmp_path}/sub/*/output/*.jsonl")) == ["run/output/shard-000000.jsonl"], "asked for by name"
    assert names(find(str(tmp_path / "sub/run/output"))) == ["shard-000000.jsonl"]
    for path in (tmp_path / "sub/run", f"{tmp_path}/sub/run/**/*.jsonl"):
        with pytest.raises(ValueError, match="is a run directory, .*its translations are in .*/output"):
            find(str(path))


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("_delta_log/0.json", "a Delta table.*delta_scan"), ("metadata/v1.metadata.json", "an? Iceberg table.*iceberg_scan"),
        (".hoodie/hoodie.properties", "a Hudi table"),
    ],
)  # fmt: skip
def test_tables_of_other_systems_are_refused_with_the_way(tmp_path: Path, mark: str, words: str) -> None:
    put(tmp_path, "t/a.jsonl", f"t/{mark}")
    for path in (tmp_path, tmp_path / "t", f"{tmp_path}/t/*.jsonl", f"{tmp_path}/**/*.jsonl"):
        with pytest.raises(ValueError, match=words):
            find(str(path))
    put(tmp_path, "u/metadata/about.json", "u/a.jsonl")
    assert names(find(str(tmp_path / "u"))) == ["a.jsonl", "metadata/about.json"]


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("a.csv", b"source,target\nx,y\n", r"unknown kind of file \(CSV .*DuckDB"),
        ("a.json", b'[{"source": "x"}]', r"one JSON value over many lines.*jq -c '\.\[\]'"),
        ("a.json", b'{\n"source": "x"}', r"one JSON value over many lines.*jq -c '\.'"),
        ("a.jsonl", LFS, "git lfs pull"),
        ("a.txt", "x".encode("utf-16"), "in UTF-16 instead of UTF-8"),
    ],
)
def test_a_file_that_is_no_corpus_is_called_what_it_is(tmp_path: Path, path: str, content: bytes, words: str) -> None:
    put(tmp_path, path, content=content)
    with pytest.raises(ValueError, match=words):
        find(str(tmp_path / path))
    with pytest.raises(ValueError, match=rf"has no file that ends in .*not read: {path}: "):
        find(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("hf://datasets/a/b", "hf download --repo-type dataset"), ("gs://b/x", "copy it to this machine, or to S3"),
        ("s3a://b/x", "write s3://bucket/prefix"), ("file://other/x", "file:// are not read"), ("http://h/x.jsonl", "http://"),
    ],
)  # fmt: skip
def test_addresses_of_other_kinds_are_refused_in_words(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"input\.path {path}: .*{words}"):
        find(path)


def test_braces_are_written_out() -> None:
    assert expand_braces("a/{b,c{1,2}}/{d}/*") == ["a/b/{d}/*", "a/c1/{d}/*", "a/c2/{d}/*"]
    assert expand_braces("a{,b}") == ["a", "ab"]
    assert expand_braces("a{b,") == ["a{b,"]


class Listing:
    """Objects below one address, in place of a bucket."""

    def __init__(self, *names: str) -> None:
        self._entries = [storage.Entry(name, 1, 0.0) for name in names]

    def __call__(self, folder: storage.S3Path) -> list[storage.Entry]:
        within = folder.key.removeprefix("top").removeprefix("/")
        within = f"{within}/" if within else ""
        return [
            dataclasses.replace(entry, name=entry.name.removeprefix(within))
            for entry in self._entries
            if entry.name.startswith(within)
        ]


def test_on_s3_the_same_is_read_and_left_out(monkeypatch) -> None:
    def found(asked: str, *objects: str) -> tuple[list[str], dict[str, str]]:
        monkeypatch.setattr(storage, "entries", Listing(*objects))
        files, unread = s3_inputs.find(f"s3://b/top{asked}")
        return sorted(name for _, name, _ in files), {other.name: other.reason for other in unread}

    objects = [
        "a.jsonl", "2023.JSONL/x.parq", "2023.JSONL/_temporary/y.parq", "README.md", "more.csv", ".x.jsonl", "run/manifest.json",
        "run/input/files.json", "run/output/shard-000000.parquet",
    ]  # fmt: skip
    left = {"2023.JSONL/_temporary/": "its name begins with . or _", "run/": "a run directory"}
    taken, unread = found("", *objects)
    assert taken == ["2023.JSONL/x.parq", "a.jsonl"]
    assert unread.items() >= left.items()
    assert unread["more.csv"] == "not of a known kind"
    assert found("/**/*.parq*", *objects) == (["2023.JSONL/x.parq"], left)
    assert found("/2023*", *objects)[0] == ["2023.JSONL/x.parq"], "a folder that matches"
    assert found("/{a,2023}.*", *objects)[0] == ["2023.JSONL/x.parq", "a.jsonl"]
    assert found("/*/output/*.parquet", *objects)[0] == ["run/output/shard-000000.parquet"]
    for asked in ("", "/*.parquet", "/t"):
        for mark in ("_delta_log/0.json", "metadata/v1.metadata.json", ".hoodie/x"):
            inside = "t/" if asked == "/t" else ""
            with pytest.raises(ValueError, match="is an? (Delta|Iceberg|Hudi) table"):
                found(asked, f"{inside}x.parquet", f"{inside}{mark}")
    with pytest.raises(ValueError, match="is a run directory"):
        found("/run", *objects)
