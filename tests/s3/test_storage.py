"""One contract for files wherever they are, and what S3 is asked for it."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from routelmt_ray import storage
from routelmt_ray.storage.rundir import RunDir
from tests.s3.proxy import FaultProxy


def at_once(threads: int, function) -> list:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, range(threads)))


def test_bytes_are_written_whole_and_read_in_part(root) -> None:
    path = root / "a/b.bin"
    assert not storage.exists(path)
    assert storage.entry(path) is None
    for content in (b"0123456789", b"", b"new"):
        storage.write_bytes(path, content)
        assert storage.exists(path)
        assert storage.read_bytes(path) == content
        assert storage.entry(path).size_bytes == len(content)
    assert (storage.read_bytes(path, 1, 2), storage.read_bytes(path, -2), storage.read_bytes(path, 1)) == (
        b"e", b"ew", b"ew",
    )  # fmt: skip
    with storage.open_file(path) as source:
        assert (source.read(2), source.seek(-1, 2), source.read(), source.read()) == (b"ne", 2, b"w", b"")
    storage.remove(path)
    storage.remove(path)
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(path)
    with pytest.raises(FileNotFoundError):
        storage.read_json(path)


def test_text_and_json_are_utf8_and_broken_json_is_named(root) -> None:
    storage.write_json(root / "x.json", {"s": "Ж"})
    assert storage.read_json(root / "x.json") == {"s": "Ж"}
    storage.write_text(root / "x.json", '{"s": ')
    with pytest.raises(ValueError, match=r"x\.json is not valid JSON .*cut short or altered"):
        storage.read_json(root / "x.json")


def test_names_and_trees(root) -> None:
    assert (storage.list_names(root), storage.list_tree(root)) == ([], [])
    for name in ("a.txt", "b/c.txt", "b/d/e.txt", "bb/f.txt", "b/.x.tmp"):
        storage.write_text(root / name, name)
    assert storage.list_names(root) == ["a.txt", "b", "bb"]
    assert storage.list_names(root / "b") == ["c.txt", "d"]
    assert storage.list_tree(root) == ["a.txt", "b/c.txt", "b/d/e.txt", "bb/f.txt"]
    storage.remove_tree(root / "b")
    storage.remove_tree(root / "nothing")
    assert storage.list_tree(root) == ["a.txt", "bb/f.txt"]


def test_of_many_writers_one_creates_and_nothing_of_the_others_stays(root) -> None:
    won = at_once(16, lambda i: storage.create(root / "x", b"%d" % i))
    assert sum(won) == 1
    assert storage.read_bytes(root / "x") == b"%d" % won.index(True)
    assert storage.list_names(root) == ["x"]


def test_of_many_swaps_one_succeeds_and_only_of_what_is_there(root) -> None:
    path = root / "x"
    assert not storage.swap(path, b"", b"new")
    storage.write_bytes(path, b"old")
    assert not storage.swap(path, b"other", b"new")
    won = at_once(16, lambda i: storage.swap(path, b"old", b"%d" % i))
    assert sum(won) == 1
    assert storage.read_bytes(path) == b"%d" % won.index(True)


def test_tables_and_what_is_said_with_them(root) -> None:
    run = RunDir(root)
    table = pa.table({"n": range(5_000), "s": [f"text {i % 9}" for i in range(5_000)]})
    assert run.commit("large/000", 7, table, {"rows": 5_000, "long": "x" * 100_000}, compression="zstd")
    assert not run.commit("large/000", 7, table.slice(1), {})
    path = run.shard_path("large/000", 7)
    assert storage.read_table(path).equals(table)
    part = storage.read_table(path, ["s", "n"], dictionaries=["s"])
    assert part.column_names == ["s", "n"]
    assert pa.types.is_dictionary(part["s"].type)
    assert run.metas("large/000") == {7: {"rows": 5_000, "long": "x" * 100_000}}
    assert (run.committed("large/000"), run.committed("large/001")) == ({7}, set())
    assert storage.read_schema(path).names == ["n", "s"]
    assert storage.count_rows(path) == 5_000
    assert run.damaged() == {}
    run.clear("large/000")
    assert storage.list_tree(root) == []
    with pytest.raises(FileNotFoundError):
        storage.read_table(path)


def test_damaged_shards_are_found_and_removed_with_what_vouches_for_them(root, caplog) -> None:
    run = RunDir(root)
    table = pa.table({"n": range(1_000)})
    for stage in ("scores", "output", "quarantine"):
        for shard in range(3):
            run.commit(stage, shard, table, {"long": "x" * 100_000 if shard == 1 else ""})
    storage.write_text(root / "output/_SUCCESS", "")

    def spoil(stage: str, shard: int, spoiled) -> None:
        path = run.shard_path(stage, shard)
        storage.write_bytes(path, spoiled(storage.read_bytes(path)))

    spoil("scores", 0, lambda content: content[:-20])
    spoil("scores", 1, lambda content: content[:100] + content[101:])  # the end is whole, the middle is not
    spoil("output", 2, lambda content: content[:60] + b"\xff\xff" + content[62:])  # written after the folder was whole
    spoil("quarantine", 1, lambda content: b"")
    assert sorted(run.damaged()) == [
        "output/shard-000002.parquet", "quarantine/shard-000001.parquet",
        "scores/shard-000000.parquet", "scores/shard-000001.parquet",
    ]  # fmt: skip
    assert sorted(run.remove_damaged()) == sorted(["output/shard-000002.parquet", "quarantine/shard-000001.parquet",
        "scores/shard-000000.parquet", "scores/shard-000001.parquet"])  # fmt: skip
    assert "scores/shard-000001.parquet is damaged" in caplog.text
    assert (run.committed("scores"), run.committed("output"), run.committed("quarantine")) == ({2}, {0}, {0, 2})
    assert not storage.exists(root / "output/_SUCCESS")
    assert run.damaged() == {}


def test_a_page_that_was_altered_is_found_by_who_reads_it(root) -> None:
    run = RunDir(root)
    run.commit("small/000", 0, pa.table({"n": range(1_000)}), {})
    path = run.shard_path("small/000", 0)
    content = bytearray(storage.read_bytes(path))
    content[60] ^= 1
    storage.write_bytes(path, bytes(content))
    assert run.damaged() == {}
    for _ in range(2):
        with pytest.raises(storage.Damaged, match=r"shard-000000\.parquet is damaged.*Start the job again"):
            storage.read_table(path, ["n"])
    assert run.remove_damaged() == ["small/000/shard-000000.parquet"]
    assert storage.list_tree(root) == []


def test_names_never_lead_out_of_a_run_directory(root) -> None:
    run = RunDir(root)
    for stage in ("../elsewhere", "large/../../x", "/etc", "", "a//b", "./a", "a\\b"):
        for use in (run.committed, run.clear, lambda stage: run.shard_path(stage, 0), run.damaged):
            with pytest.raises(ValueError, match="leads out of"):
                use(stage)


def test_addresses_are_names_of_buckets_and_keys() -> None:
    path = storage.path("s3://bucket/a//b c/")
    assert str(path) == "s3://bucket/a//b c"
    assert (path / "x/y").name == "y"
    assert str((path / "x").parent) == str(path)
    assert str(storage.path("s3://bucket") / "x") == "s3://bucket/x"
    assert storage.path(path) is path
    for bad in ("s3://", "s3:///key"):
        with pytest.raises(ValueError, match="names no bucket"):
            storage.path(bad)


def test_listings_have_more_than_a_page_and_only_their_own_prefix(bucket, proxy: FaultProxy) -> None:
    run = RunDir(bucket)
    paths = [run.shard_path(stage, i) for stage, n in (("scores", 7), ("scores-of-others", 3)) for i in range(n)]
    assert all(storage.create(path, b"x") for path in paths)
    proxy.seen.clear()
    proxy.page_keys = 4  # S3 has 1,000
    assert run.committed("scores") == set(range(7))
    assert len(proxy.seen) == 2
    assert all("prefix=some%2Fwhere%2Fscores%2F&" in request.target for request in proxy.seen)
    run.clear("scores")
    assert storage.list_names(bucket) == ["scores-of-others"]


def test_a_shard_is_one_request_and_its_footer_another(bucket, proxy: FaultProxy) -> None:
    run = RunDir(bucket)
    run.commit("scores", 0, pa.table({"n": range(100_000)}), {"rows": 1}, compression="none")
    path, size = run.shard_path("scores", 0), storage.entry(run.shard_path("scores", 0)).size_bytes
    for read, most in ((storage.read_table, size), (storage.read_meta, 1 << 16)):
        proxy.seen.clear()
        proxy.bytes_answered = 0
        read(path)
        assert [request.method for request in proxy.seen] == ["GET"]
        assert proxy.bytes_answered <= most


def test_the_end_of_a_file_is_read_once_as_long_as_it_is_the_same(bucket, proxy: FaultProxy) -> None:
    run, table = RunDir(bucket), pa.table({"n": range(10)})
    for shard in range(3):
        run.commit("scores", shard, table, {"rows": shard})
    assert run.damaged() == {}
    proxy.seen.clear()
    for _ in range(3):
        assert run.metas("scores") == {shard: {"rows": shard} for shard in range(3)}
        assert run.damaged("scores") == {}
    assert {"list-type" in request.target for request in proxy.seen} == {True}
    storage.remove(run.shard_path("scores", 1))
    run.commit("scores", 1, table, {"rows": 7})
    proxy.seen.clear()
    assert run.metas("scores")[1] == {"rows": 7}
    assert len([request for request in proxy.seen if "list-type" not in request.target]) == 1
    assert len(pickle.dumps(run)) < 1_000
    storage.write_bytes(run.shard_path("scores", 2), b"PAR1")
    with pytest.raises(storage.Damaged, match="cut short"):
        run.metas("scores")
