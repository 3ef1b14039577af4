"""What a scheduler sees of a job: exit statuses, clean stops, JSON messages, growing folders."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.corpus.file_list import NothingNew
from routelmt_ray.job.status import status
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import ROOT, Job
from tests.end_to_end import runs
from tests.end_to_end.label_runs import LabelJob

WORDS = [*runs.ECHO, "router.kind=length", "budget.fraction=0.3", "input.shard_rows=20"]


def corpus(path: Path, rows: int, blank: int = 0) -> str:
    texts = ["" if i < blank else f"row {i} " + "x" * (i % 50) for i in range(rows)]
    pq.write_table(pa.table({"n": range(rows), "source": texts, "reference": texts}), path)
    return f"input.path={path}"


def stop_when_committed(job: Job, stage: str, number: signal.Signals, *words: str) -> tuple[int, str, float]:
    """Starts a job, sends it a signal once a stage has a shard; gives its status, its messages and how long it took to end."""
    process = subprocess.Popen(
        job.command(*words), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 480
        while not RunDir(job.run_dir).committed(stage):
            assert process.poll() is None, "the job ended before it could be stopped"
            assert time.monotonic() < deadline, "the job never got so far"
            time.sleep(0.02)
        process.send_signal(number)
        told = time.monotonic()
        messages = process.communicate(timeout=60)[1]
        return process.returncode, messages, time.monotonic() - told
    finally:
        if process.poll() is None:
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("forked_workers", "without_ray")
def test_sigterm_keeps_what_is_committed_and_too_much_quarantine_is_3(job: Job, tmp_path: Path) -> None:
    words = [corpus(tmp_path / "in.parquet", 800, blank=100), *WORDS, "output.max_quarantine_share=0.01"]
    ended, messages, took_s = stop_when_committed(job, "large/000", signal.SIGTERM, *words, "log.format=json")
    assert ended == 143
    assert took_s < 20, "seconds on a busy machine"
    said = [json.loads(line) for line in messages.splitlines() if not line.startswith("[")]  # Ray's own core says so
    assert said[-1]["message"] == "stopped by SIGTERM. Committed work is kept; the same command resumes."
    assert "Traceback" not in messages
    found = status(str(job.run_dir))
    assert (found["state"], found["errors"]["last"]) == ("stopped", "stopped by SIGTERM")
    run = RunDir(job.run_dir)
    kept = {stage: run.commit_times(stage) for stage in ("scores", "large/000", "small/000")}
    done = job.run(*words, check=3)
    wanted = "100 of 800 rows are in quarantine, files not read: 0, not to the end: 0; a share of 0.125; "
    assert wanted + "output.max_quarantine_share allows 0.01" in done.stderr
    for stage, times in kept.items():
        assert times.items() <= run.commit_times(stage).items()
    assert job.output()["n"].to_pylist() == list(range(800))
    found = status(str(job.run_dir))
    assert (found["state"], found["errors"]["last"]) == ("done", None)
    job.run(*words, check=3)
    job.run(*words, "output.max_quarantine_share=0.125")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("forked_workers", "without_ray")
def test_a_label_run_ends_in_the_same_ways_and_without_a_traceback(tmp_path: Path) -> None:
    job = LabelJob(tmp_path / "run")
    words = [
        corpus(tmp_path / "in.parquet", 600, blank=20), *runs.ECHO, "input.columns.reference=reference",
        "input.shard_rows=20", "output.max_quarantine_share=0.03",
    ]  # fmt: skip
    ended, messages, _ = stop_when_committed(job, "large/all", signal.SIGINT, *words)
    assert ended == 130
    assert "stopped by SIGINT. Committed work is kept" in messages
    assert "Traceback" not in messages
    assert "20 of 600 rows are in quarantine" in job.run(*words, check=3).stderr
    assert job.output()["n"].to_pylist() == list(range(600))


def test_a_new_run_takes_what_came_since_an_earlier_one(without_ray: None, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    corpus(folder / "b.parquet", 40)
    runs.run(tmp_path / "1", folder, *WORDS)
    corpus(folder / "a.parquet", 30)
    since = f"input.since_run={tmp_path / '1'}"
    runs.run(tmp_path / "2", folder, *WORDS, since)
    assert runs.output(tmp_path / "2")["n"].to_pylist() == list(range(30))
    runs.run(tmp_path / "2", folder, *WORDS, since, "budget.fraction=0.5")
    with pytest.raises(ValueError, match=r"input\.since_run: '.*1' -> None"):
        runs.run(tmp_path / "2", folder, *WORDS)
    with pytest.raises(NothingNew):
        runs.run(tmp_path / "3", folder, *WORDS, f"input.since_run={tmp_path / '2'}")
    again = Job(tmp_path / "3").run(f"input.path={folder}", *WORDS, f"input.since_run={tmp_path / '2'}")
    assert "none of the 2 files is new to it; nothing to do" in again.stderr
    assert not (tmp_path / "3").exists()
