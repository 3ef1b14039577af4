"""Shared by the tests: the embedded pair, small corpora, and jobs run the way a user starts them."""

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from routelmt_ray.config.common import RayConfig
from routelmt_ray.demo.corpus import write_corpus
from tests import shared_cluster
from tests.job_runs import ROOT, Ended, Job, Undisturbed, copy_of, untimed
from tests.shared_cluster import forking, runner

__all__ = [
    "DEMO", "DEMO_CONFIG", "DEMO_SHARDS", "ENDPOINT_KEY", "ROOT", "Ended", "Job", "Undisturbed", "copy_of", "forking", "runner",
    "untimed",
]  # fmt: skip

# Collecting the tests imports everything. Nothing of it is garbage, and looking for some would take 7 CPU-seconds in each process.
gc.disable()

os.environ.setdefault("OMP_NUM_THREADS", "1")
# On a busy machine Ray ends workers that wait a second for their next task, and starts others: two CPU-seconds each.
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "120000")

ENDPOINT_KEY = "ROUTELMT_TEST_ENDPOINT_KEY"
"""Variable with a secret that the workers of the shared cluster have too."""
os.environ.setdefault(ENDPOINT_KEY, "planted-key-of-an-endpoint")

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


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    gc.freeze()  # what is imported stays, and is not looked at again
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.time() > item.config.getoption("--start-none-after"):
        pytest.skip(f"no time left to run {item.nodeid}; make test-slow does")


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


def pytest_sessionfinish() -> None:
    shared_cluster.end()


@pytest.fixture(scope="session")
def local_ray() -> None:
    """One small cluster for the tests that ask for it by name."""
    from routelmt_ray.runtime import cluster

    with shared_cluster.on_shared_cluster():
        cluster.start(RayConfig())


@pytest.fixture
def without_ray() -> Iterator[None]:
    """Whole jobs in this process, without a cluster: for what a job computes."""
    from tests import without_ray as plain

    with plain.without_ray():
        yield


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a job that gets as far as starting Ray."""
    from routelmt_ray.runtime import cluster

    monkeypatch.setattr(cluster, "start", lambda config: pytest.fail("the job started Ray"))


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has each job that the test starts as a process be forked, with its workers, where not their imports are the point.

    Such processes have the environment that they should have, but no file of /proc shows it.
    """
    from tests.forked_workers import KILL

    monkeypatch.setattr(Job, "launcher", forking())
    monkeypatch.setattr(Job, "kill", KILL)


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
