"""Reading a corpus: files, damage, schemas, and rows in order from anywhere."""

import gzip
import json
import os
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from routelmt_ray import storage
from routelmt_ray.corpus import jsonl, sniff
from routelmt_ray.corpus.column_checks import check_columns
from routelmt_ray.corpus.corpus import Corpus, open_corpus
from routelmt_ray.corpus.input_files import find_files, fingerprint
from routelmt_ray.corpus.shard_reader import read_shard


def here(function: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    return [function(*words) for words in arguments]


def opened(path: Path, run: Path) -> Corpus:
    return open_corpus(find_files(str(path)), run, here)


def rows(corpus: Corpus, shard_rows: int, columns: list[str]) -> list[dict[str, Any]]:
    plan = corpus.plan(shard_rows)
    return [row for i in range(len(plan)) for row in read_shard(plan[i], corpus.schema, columns).to_pylist()]


@pytest.mark.parametrize("shard_rows", [1, 7, 1000])
def test_rows_come_in_order_from_many_files_and_row_groups(tmp_path, shard_rows: int) -> None:
    (tmp_path / "in").mkdir()
    at = 0
    for name, size, group in (("a", 10, 3), ("b", 0, 3), ("c", 25, 100), ("d", 4, 1)):
        table = pa.table(
            {"source": pa.array([str(i) for i in range(at, at + size)], pa.string()), "n": range(at, at + size)}
        )
        pq.write_table(table, tmp_path / "in" / f"{name}.parquet", row_group_size=group)
        at += size
    corpus = opened(tmp_path / "in", tmp_path / "run")
    assert rows(corpus, shard_rows, ["n", "source"]) == [{"n": i, "source": str(i)} for i in range(39)]
    assert rows(corpus, shard_rows, ["source"]) == [{"source": str(i)} for i in range(39)]


def test_types_are_carried_through_and_files_may_lack_columns(tmp_path) -> None:
    kinds = pa.schema([("source", pa.large_string()), ("when", pa.timestamp("us")), ("tags", pa.list_(pa.int16()))])
    pq.write_table(pa.table({"source": ["x"], "when": [1], "tags": [[1, 2]]}, schema=kinds), tmp_path / "a.parquet")
    pq.write_table(pa.table({"source": ["y"], "extra": [1.5]}), tmp_path / "b.parquet")
    corpus = opened(tmp_path, tmp_path / "_run")
    assert corpus.schema.field("when").type == pa.timestamp("us")
    assert corpus.schema.field("tags").type == pa.list_(pa.int16())
    second = rows(corpus, 10, corpus.schema.names)[1]
    assert second == {"source": "y", "when": None, "tags": None, "extra": 1.5}


def test_types_that_do_not_fit_are_refused_with_the_file(tmp_path) -> None:
    pq.write_table(pa.table({"source": ["x"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"source": ["y"], "n": ["one"]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet do not fit"):
        opened(tmp_path, tmp_path / "_run")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson"])
def test_json_lines_plain_and_compressed(tmp_path, suffix: str) -> None:
    text = "".join(json.dumps({"source": f"line {i}", "meta": {"k": i}}) + "\n" for i in range(50)).encode()
    packed = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(suffix[6:], lambda b: b)(text)
    (tmp_path / f"a{suffix}").write_bytes(packed)
    corpus = opened(tmp_path, tmp_path / "_run")
    assert rows(corpus, 8, ["source", "meta"]) == [{"source": f"line {i}", "meta": {"k": i}} for i in range(50)]


BAD = [b"not json", b"[1]", b'"text"', b'{"source": "\\ud800"}', b'{"source": "\xff"}', b"{" * 5000, b'{"source": "cut']


def test_a_bad_line_costs_its_row_and_keeps_its_bytes(tmp_path) -> None:
    good = b'{"source": "good"}'
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join([good, *BAD, b"", b"  ", good + b"\r"]))
    corpus = opened(tmp_path, tmp_path / "_run")
    found = rows(corpus, 4, ["source", jsonl.BAD_LINE])
    assert [row[jsonl.BAD_LINE] for row in found] == [None, *BAD, None]
    assert [row["source"] for row in found] == ["good", *[None] * len(BAD), "good"]


def test_a_column_of_no_common_type_becomes_json_text(tmp_path) -> None:
    values: list[Any] = [1, "two", {"three": 3}, [4], None, {}, 10**30, True]
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"source": "s", "v": v, "n": i}) + "\n" for i, v in enumerate(values))
    )
    corpus = opened(tmp_path, tmp_path / "_run")
    found = [row["v"] for row in rows(corpus, 3, ["v"])]
    assert found == ["1", "two", '{"three": 3}', "[4]", None, "{}", str(10**30), "true"]
    assert [row["n"] for row in rows(corpus, 3, ["n"])] == list(range(8))


def test_types_are_widened_over_blocks_and_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jsonl, "BLOCK_ROWS", 2)
    (tmp_path / "a.jsonl").write_text(
        '{"source": "a", "n": 1}\n{"source": "b", "n": null}\n{"source": "c", "n": 2.5}\n'
    )
    (tmp_path / "b.jsonl").write_text('{"source": "d", "late": "x"}\n')
    corpus = opened(tmp_path, tmp_path / "_run")
    assert [row["n"] for row in rows(corpus, 10, ["n"])] == [1.0, None, 2.5, None]
    assert [row["late"] for row in rows(corpus, 10, ["late"])] == [None, None, None, "x"]


def test_damaged_files_keep_what_is_readable_and_are_named(tmp_path) -> None:
    whole = gzip.compress(
        "".join(json.dumps({"source": f"{i} {i * 7919 % 10007}"}) + "\n" for i in range(30_000)).encode()
    )
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"source": ["x"] * 100}), tmp_path / "b.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-20])
    (tmp_path / "c.jsonl").write_text('{"source": "last"}\n')
    corpus = opened(tmp_path, tmp_path / "_run")
    assert len(corpus.damage) == 2
    assert "not readable as Parquet" in next(text for text in corpus.damage if "b.parquet" in text)
    assert "cut short" in next(text for text in corpus.damage if "a.jsonl.gz" in text)
    found = [row["source"] for row in rows(corpus, 5000, ["source"])]
    assert found[:2] == ["0 0", "1 7919"]
    readable = zlib.decompressobj(wbits=31).decompress(whole[: len(whole) // 2])
    # every whole line, the broken one (as a bad line), and the one of c.jsonl
    assert len(found) == readable.count(b"\n") + 2
    assert found[-3] == json.loads(readable.splitlines()[-2])["source"]
    assert found[-1] == "last"


def test_files_are_found_by_file_folder_and_glob(tmp_path) -> None:
    for name in ("b/2.jsonl", "b/1.jsonl", "a.parquet", "_hidden/x.jsonl", ".x.jsonl", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [f.name for f in find_files(str(tmp_path))] == ["a.parquet", "b/1.jsonl", "b/2.jsonl"]
    assert [f.name for f in find_files(str(tmp_path / "b" / "*.jsonl"))] == ["1.jsonl", "2.jsonl"]
    assert [f.name for f in find_files(str(tmp_path / "b" / "2.jsonl"))] == ["2.jsonl"]
    with pytest.raises(ValueError, match="unknown kind of file"):
        find_files(str(tmp_path / "notes.txt"))
    with pytest.raises(ValueError, match="no such file or folder"):
        find_files(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no file that ends in"):
        find_files(str(tmp_path / "empty"))


def test_a_missing_column_is_refused_with_those_that_exist(tmp_path) -> None:
    pq.write_table(pa.table({"text": ["x"], "lang": ["de"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"input.columns.source is 'source', but .* it has: text, lang"):
        check_columns(find_files(str(tmp_path)), {"input.columns.source": "source"})
    check_columns(find_files(str(tmp_path)), {"input.columns.source": "text"})


def test_the_fingerprint_sees_a_changed_word(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    prints = []
    for word in ("cat", "cap", "cat"):
        pq.write_table(pa.table({"source": [word] * 10}), path)
        prints.append(fingerprint(find_files(str(path))))
    assert prints[0] == prints[2] != prints[1]


def test_an_opened_corpus_is_taken_up_again_without_looking_into_its_files(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('{"source": "x"}\n')
    first = opened(tmp_path, tmp_path / "_run")

    def refuse(function: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
        raise AssertionError("the corpus was read again")

    again = open_corpus(find_files(str(tmp_path)), tmp_path / "_run", refuse)
    assert again.schema.equals(first.schema)
    assert rows(again, 1, ["source"]) == [{"source": "x"}]


def test_a_corpus_and_its_run_directory_may_be_moved_and_lead_nowhere_else(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"source": "x"}\n')
    pq.write_table(pa.table({"source": ["y"]}), tmp_path / "in" / "b.parquet")
    opened(tmp_path / "in", tmp_path / "run")
    (tmp_path / "in").rename(tmp_path / "moved")
    (tmp_path / "run").rename(tmp_path / "moved-run")
    kept = json.loads((tmp_path / "moved-run" / "corpus.json").read_text())
    kept["parts"] = [["/etc/passwd", 1], ["../../b.parquet", 1]]
    (tmp_path / "moved-run" / "corpus.json").write_text(json.dumps(kept))
    corpus = opened(tmp_path / "moved", tmp_path / "moved-run")
    assert [Path(part.path).parent for part in corpus.parts] == [tmp_path / "moved-run" / "staged", tmp_path / "moved"]
    assert rows(corpus, 9, ["source"]) == [{"source": "x"}, {"source": "y"}]
    (tmp_path / "moved" / "c.parquet").write_bytes((tmp_path / "moved" / "b.parquet").read_bytes())
    with pytest.raises(ValueError, match=r"corpus\.json does not describe the files of input\.path; use a new run_dir"):
        opened(tmp_path / "moved", tmp_path / "moved-run")


@pytest.mark.parametrize("spoiled", ["staged/000000.parquet", "schema.parquet"])
@pytest.mark.parametrize("how", ["cut", "gone", "flip"])
def test_damage_to_what_is_kept_of_a_corpus_is_repaired(tmp_path, spoiled: str, how: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("".join(f'{{"source": "text {i}"}}\n' for i in range(500)))
    wanted = rows(opened(tmp_path / "in", tmp_path / "run"), 100, ["source"])
    path = tmp_path / "run" / spoiled
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if how == "cut" else content[:60] + bytes([content[60] ^ 1]) + content[61:])
    if how == "flip" and "staged" in spoiled:  # the reader sees it, and the next start repairs it
        with pytest.raises(storage.Damaged, match="Start the job again"):
            rows(opened(tmp_path / "in", tmp_path / "run"), 100, ["source"])
    assert rows(opened(tmp_path / "in", tmp_path / "run"), 100, ["source"]) == wanted
    assert storage.list_tree(tmp_path / "run") == ["corpus.json", "schema.parquet", "staged/000000.parquet"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(
        st.one_of(st.binary(max_size=60), st.text(max_size=20).map(lambda t: json.dumps({"source": t}).encode()))
    )
)
def test_no_line_crashes_the_reader_or_is_lost(tmp_path_factory, content: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "a.jsonl").write_bytes(b"\n".join(content))
    assume(sniff.pointer(str(folder / "a.jsonl")) is None)  # hypothesis knows the texts in the code, also this one
    lines = [
        line.rstrip(b"\r") for line in (folder / "a.jsonl").read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    ]
    corpus = opened(folder, folder / "_run")
    assert sum(part.rows for part in corpus.parts) == sum(1 for line in lines if line.strip())
    found = rows(corpus, 3, [*corpus.schema.names, jsonl.BAD_LINE])
    expected = [line for line in lines if line.strip() and jsonl.parse(line) is None]
    assert [row[jsonl.BAD_LINE] for row in found if row[jsonl.BAD_LINE] is not None] == expected


def test_many_small_files_share_staged_ones_and_keep_their_order(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("routelmt_ray.corpus.corpus._GROUP_FILES", 4)
    (tmp_path / "in").mkdir()
    for i in range(11):
        if i == 6:
            pq.write_table(pa.table({"source": ["6"]}), tmp_path / "in" / "06.parquet")
        else:
            (tmp_path / "in" / f"{i:02d}.jsonl").write_text(json.dumps({"source": str(i)}) + "\n")
    corpus = opened(tmp_path / "in", tmp_path / "run")
    assert [part.rows for part in corpus.parts] == [4, 2, 1, 4]
    assert [row["source"] for row in rows(corpus, 3, ["source"])] == [str(i) for i in range(11)]
    monkeypatch.setattr("routelmt_ray.corpus.corpus._GROUP_BYTES", 40)
    assert [part.rows for part in opened(tmp_path / "in", tmp_path / "run-2").parts] == [2, 2, 2, 1, 2, 2]


def test_long_lines_are_read_in_one_go_and_longer_ones_in_parts(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jsonl, "_CHUNK_BYTES", 1_000)
    monkeypatch.setattr(jsonl, "LONGEST_LINE_BYTES", 50_000)
    long, longer = (b'{"source": "' + b"x" * n + b'"}' for n in (40_000, 120_000))
    (tmp_path / "a.jsonl").write_bytes(b'{"source": "first"}\n' + long + b"\n" + longer + b'\n{"source": "last"}')
    found = rows(opened(tmp_path, tmp_path / "_run"), 100, ["source", jsonl.BAD_LINE])
    bad = [row[jsonl.BAD_LINE] for row in found[2:-1]]
    assert [row["source"] for row in (found[0], found[-1])] == ["first", "last"]
    assert found[1]["source"] == "x" * 40_000
    assert b"".join(bad) == longer
    assert max(map(len, bad)) < 52_000


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_what_unpacks_to_a_thousand_times_its_size_takes_little_memory(tmp_path, suffix: str) -> None:
    text = b'{"source": "' + b"x" * 4_000 + b'"}\n'
    pack = zlib.compressobj(wbits=31) if suffix.endswith("gz") else zstandard.ZstdCompressor().compressobj()
    with (tmp_path / f"a{suffix}").open("wb") as file:
        for _ in range(60):
            file.write(pack.compress(text * 500))
        file.write(pack.flush())
    tracemalloc.start()
    n = sum(1 for _ in jsonl.lines(str(tmp_path / f"a{suffix}"), []))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 30_000
    assert peak < 40 << 20  # of 120 MB


def test_integers_that_another_file_makes_floats_are_not_rounded(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('{"source": "a", "n": 1152921504606846977}\n')
    (tmp_path / "b.jsonl").write_text('{"source": "b", "n": 0.5}\n')
    (tmp_path / "c.parquet").write_bytes(b"")
    (tmp_path / "d.jsonl").write_text('{"source": "c", "n": 18446744073709551615}\n')
    corpus = opened(tmp_path, tmp_path / "_run")
    assert [row["n"] for row in rows(corpus, 2, ["n"])] == ["1152921504606846977", "0.5", "18446744073709551615"]


@pytest.mark.parametrize("other", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_strings_of_all_kinds_fit_together(tmp_path, other: pa.DataType) -> None:
    pq.write_table(pa.table({"source": ["x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"source": pa.array(["y", None], pa.string()).cast(other)}), tmp_path / "b.parquet")
    assert [row["source"] for row in rows(opened(tmp_path, tmp_path / "_run"), 2, ["source"])] == ["x", "y", None]


def test_names_that_are_no_files_are_refused(tmp_path) -> None:
    (tmp_path / "a.jsonl").symlink_to("a.jsonl")
    with pytest.raises(ValueError, match=r"a\.jsonl' is not a file, or is a link to a missing one"):
        find_files(str(tmp_path))
    (tmp_path / "a.jsonl").unlink()
    os.mkfifo(tmp_path / "b.jsonl")
    with pytest.raises(ValueError, match=r"b\.jsonl' is not a file"):
        find_files(str(tmp_path))
    (tmp_path / "b.jsonl").unlink()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl")).write_text("{}")
    with pytest.raises(ValueError, match="is not valid UTF-8; rename it"):
        find_files(str(tmp_path))


def test_a_file_of_many_columns_is_looked_at_as_often_as_one_of_few(tmp_path, monkeypatch) -> None:
    """Its schema is made of all its columns each time it is asked for."""
    looks: dict[int, int] = {}
    plain = pq.ParquetFile.schema_arrow.fget

    def counted(file: pq.ParquetFile) -> pa.Schema:
        schema = plain(file)
        looks[len(schema)] = looks.get(len(schema), 0) + 1
        return schema

    monkeypatch.setattr(pq.ParquetFile, "schema_arrow", property(counted))
    for n in (3, 200):
        (tmp_path / str(n)).mkdir()
        pq.write_table(pa.table({f"c{i}": [i] for i in range(n)}), tmp_path / str(n) / "a.parquet")
        corpus = opened(tmp_path / str(n), tmp_path / f"run-{n}")
        assert rows(corpus, 1, corpus.schema.names) == [{f"c{i}": i for i in range(n)}]
    assert looks[200] == looks[3] < 10
