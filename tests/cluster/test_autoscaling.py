"""Nodes that are not there yet: Ray's autoscaler brings what the pools of configs/cluster.yaml ask for, and the job goes on.

The autoscaler is the real one, with its provider of make-believe nodes, which have GPUs by name only.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from routelmt_ray.runtime.readings import readings
from routelmt_ray.storage.rundir import RunDir
from tests.cluster.alone import ALONE, needs_to_be_alone
from tests.conftest import ROOT, Job
from tests.end_to_end.runs import ECHO


def make_believe(name: str) -> dict[str, object]:
    """A cluster with node types of a manifest, one node of each, on this machine."""
    manifest = yaml.safe_load((ROOT / "cluster" / name).read_text())
    types = {
        kind: {"resources": node["resources"] | {"object_store_memory": 100 * 2**20}, "node_config": {}}
        | {"min_workers": 0, "max_workers": int(kind != "head")}
        for kind, node in manifest["available_node_types"].items()
    }
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "make-believe", "max_workers": 3, "upscaling_speed": 2.0, "idle_timeout_minutes": 5,
        "provider": {
            "type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": types, "head_node_type": manifest["head_node_type"], "auth": {}, "docker": {},
        "file_mounts": {}, "cluster_synced_files": [], **{f"{command}_commands": [] for command in commands},
    }  # fmt: skip


@needs_to_be_alone
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_gpu_pools_bring_their_nodes(job: Job, tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": [f"row {i}" for i in range(60)]}), tmp_path / "in.parquet")
    folder = Path(tempfile.mkdtemp(prefix="a"))  # short: sockets lie in it
    (folder / "cluster.json").write_text(json.dumps(make_believe("ray-aws.yaml")))
    script = (
        f"ray start --head --num-cpus=4 --object-store-memory=200000000 --disable-usage-stats --include-dashboard=false "
        f'--autoscaling-config={folder}/cluster.json && "$@"; exit $?'
    )
    words = [
        sys.executable, "jobs/translate.py", "--config", "configs/cluster.yaml", f"run_dir={job.run_dir}",
        f"input.path={tmp_path / 'in.parquet'}", *ECHO, "models.small.pool.actors=1", "models.large.pool.actors=1",
        "router.kind=length", "budget.fraction=0.3", "input.shard_rows=20",
    ]  # fmt: skip
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(folder),
        "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_AUTH_MODE": "disabled",
    }  # fmt: skip
    try:
        done = subprocess.run(
            [*ALONE, "bash", "-c", script, "bash", *words], cwd=ROOT, env=environment, capture_output=True, text=True,
            timeout=560,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert job.output()["translation"].to_pylist() == [f"row {i}" for i in range(60)]
    held = {(reading.kind, reading.unit, reading.gpus) for reading in readings(RunDir(job.run_dir))}
    assert held == {("small", "gpu_s", 1.0), ("large", "gpu_s", 1.0)}
