"""Files appear whole and once."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.storage import lease, local, tables
from routelmt_ray.storage.rundir import FORMAT, RunDir, differences


def test_the_second_writer_of_a_shard_loses_without_harm(tmp_path) -> None:
    run = RunDir(tmp_path)
    assert run.commit("scores", 3, pa.table({"a": [1]}), {"by": "first"})
    assert not run.commit("scores", 3, pa.table({"a": [2]}), {"by": "second"})
    assert pq.read_table(run.shard_path("scores", 3))["a"].to_pylist() == [1]
    assert run.metas("scores") == {3: {"by": "first"}}
    assert list(storage.leftovers(tmp_path)) == []


def refusing(code: int):
    def refuse(*names: object) -> None:
        raise OSError(code, os.strerror(code), str(names[-1]))

    return refuse


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.EPERM, errno.ENOSYS])
def test_without_hard_links_a_file_still_appears_whole_and_once(tmp_path, monkeypatch, code: int) -> None:
    monkeypatch.setattr(os, "link", refusing(code))
    run = RunDir(tmp_path)
    assert run.commit("scores", 3, pa.table({"a": [1]}), {"by": "first"})
    assert not run.commit("scores", 3, pa.table({"a": [2]}), {"by": "second"})
    assert run.metas("scores") == {3: {"by": "first"}}
    assert list(storage.leftovers(tmp_path)) == []
    with lease.hold(tmp_path), pytest.raises(lease.Held):
        lease.hold(tmp_path).__enter__()


def test_a_disk_that_cannot_publish_is_refused_at_the_lease(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    monkeypatch.setattr(local, "_rename_where_none_is", refusing(errno.EINVAL))
    with pytest.raises(storage.AddressRefused, match="neither hard links nor a rename .* choose a folder on"):
        lease.hold(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(local, "_rename_where_none_is", refusing(errno.EACCES))
    with pytest.raises(PermissionError):
        storage.create(tmp_path / "a", b"")


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch) -> None:
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: fsync(handle) if _is_file(handle) else refusing(errno.EINVAL)(handle)
    )
    assert storage.create(tmp_path / "a", b"a")


def _is_file(handle: int) -> bool:
    return Path(f"/proc/self/fd/{handle}").resolve().is_file()


def test_a_temporary_file_that_vanished_is_no_other_drivers_doing(tmp_path, monkeypatch) -> None:
    path = tmp_path / "lease.json"
    path.write_bytes(b"mine")
    monkeypatch.setattr(os, "replace", refusing(errno.ENOENT))
    with pytest.raises(FileNotFoundError):
        storage.swap(path, b"mine", b"mine, later")
    assert not storage.swap(path, b"another's", b"mine"), "this one was replaced"
    path.unlink()
    assert not storage.swap(path, b"mine", b"mine, later"), "this one was released"


def test_cleaning_spares_what_a_beat_is_writing(tmp_path) -> None:
    run = RunDir(tmp_path)
    storage.write_text(tmp_path / "lease.json", "{}")
    beat = tmp_path / ".lease.json.0123.tmp"
    beat.write_bytes(b"")
    (tmp_path / ".report.json.0123.tmp").write_bytes(b"")
    assert run.remove_leftovers() == 1
    assert beat.exists()


def test_committed_counts_only_whole_shards(tmp_path) -> None:
    run = RunDir(tmp_path)
    run.commit("large/000", 12, pa.table({"a": [1]}), {})
    (tmp_path / "large/000/.shard-000013.parquet.abc.tmp").write_bytes(b"half")
    (tmp_path / "large/000/notes.txt").write_text("not a shard")
    assert run.committed("large/000") == {12}
    assert run.committed("large/001") == set()
    assert run.remove_leftovers() == 1
    assert run.remove_leftovers() == 0


def test_a_failed_write_leaves_no_trace(tmp_path, monkeypatch) -> None:
    def fsync(handle: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    path = tmp_path / "scores" / "shard-000000.parquet"
    monkeypatch.setattr(os, "fsync", fsync)
    for write in (lambda: storage.publish_table(path, pa.table({"a": [1]}), {}), lambda: storage.write_text(path, "a")):
        with pytest.raises(OSError, match="disk full"):
            write()
        assert list(path.parent.iterdir()) == []


def test_no_byte_of_a_shard_is_altered_unnoticed(tmp_path) -> None:
    path, table = (
        tmp_path / "shard",
        pa.table({"n": range(40), "s": [f"x{i % 7}" if i % 5 else None for i in range(40)]}),
    )
    storage.publish_table(path, table, {"rows": 40}, compression="zstd")
    whole = path.read_bytes()
    assert pq.read_table(pa.BufferReader(whole)).equals(table)  # anybody's reader can do without the seal
    noticed = {"by its end": 0, "by its pages": 0}
    for at in range(len(whole)):
        altered = bytearray(whole)
        altered[at] ^= 1 << at % 8
        path.write_bytes(altered)
        if storage.look(path, len(altered)).wrong:
            noticed["by its end"] += 1
            continue
        assert storage.read_meta(path) == {"rows": 40}
        assert storage.parse_meta(path, storage.look(path, len(altered)).summary) == {"rows": 40}
        try:
            with storage.open_table(path) as file:
                assert file.read().equals(table)
        except storage.Damaged:
            noticed["by its pages"] += 1
    assert min(noticed.values()) > 100
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert storage.look(path, size).wrong, size


def test_json_is_replaced_whole(tmp_path) -> None:
    run = RunDir(tmp_path / "new")
    assert run.manifest() is None
    run.write_manifest({"n": 1, "s": "Ж"})
    run.write_manifest({"n": 2})
    assert run.manifest() == {"n": 2, "format": FORMAT}
    assert storage.list_names(tmp_path / "new") == ["manifest.json"]


def test_plans_come_back_in_order(tmp_path) -> None:
    run = RunDir(tmp_path)
    for number in range(12):
        run.write_plan({"entry": number})
    assert [entry["entry"] for entry in run.plans()] == list(range(12))


def test_differences_name_the_key() -> None:
    old = {"models": {"small": {"files": "abc"}}, "seed": 0}
    new = {"models": {"small": {"files": "def"}}, "seed": 0, "router": {"kind": "length"}}
    assert differences(old, new) == [
        "models.small.files: 'abc' -> 'def'",
        "router: None -> {'kind': 'length'}",
    ]
    assert differences(old, old) == []


def test_a_file_has_row_groups_that_readers_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"texts": [["x" * 50, str(i)] for i in range(64)]})
    monkeypatch.setattr(tables, "_GROUP_BYTES", table.nbytes // 8)
    storage.publish_table(tmp_path / "a.parquet", table, {})
    assert pq.read_metadata(tmp_path / "a.parquet").num_row_groups >= 8
    assert pq.read_table(tmp_path / "a.parquet").equals(table)
    storage.publish_table(tmp_path / "b.parquet", table.slice(0, 4), {})
    assert pq.read_metadata(tmp_path / "b.parquet").num_row_groups == 1


def test_a_table_has_the_row_groups_that_are_asked_for_and_each_can_be_read_alone(tmp_path: Path) -> None:
    table, path = pa.table({"n": range(10), "text": [f"text {i}" for i in range(10)]}), tmp_path / "a.parquet"
    assert storage.publish_table(path, table, {"rows": 10}, groups=[4, 0, 6, 0], compression="none")
    parts = [storage.read_table(path, group=group) for group in range(4)]
    assert [part.num_rows for part in parts] == [4, 0, 6, 0]
    assert pa.concat_tables(parts).equals(table) and storage.read_table(path).equals(table)
    assert storage.read_table(path, ["text"], group=2).to_pydict() == {"text": [f"text {i}" for i in range(4, 10)]}
    assert storage.read_meta(path) == {"rows": 10} and storage.look(path, path.stat().st_size).wrong is None
    content = bytearray(path.read_bytes())
    content[content.index(b"text 0") + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(storage.Damaged, match="Start the job again"):
        storage.read_table(path, group=0)
    assert path.with_name(path.name + storage.DAMAGED_MARK).exists()
