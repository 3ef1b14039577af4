"""Shared by the tests: the embedded pair, small corpora, and jobs run the way a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.rundir import RunDir

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "routelmt_ray" / "demo"
DEMO_CONFIG = "configs/demo.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--start-none-after", type=float, default=float("inf"), metavar="EPOCH_S",
        help="skip tests that would start later than this, in seconds since 1970",
    )  # fmt: skip


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.time() > item.config.getoption("--start-none-after"):
        pytest.skip(f"no time left to run {item.nodeid}; make test-slow does")


@pytest.fixture(scope="session")
def demo_corpus(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Sentences of the embedded grammar with references, both language pairs."""
    folder = tmp_path_factory.mktemp("demo-corpus")
    command = [sys.executable, "-m", "routelmt_ray.demo.corpus", "--out", str(folder), "--rows", "240", "--seed", "7"]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return pq.read_table(folder)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One small cluster for the tests that ask for it by name."""
    import ray

    from routelmt_ray import cluster
    from routelmt_ray.config import RayConfig

    cluster.start(RayConfig(num_cpus=4, object_store_mb=200))
    yield
    ray.shutdown()


class Job:
    """Starts jobs/translate.py as a process of its own."""

    def __init__(self, run_dir: Path | storage.S3Path) -> None:
        self.run_dir: Any = run_dir

    def command(self, *overrides: str, config: str | None = None) -> list[str]:
        named = ["--config", config] if config else []
        return [
            sys.executable,
            "jobs/translate.py",
            *named,
            f"run_dir={self.run_dir}",
            "ray.object_store_mb=200",
            *overrides,
        ]

    def run(
        self, *overrides: str, config: str | None = None, check: int | None = 0, timeout_s: float = 280
    ) -> subprocess.CompletedProcess[str]:
        """Runs to the end and asserts the exit status; None for any."""
        done = subprocess.run(
            self.command(*overrides, config=config), cwd=ROOT, capture_output=True, text=True, timeout=timeout_s
        )
        assert check in (None, done.returncode), f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def kill_when(self, ready: Callable[[Path], bool], *overrides: str, config: str | None = None) -> None:
        """Starts, waits until the run directory looks as asked, and kills the driver with SIGKILL."""
        process = subprocess.Popen(
            self.command(*overrides, config=config), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 200
        try:
            while not ready(self.run_dir):
                assert process.poll() is None, "the job ended before it could be killed"
                assert time.monotonic() < deadline, "the job never got so far"
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def output(self) -> pa.Table:
        """The merged rows, in order."""
        run = RunDir(self.run_dir)
        return pa.concat_tables(
            storage.read_table(run.shard_path("output", shard)) for shard in sorted(run.committed("output"))
        )

    def plan(self) -> dict[str, bytes]:
        """Content of the plan's files, by name."""
        names = [name for name in storage.list_tree(self.run_dir) if name.startswith("plan/")]
        return {name: storage.read_bytes(self.run_dir / name) for name in names}

    def report(self) -> dict[str, Any]:
        """report.json."""
        report: dict[str, Any] = json.loads(storage.read_bytes(self.run_dir / "report.json"))
        return report


def untimed(rows: pa.Table) -> pa.Table:
    """Without the columns of seconds, which are those of another day."""
    return rows.drop_columns([name for name in rows.column_names if name.endswith("_s")])


class Undisturbed(NamedTuple):
    """A run that nothing happened to, to hold others against."""

    words: list[str]
    """With the configuration :data:`DEMO_CONFIG`."""
    job: Job


@pytest.fixture(scope="session")
def undisturbed_demo(demo_corpus: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The demo corpus through both models, in ten shards."""
    folder = tmp_path_factory.mktemp("undisturbed")
    pq.write_table(demo_corpus, folder / "in.parquet")
    words, job = [f"input.path={folder / 'in.parquet'}", "input.shard_rows=24"], Job(folder / "run")
    job.run(*words, config=DEMO_CONFIG)
    return Undisturbed(words, job)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job on a fresh run directory."""
    return Job(tmp_path / "run")
