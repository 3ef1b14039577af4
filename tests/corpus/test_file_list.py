"""A growing folder: what is new is taken, what an earlier run listed must be as it was."""

import logging
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.corpus.corpus import open_corpus
from routelmt_ray.corpus.file_list import FileList, NothingNew, choose
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.storage.rundir import RunDir


def start(run: RunDir, folder: Path, since_run: RunDir | None = None, state: str = "done") -> list[str]:
    """What the job does before and at the first start; returns the names that the run took."""
    chosen = choose(run, find_files(str(folder)), since_run and str(since_run.root))
    chosen.write(run)
    run.write_manifest({"state": state})
    return names(chosen)


def names(chosen: FileList) -> list[str]:
    return [file.name for file in chosen.files]


def add(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"source": "{name}"}}\n')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    add(tmp_path / "in", "b.jsonl", "d/c.jsonl")
    return tmp_path / "in"


def test_a_chain_of_runs_takes_every_file_once(folder: Path, tmp_path: Path) -> None:
    runs = [RunDir(tmp_path / f"run-{n}") for n in range(3)]
    assert start(runs[0], folder) == ["b.jsonl", "d/c.jsonl"]
    add(folder, "a.jsonl")
    assert start(runs[1], folder, runs[0]) == ["a.jsonl"]
    add(folder, "z.jsonl", "d/a.jsonl")
    assert start(runs[2], folder, runs[1]) == ["d/a.jsonl", "z.jsonl"]
    with pytest.raises(NothingNew, match="none of the 5 files is new"):
        start(RunDir(tmp_path / "run-3"), folder, runs[2])


def test_a_run_keeps_to_the_files_it_listed(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = RunDir(tmp_path / "run")
    start(run, folder, state="failed")
    add(folder, "a.jsonl")
    with caplog.at_level(logging.WARNING):
        assert names(choose(run, find_files(str(folder)), None)) == ["b.jsonl", "d/c.jsonl"]
    assert "a.jsonl" in caplog.text
    assert f"input.since_run={run.root}" in caplog.text
    run.write_manifest({"state": "done"})
    with pytest.raises(ValueError, match=r"is finished and does not list .*a\.jsonl; read them in a new run_dir"):
        choose(run, find_files(str(folder)), None)


def test_names_stay_as_they_were_when_a_glob_comes_to_match_other_folders(folder: Path, tmp_path: Path) -> None:
    run, glob = RunDir(tmp_path / "run"), str(tmp_path / "in" / "*" / "*.jsonl")
    first = choose(run, find_files(glob), None)
    first.write(run)
    run.write_manifest({"state": "failed"})
    add(folder, "e/c.jsonl")
    assert [file.name for file in find_files(glob)] == ["d/c.jsonl", "e/c.jsonl"]
    assert choose(run, find_files(glob), None) == first


def test_a_corpus_and_its_runs_may_be_moved(folder: Path, tmp_path: Path) -> None:
    first, second = RunDir(tmp_path / "runs" / "0"), RunDir(tmp_path / "runs" / "1")
    start(first, folder)
    add(folder, "a.jsonl")
    start(second, folder, first)
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    (tmp_path / "runs").rename(tmp_path / "done")
    first, second = RunDir(tmp_path / "done" / "0"), RunDir(tmp_path / "done" / "1")
    again = choose(second, find_files(str(moved)), str(first.root))
    assert [(file.name, file.path) for file in again.files] == [("a.jsonl", str(moved / "a.jsonl"))]
    add(moved, "n.jsonl")
    third = choose(RunDir(tmp_path / "done" / "2"), find_files(str(moved)), str(second.root))
    assert names(third) == ["n.jsonl"]
    assert {file.path for file in third.earlier} == {str(moved / name) for name in ("a.jsonl", "b.jsonl", "d/c.jsonl")}
    (moved / "b.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"have changed since: .*elsewhere/b\.jsonl"):
        choose(RunDir(tmp_path / "done" / "3"), find_files(str(moved)), str(second.root))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "b.jsonl").write_text("{}\n"), r"that have changed since: .*b\.jsonl"),
        (lambda folder: (folder / "b.jsonl").unlink(), r"that are not in input\.path any more: .*b\.jsonl"),
    ],
)
def test_what_was_listed_must_still_be_there(folder: Path, tmp_path: Path, change, message: str) -> None:
    first, second = RunDir(tmp_path / "run-0"), RunDir(tmp_path / "run-1")
    start(first, folder)
    add(folder, "new.jsonl")
    change(folder)
    with pytest.raises(ValueError, match=message):
        start(second, folder, first)
    assert not second.root.exists()


def test_only_a_run_can_be_followed(folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    with pytest.raises(ValueError, match=r"has no manifest\.json"):
        start(run, folder, RunDir(tmp_path / "none"))
    old = RunDir(tmp_path / "old")
    old.write_manifest({"state": "done"})
    with pytest.raises(ValueError, match=r"has no input/files\.json"):
        start(run, folder, old)
    with pytest.raises(ValueError, match="is run_dir itself"):
        start(run, folder, run)


def test_a_run_that_is_not_finished_can_be_followed_and_that_is_said(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = RunDir(tmp_path / "run-0")
    start(first, folder, state="running")
    add(folder, "new.jsonl")
    with caplog.at_level(logging.WARNING):
        assert start(RunDir(tmp_path / "run-1"), folder, first) == ["new.jsonl"]
    assert "is not finished" in caplog.text


def edit_inside(path: Path) -> None:
    """Changes a byte in the middle of a file, whose size, beginning and end stay; its time of modification moves on."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 1))


@pytest.mark.parametrize("since", [False, True])
def test_an_edit_inside_a_file_that_was_staged_is_noticed_and_a_touch_is_none(tmp_path: Path, since: bool) -> None:
    folder, first = tmp_path / "in", RunDir(tmp_path / "run")
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"source": "text"}\n' * 20_000)  # more than what is read of its beginning and end
    before = find_files(str(folder))
    start(first, folder, state="done")
    open_corpus(before, first.root / "input", lambda function, arguments: [function(*words) for words in arguments])
    add(folder, *(["new.jsonl"] if since else []))
    run, followed = (RunDir(tmp_path / "run-1"), str(first.root)) if since else (first, None)
    expected = ["new.jsonl"] if since else ["a.jsonl"]
    os.utime(folder / "a.jsonl", (1, 1))
    assert names(choose(run, find_files(str(folder)), followed)) == expected
    edit_inside(folder / "a.jsonl")
    assert find_files(str(folder))[0] == before[0]
    with pytest.raises(
        ValueError, match=r"have changed since: .*a\.jsonl" if since else r"a\.jsonl was edited since run_dir"
    ):
        choose(run, find_files(str(folder)), followed)


def test_parquet_that_was_written_again_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, run = tmp_path / "in", RunDir(tmp_path / "run")
    folder.mkdir()
    pq.write_table(pa.table({"source": ["x"]}), folder / "a.parquet")
    start(run, folder, state="failed")
    assert names(choose(run, find_files(str(folder)), None)) == ["a.parquet"]
    assert caplog.text == ""
    os.utime(folder / "a.parquet", (1, 1))
    assert names(choose(run, find_files(str(folder)), None)) == ["a.parquet"]
    assert "1 files were written again, or copied, since" in caplog.text
    assert "a.parquet" in caplog.text
