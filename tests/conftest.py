"""Shared by the tests: the embedded pair, small corpora, and jobs run the way a user starts them."""

import faulthandler
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import cache
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from routelmt_ray import storage
from routelmt_ray.config.common import RayConfig
from routelmt_ray.demo.corpus import write_corpus
from routelmt_ray.storage.rundir import RunDir

os.environ.setdefault("OMP_NUM_THREADS", "1")
# On a busy machine Ray ends workers that wait a second for their next task, and starts others: two CPU-seconds each.
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "120000")

ENDPOINT_KEY = "ROUTELMT_TEST_ENDPOINT_KEY"
"""Variable with a secret that the workers of the shared cluster have too."""
os.environ.setdefault(ENDPOINT_KEY, "planted-key-of-an-endpoint")

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "routelmt_ray" / "demo"
DEMO_CONFIG = "configs/demo.yaml"
DEMO_SHARDS = "input.shard_rows=24"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--start-none-after", type=float, default=float("inf"), metavar="EPOCH_S",
        help="skip tests that would start later than this, in seconds since 1970",
    )  # fmt: skip


_FIRST = ("end_to_end", "faults", "cluster", "s3", "runtime", "router", "demo", "stages", "budget")
"""Folders with files that take long. The one that is started last ends the run, so that it must be a short one."""


def pytest_configure(config: pytest.Config) -> None:
    # No test cuts the power; waiting for the disk would be a tenth of a job's time.
    pytest.MonkeyPatch().setattr(os, "fsync", lambda handle: None)
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files that have most tests


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {folder: place for place, folder in enumerate(_FIRST)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(_FIRST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.time() > item.config.getoption("--start-none-after"):
        pytest.skip(f"no time left to run {item.nodeid}; make test-slow does")


_SHORT_CHARACTERS = 64
"""Longest source of the demo corpus of the tests: a batch takes as many steps as its longest row has tokens."""


@pytest.fixture(scope="session")
def demo_corpus(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """240 short sentences of the embedded grammar with references, both language pairs."""

    def write(folder: Path) -> None:
        write_corpus(folder, "test", 480, 7)
        (path,) = folder.iterdir()
        rows = pq.read_table(path)
        pq.write_table(
            rows.filter(pc.less_equal(pc.utf8_length(rows["source"]), _SHORT_CHARACTERS)).slice(0, 240), path
        )

    return pq.read_table(made_once(tmp_path_factory, "demo-corpus", write))


_SHARED = ExitStack()
"""What the shared cluster needs; it ends with the session."""
_END_SECONDS = 120
"""Longest time for the end of the shared cluster; a process that takes longer shows where it waits, and ends."""


@cache
def runner() -> Path:
    """Starts the process that workers of tests are forked from; gives what a cluster has to run in place of Python."""
    from tests.forked_workers import forked

    return _SHARED.enter_context(forked())


@contextmanager
def on_shared_cluster() -> Iterator[None]:
    """Has all that starts a local cluster in this process start the one that its tests share.

    A process stays with its first cluster, and the workers of any other are not forked: each then takes seconds.
    """
    from routelmt_ray.runtime import cluster

    connect = cluster._connect

    def connect_shared(config: RayConfig) -> None:
        if config.address != "local":
            connect(config)
            return
        import ray

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", str(runner()))
            connect(RayConfig(num_cpus=4, object_store_mb=200))
        _SHARED.callback(ray.shutdown)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "_connect", connect_shared)
        yield


def pytest_sessionfinish() -> None:
    faulthandler.dump_traceback_later(_END_SECONDS, exit=True)
    _SHARED.close()
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def local_ray() -> None:
    """One small cluster for the tests that ask for it by name."""
    from routelmt_ray.runtime import cluster

    with on_shared_cluster():
        cluster.start(RayConfig())


@pytest.fixture
def without_ray() -> Iterator[None]:
    """Whole jobs in this process, without a cluster: for what a job computes."""
    from tests import without_ray as plain

    with plain.without_ray():
        yield


class Ended(NamedTuple):
    """How a job ended, whoever ran it."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a job that gets as far as starting Ray."""
    from routelmt_ray.runtime import cluster

    monkeypatch.setattr(cluster, "start", lambda config: pytest.fail("the job started Ray"))


class Job:
    """jobs/translate.py on a run directory, as a command line starts it: inside this process, or as a process."""

    script = "translate"
    launcher: tuple[str, ...] = (sys.executable,)
    """Command that starts a script as a process; see :func:`forked_workers`."""
    kill = signal.SIGKILL
    """Signal to that process at which the driver is killed without a warning."""

    def __init__(self, run_dir: Path | storage.S3Path) -> None:
        self.run_dir: Any = run_dir

    def words(self, *overrides: str, config: str | None = None) -> list[str]:
        """The arguments."""
        named = ["--config", config] if config else []
        return [*named, f"run_dir={self.run_dir}", "ray.object_store_mb=200", *overrides]

    def command(self, *overrides: str, config: str | None = None) -> list[str]:
        """The command line of a process."""
        return [*self.launcher, f"jobs/{self.script}.py", *self.words(*overrides, config=config)]

    def run(self, *overrides: str, config: str | None = None, check: int | None = 0) -> Ended:
        """Runs to the end in this process, on the cluster the tests share, and asserts the exit status; None for any.

        What it says on stderr is what a process would say there. Workers do not see a variable that a test sets: use
        :meth:`run_process` for that, and where the point is a process.
        """
        ended = in_this_process(import_module(f"jobs.{self.script}").main, self.words(*overrides, config=config))
        assert check in (None, ended.returncode), f"exit status {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended

    def run_process(
        self, *overrides: str, config: str | None = None, check: int | None = 0, timeout_s: float = 280
    ) -> Ended:
        """Runs to the end as a process with a cluster of its own; otherwise as :meth:`run`."""
        done = subprocess.run(
            self.command(*overrides, config=config), cwd=ROOT, capture_output=True, text=True, timeout=timeout_s
        )
        assert check in (None, done.returncode), f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Ended(done.returncode, done.stdout, done.stderr)

    def kill_when(self, ready: Callable[[Path], bool], *overrides: str, config: str | None = None) -> None:
        """Starts, waits until the run directory looks as asked, and kills the driver with SIGKILL."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                self.command(*overrides, config=config), cwd=ROOT, stdout=said, stderr=said, start_new_session=True
            )
            deadline = time.monotonic() + 500
            try:
                while not ready(self.run_dir):
                    if process.poll() is not None or time.monotonic() > deadline:
                        said.seek(0)
                        pytest.fail(f"the job ended or never got so far: {process.poll()}\n{said.read().decode()}")
                    time.sleep(0.02)
            finally:
                process.send_signal(self.kill)
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


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has each job that the test starts as a process be forked, with its workers, where not their imports are the point.

    Such processes have the environment that they should have, but no file of /proc shows it.
    """
    from tests.forked_workers import KILL

    monkeypatch.setattr(Job, "launcher", forking())
    monkeypatch.setattr(Job, "kill", KILL)


def forking() -> tuple[str, ...]:
    """A launcher of :class:`Job` that has the job be forked, with its workers; see :func:`forked_workers`."""
    return str(runner()), "tests/forked_driver.py", str(runner())


def untimed(rows: pa.Table) -> pa.Table:
    """Without the columns of seconds, which are those of another day."""
    return rows.drop_columns([name for name in rows.column_names if name.endswith("_s")])


def in_this_process(main: Callable[[list[str]], int], words: list[str]) -> Ended:
    """Runs a command's `main` here; an error nobody foresaw is raised, as a traceback would be printed."""
    out, err = StringIO(), StringIO()
    said = logging.StreamHandler(err)
    said.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(said)
    root.setLevel(min(level, logging.INFO))
    try:
        with redirect_stdout(out), on_shared_cluster():
            status = main(words)
    finally:
        root.removeHandler(said)
        root.setLevel(level)
    return Ended(status, out.getvalue(), err.getvalue())


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one of pytest-xdist's workers makes and all of them read.

    Args:
        factory: pytest's.
        name: of the folder.
        make: fills the folder, whose name it is given.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.with_suffix(".made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            folder.with_suffix(".made").touch()
    return folder


class Undisturbed(NamedTuple):
    """A run that nothing happened to, to hold others against. It is not to be changed: see :func:`copy_of`."""

    words: list[str]
    """With the configuration :data:`DEMO_CONFIG`."""
    job: Job


def copy_of(job: Job, folder: Path) -> Job:
    """A run to go on with, as it was."""
    shutil.copytree(job.run_dir, folder)
    return Job(folder)


@pytest.fixture(scope="session")
def demo_folder(demo_corpus: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo corpus in two files."""

    def write(folder: Path) -> None:
        folder.mkdir()
        pq.write_table(demo_corpus.slice(0, 130), folder / "a.parquet", row_group_size=40)
        pq.write_table(demo_corpus.slice(130), folder / "b.parquet")

    return made_once(tmp_path_factory, "demo-in", write)


@pytest.fixture(scope="session")
def undisturbed_demo(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The demo corpus through both models, in eleven shards, at a budget of .3."""
    from tests.without_ray import without_ray

    words = [f"input.path={demo_folder}", DEMO_SHARDS]

    def make(folder: Path) -> None:
        with without_ray(pictures=True):
            Job(folder).run(*words, config=DEMO_CONFIG)

    return Undisturbed(words, Job(made_once(tmp_path_factory, "demo-run", make)))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job on a fresh run directory."""
    return Job(tmp_path / "run")
