"""A disk that is full, and a folder that cannot be written: a clear end, and the same command goes on when there is room."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Job
from tests.faults.test_engines import ECHO

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def words(local_ray: None, tmp_path: Path) -> list[str]:
    table = pa.table({"n": range(6000), "source": [f"row {i} " + "xyz" * (i % 40) for i in range(6000)]})
    pq.write_table(table, tmp_path / "in.parquet")
    return [f"input.path={tmp_path / 'in.parquet'}", *ECHO, "input.shard_rows=1000", "ray.rounds=1"]


def test_a_full_disk(words: list[str], small_disk: Path, tmp_path: Path) -> None:
    calm, job = Job(tmp_path / "calm"), Job(small_disk / "run")
    calm.run(*words)
    failed = job.run(*words, check=1)
    assert "No space left on device" in failed.stderr and "the same command resumes" in failed.stderr
    assert "Traceback" not in failed.stderr.rpartition("did not commit")[2]
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    job.run(*words)
    assert job.output().equals(calm.output())
    assert not list(job.run_dir.rglob("*.tmp"))


def test_a_run_directory_that_cannot_be_written(words: list[str], small_disk: Path) -> None:
    job = Job(small_disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = job.run(*words, check=2)
    assert "Read-only file system" in refused.stderr and str(job.run_dir) in refused.stderr
    assert "Traceback" not in refused.stderr
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
