"""The driver killed again and again, at seeded moments of every stage: in the end the rows are those of an undisturbed run."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, Job, untimed
from tests.end_to_end.label_runs import LabelJob
from tests.faults.processes import mark_processes, marked, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]
STAGES = {
    "translate": ("scores", "large/000", "small/000", "output"),
    "label": ("large/all", "small/all", "quality", "output"),
}
SHARDS = 8


def commits(run_dir: Path, stage: str) -> int:
    return len(list((run_dir / stage).rglob("*.parquet")))


def kill_somewhere(command: list[str], log: Path, ready: Callable[[], bool], delay_s: float) -> bool:
    """Starts a job and kills its driver a while after it got somewhere; False where it had ended before."""
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
    deadline = time.monotonic() + 200
    while process.poll() is None and not ready():
        assert time.monotonic() < deadline, "the job never got so far"
        time.sleep(0.01)
    time.sleep(delay_s)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert alive or process.returncode == 0, log.read_text()[-3000:]
    return alive


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["translate", "label"])
def test_a_driver_killed_at_many_moments_loses_and_doubles_nothing(
    kind: str, seed: int, demo_corpus: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, path = random.Random(seed), tmp_path / "in.parquet"
    pq.write_table(demo_corpus, path)
    words = [f"input.path={path}", f"input.shard_rows={-(-demo_corpus.num_rows // SHARDS)}"]
    config = "configs/demo.yaml"
    make: Callable[[Path], Job | LabelJob] = Job
    if kind == "label":
        words, config, make = [*words, "metrics.names=[chrf]"], "configs/label_demo.yaml", LabelJob
    calm, job = make(tmp_path / "calm"), make(tmp_path / "run")
    calm.run(*words, config=config)
    mark_processes(monkeypatch, str(tmp_path))
    killed = 0
    for stage in STAGES[kind]:
        wanted = rng.randrange(SHARDS)

        def ready(stage: str = stage, wanted: int = wanted) -> bool:
            return commits(job.run_dir, stage) >= wanted and (job.run_dir / "manifest.json").exists()

        killed += kill_somewhere(job.command(*words, config=config), tmp_path / "log", ready, rng.uniform(0, 1.5))
    assert killed >= 3
    job.run_process(*words, config=config)
    print(f"{kind}, seed {seed}: the driver was killed {killed} times")
    found, wanted_rows = job.output(), calm.output()
    assert untimed(found).equals(untimed(wanted_rows))
    assert not (job.run_dir / "quarantine").exists()
    assert not list(job.run_dir.rglob("*.tmp"))
    wait_until(lambda: not marked(str(tmp_path)), 120, "the processes of the job to end")
