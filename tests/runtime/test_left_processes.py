"""Processes that an engine's worker has started end with it, killed or shut down, also while it is busy."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

END_A_WORKER = """
import os, signal, subprocess, sys, time
import psutil, ray
from routelmt_ray.config.common import RayConfig
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime.descendants import end_with_this_process

cluster.start(RayConfig(num_cpus=1))

@ray.remote
class Engine:
    def __init__(self, pids):  # as an engine that loads: the worker is busy when its end comes
        end_with_this_process()
        child = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '300']); print(p.pid, flush=True); time.sleep(300)"
        process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True)
        with open(pids, "w") as file:
            file.write(f"{os.getpid()} {process.pid} {process.stdout.readline().strip()}.")
        time.sleep(300)

def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

for end in ("killed", "shut down"):
    pids = os.path.join(sys.argv[1], end)
    engine = Engine.options(max_restarts=0).remote(pids)
    while not os.path.exists(pids) or not open(pids).read().endswith("."):
        time.sleep(0.1)
    family = list(map(int, open(pids).read()[:-1].split()))
    assert len(family) == 3 and all(map(alive, family))
    os.kill(family[0], signal.SIGKILL) if end == "killed" else ray.shutdown()
    deadline = time.monotonic() + 30
    while any(map(alive, family)) and time.monotonic() < deadline:
        time.sleep(0.1)
    print(end, "left:", [pid for pid in family if alive(pid)])
"""


def test_children_and_grandchildren_of_a_worker_end_with_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", END_A_WORKER, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=150)
    # Ray may say that a worker died.
    assert {"killed left: []", "shut down left: []"} <= {*done.stdout.splitlines()}, done.stdout + done.stderr[-3000:]
