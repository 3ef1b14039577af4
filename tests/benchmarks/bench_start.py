"""What a job costs before and beside its work: a thousand rows with engines that cost nothing, from command to exit.

    python tests/benchmarks/bench_start.py [--rows 1000] [--runs 5] [--beside /path/to/another/checkout]

Both engines are `echo` and the router is `length`, one shard. Measured are the seconds from the command to the first shard
that is scored and to the exit, the CPU seconds of the driver and of all processes it started, Ray's own included, and how
many those were. With ``--beside`` the same job of another checkout, such as a worktree of the commit before, takes turns
with this one's under the same interpreter; ratios are of runs that followed each other, so that other work on the machine
slows both.

Bare Ray takes its turn too: a script that starts Ray with the job's options, carries tables of one row through the same
three executions (tasks; tasks and two pools of one actor; tasks) with functions that do nothing, and ends Ray. No job on
Ray Data can be faster than that. Prints a Markdown table.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

from tests.benchmarks.bench_plumbing import write_corpus

ROOT = Path(__file__).resolve().parents[2]
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux: what a job leaves behind becomes a child of this process and stays in its count."""
_POLL_S = 0.05
_BARE = """
import pathlib, sys
import pyarrow as pa, pyarrow.parquet as pq, ray, ray.data
from ray.data import DataContext
ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=512 << 20, log_to_driver=False)
DataContext.get_current().enable_progress_bars = False
class Same:
    def __call__(self, table): return table
def same(table): return table
def one(*pools):
    rows = ray.data.from_items([{"i": 1}], override_num_blocks=1).map_batches(
        same, batch_size=None, batch_format="pyarrow", num_cpus=0.5)
    for pool in pools:
        rows = rows.map_batches(pool, concurrency=1, batch_size=None, batch_format="pyarrow", num_cpus=0.5)
        rows = rows.map_batches(same, batch_size=None, batch_format="pyarrow", num_cpus=0.4)
    return rows
one().materialize()
scores = pathlib.Path(sys.argv[1]) / "scores"
scores.mkdir(parents=True)
pq.write_table(pa.table({"i": [1]}), scores / "0.parquet")
one(Same).union(one(Same)).materialize()
one().materialize()
ray.shutdown()
"""
"""Bare Ray; it writes a file where the job writes its first scores."""
BARE = "bare Ray"


@dataclass(frozen=True)
class Start:
    """What one run took."""

    first_s: float
    """Seconds from the command to the first shard that is scored."""
    wall_s: float
    """Seconds from the command to its exit."""
    cpu_s: float
    """CPU seconds of all processes, until the last has ended."""
    processes: int
    """How many there were."""


def measure(checkout: Path | None, corpus: Path) -> Start:
    """Runs the job of a checkout once, on a fresh run directory; bare Ray for None."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        command = [
            sys.executable, "jobs/translate.py", f"run_dir={run_dir}", f"input.path={corpus}", "input.source_lang=en",
            "input.target_lang=de", "models.small.engine=echo", "models.large.engine=echo", "router.kind=length",
            "budget.fraction=0.3",
        ]  # fmt: skip
        if checkout is None:
            command, checkout = [sys.executable, "-c", _BARE, str(run_dir)], ROOT
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        started = time.perf_counter()
        job = subprocess.Popen(
            command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        spent: dict[tuple[int, float], float] = {}
        first_s = wall_s = 0.0
        while True:
            count(spent)
            now = time.perf_counter() - started
            if not first_s and any((run_dir / "scores").glob("*.parquet")):
                first_s = now
            if not wall_s and job.poll() is not None:
                wall_s = now
            if wall_s and not reap():
                break
            time.sleep(_POLL_S)
        if job.returncode:
            raise SystemExit(f"{checkout}: the job ended with status {job.returncode}")
    return Start(first_s, wall_s, sum(spent.values()), len(spent))


def count(spent: dict[tuple[int, float], float]) -> None:
    """Looks at the CPU seconds of each process below this one."""
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
            spent[process.pid, process.create_time()] = times.user + times.system
        except psutil.Error:
            continue  # it has just ended


def reap() -> bool:
    """True while this process has children; those that have ended are let go."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def main() -> None:
    """Measures in turns and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--beside", type=Path, default=None)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    checkouts: dict[str, Path | None] = {"this checkout": ROOT, BARE: None}
    if options.beside:
        checkouts["beside"] = options.beside.resolve()
    found: dict[str, list[Start]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder), options.rows, 1)
        for number in range(options.runs):
            for name in list(checkouts)[:: 1 if number % 2 == 0 else -1]:
                found[name].append(measure(checkouts[name], Path(folder)))
                print(f"run {number}: {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    print(f"{options.rows:,} rows, {options.runs} runs, medians (min–max)\n")
    print("| | first shard scored, s | the whole job, s | CPU seconds | processes |\n|---|---|---|---|---|")
    for name, starts in found.items():
        print(
            f"| {name} | "
            + " | ".join(shown([getattr(start, key) for start in starts]) for key in vars(starts[0]))
            + " |"
        )
    ours = found.pop("this checkout")
    for name, others in found.items():
        ratios = [[getattr(a, key) / getattr(b, key) for a, b in zip(ours, others)] for key in vars(ours[0])]
        shares = " | ".join(f"**{median(r):.2f}** ({min(r):.2f}–{max(r):.2f})" for r in ratios)
        print(f"| this checkout / {name} | {shares} |")


def shown(values: list[float]) -> str:
    """Median and range."""
    return f"{median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


if __name__ == "__main__":
    main()
