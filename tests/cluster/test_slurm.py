"""The Slurm script with Ray for real and Slurm played by two shell scripts: it runs the job to its end."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cluster.alone import ALONE, needs_to_be_alone
from tests.conftest import ROOT, Job
from tests.end_to_end.runs import ECHO

SRUN = """#!/bin/bash
echo "$@" >> "$LOG"
while [[ "$1" == --* ]]; do shift; done
if [[ "$1" == hostname ]]; then echo 127.0.0.1; else "$@"; fi
"""
SCONTROL = """#!/bin/bash
[[ "$*" == "show hostnames node[1-1]" ]] && echo node1
"""


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a batch script finds on the first of its nodes; the log of srun's arguments."""
    tools, ray_folder = tmp_path / "bin", Path(tempfile.mkdtemp(prefix="s"))  # short: sockets lie in it
    tools.mkdir()
    executable(tools / "srun", SRUN)
    executable(tools / "scontrol", SCONTROL)
    variables = {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "LOG": str(tmp_path / "srun.log"), "RAY_TMPDIR": str(ray_folder), "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node[1-1]", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "4",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield tmp_path / "srun.log"
    shutil.rmtree(ray_folder, ignore_errors=True)


@needs_to_be_alone  # as a node is: the script ends with `ray stop`, which ends every Ray it can see
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_job_runs_to_its_end_and_says_how_it_ended(slurm: Path, job: Job, tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": [f"row {i}" for i in range(60)] + [""]}), tmp_path / "in.parquet")
    words = [
        f"run_dir={job.run_dir}", f"input.path={tmp_path / 'in.parquet'}", *ECHO, "router.kind=length",
        "budget.fraction=0.3", "input.shard_rows=20", "output.max_quarantine_share=0.01",
    ]  # fmt: skip
    done = subprocess.run(
        [*ALONE, "bash", "cluster/slurm.sbatch", *words], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert "1 of 61 rows are in quarantine" in done.stdout + done.stderr
    assert done.returncode == 3, done.stdout + done.stderr
    assert job.output()["translation"].to_pylist() == [f"row {i}" for i in range(60)] + [None]
    first, second = slurm.read_text().splitlines()
    assert first == "--nodes=1 --ntasks=1 --nodelist=node1 hostname --ip-address"
    address = f"127.0.0.1:{20000 + os.getpid() % 10000}"
    assert f"ray symmetric-run --address {address} --min-nodes 1 --num-cpus 4 -- python jobs/translate.py" in second
    assert second.endswith(f"ray.address={address}")
    assert not list(ROOT.glob(".ray-token-*")), "the token is removed"


def test_nodes_wait_longer_for_each_other_than_rays_half_minute() -> None:
    text = (ROOT / "cluster" / "slurm.sbatch").read_text()
    assert 'RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-600}"' in text
    assert subprocess.run(["bash", "-n", "cluster/slurm.sbatch"], cwd=ROOT).returncode == 0
