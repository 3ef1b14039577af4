"""`ray job submit` as the README has it, on a cluster of its own behind a token, and what Prometheus would find there."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, Job
from tests.end_to_end.runs import ECHO

pytestmark = [
    pytest.mark.skipif(
        not all(map(find_spec, ("aiohttp_cors", "opencensus", "prometheus_client", "virtualenv"))),
        reason="Ray's job server is not installed: pip install -c cluster/constraints.txt .[cluster]",
    ),
    pytest.mark.slow,
    pytest.mark.timeout(700),
]
WORDS = [*ECHO, "router.kind=length", "input.shard_rows=20", "ray.address=auto"]


@dataclass(frozen=True)
class Head:
    """A cluster of one node on ports of its own, all of them on 127.0.0.1."""

    process: subprocess.Popen[bytes]
    """`ray start --block`."""
    environment: dict[str, str]
    """What a client needs: the token."""
    dashboard: int
    """Port of the job server."""
    metrics: int
    """Port Prometheus scrapes."""

    def submit(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Submits a job and waits for its end; again where the node's agent, which starts jobs, is not up yet."""
        address = f"http://127.0.0.1:{self.dashboard}"
        command = ["ray", "job", "submit", "--address", address, "--working-dir", ".", "--", *words]
        deadline = time.monotonic() + 200
        while True:
            done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=300)
            if "No available agent" not in done.stdout + done.stderr or time.monotonic() > deadline:
                return done
            time.sleep(2)

    def figures(self) -> dict[str, float]:
        """What Prometheus would find, summed over all labels but stage and model: `name{stage,model}`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        found: dict[str, float] = {}
        for name, labels, value in re.findall(r"^ray_(routelmt_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
            kept = ",".join(part for key in ("stage", "model") for part in re.findall(rf'\b{key}="(\w+)"', labels))
            found[f"{name}{{{kept}}}"] = found.get(f"{name}{{{kept}}}", 0.0) + float(value)
        return found


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="r"))  # short: sockets lie in it
    token = folder / "token"
    token.write_text("0123456789abcdef" * 4)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }  # fmt: skip
    port, dashboard, metrics, agent = free_ports(4)  # Ray's own port of an agent is for one cluster of a machine
    command = [
        "ray", "start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=4",
        f"--temp-dir={folder}", "--object-store-memory=200000000", "--disable-usage-stats", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", f"--metrics-export-port={metrics}", f"--dashboard-agent-listen-port={agent}",
    ]  # fmt: skip
    log = (folder / "start.log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    mine: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 300
        while not up(dashboard):
            assert process.poll() is None, (folder / "start.log").read_text()
            assert time.monotonic() < deadline, "Ray did not start"
            time.sleep(0.5)
        yield Head(process, environment, dashboard, metrics)
    finally:
        mine = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([psutil.Process(process.pid), *mine], timeout=8) if mine else ([], [])
        for left in alive:
            left.kill()
        process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def up(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/version", timeout=5)
    except urllib.error.HTTPError:
        return True  # it wants a token
    except OSError:
        return False
    return True


def test_a_submitted_job_runs_to_its_end_and_its_figures_are_there(
    head: Head, demo_corpus: pa.Table, job: Job, tmp_path: Path
) -> None:
    table = demo_corpus.slice(0, 80)
    pq.write_table(table, tmp_path / "in.parquet")
    words = ["--config", "configs/demo.yaml", f"run_dir={job.run_dir}", f"input.path={tmp_path / 'in.parquet'}"]
    done = head.submit("python", "jobs/translate.py", *words, "budget.fraction=0.25", *WORDS[-2:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    assert job.output().select(table.column_names).equals(table)
    deadline, found = time.monotonic() + 60, head.figures()
    while found.get("routelmt_rows_total{merge}") != 80 and time.monotonic() < deadline:
        time.sleep(2)
        found = head.figures()
    rows = {key: value for key, value in found.items() if key.startswith("routelmt_rows_total")}
    assert rows == {
        "routelmt_rows_total{score,small}": 80, "routelmt_rows_total{translate,large}": 20,
        "routelmt_rows_total{translate,small}": 60, "routelmt_rows_total{merge}": 80,
    }  # fmt: skip
    report = job.report()
    tokens = {stage["name"]: stage["output_tokens"] for stage in report["stages"]}
    assert found["routelmt_output_tokens_total{translate,small}"] == tokens["translate, small"]
    assert found["routelmt_output_tokens_total{translate,large}"] == tokens["translate, large"]
    assert found["routelmt_prompt_tokens_total{score,small}"] > 80
    assert found["routelmt_device_seconds_total{translate,large}"] > 0
    assert found["routelmt_pending_shards{translate,large}"] == 0
    assert found["routelmt_spent_device_seconds{}"] == pytest.approx(report["spend"]["spent_s"], rel=0.05)


def test_a_job_that_fails_says_so_to_who_submitted_it(head: Head, job: Job) -> None:
    done = head.submit("python", "jobs/translate.py", f"run_dir={job.run_dir}", "input.path=/no/where", *WORDS)
    assert done.returncode != 0
    assert "refused: budget: none is set" in done.stdout + done.stderr


def test_without_the_token_nobody_gets_in(head: Head) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{head.dashboard}/api/jobs/", timeout=20)


def test_all_of_it_listens_on_this_machine_alone(head: Head) -> None:
    for process in psutil.Process(head.process.pid).children(recursive=True):
        for connection in process.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1", "::1"), process.cmdline()
