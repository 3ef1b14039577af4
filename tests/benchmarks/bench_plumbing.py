"""Rows a second and memory of everything but the engines: a million short rows through the whole job.

    python tests/benchmarks/bench_plumbing.py [--rows 1000000] [--files 8] [--shard-rows 32768]

Both engines are `echo` and the router is `length`, so what is measured is reading, checking, scoring by length, the exact
allocation, two translation legs, the merge and every commit. The same command is then given once more: a start that finds
everything done costs a look at each file of the output. Prints a markdown table; peak memory is sampled from the operating
system over the driver and over all processes of the run. With few rows it says what a small job costs beside its engines,
with few rows a shard what a shard costs the driver.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
WORDS = np.array(
    [
        "the",
        "a",
        "house",
        "river",
        "walks",
        "under",
        "seven",
        "bright",
        "mountain",
        "letters",
        "with",
        "and",
        "of",
        "green",
        "late",
        "small",
    ]
)


def write_corpus(folder: Path, rows: int, files: int) -> None:
    """Short seeded sentences in equal files."""
    random = np.random.default_rng(0)
    for number in range(files):
        count = rows // files + (number < rows % files)
        lengths = random.integers(3, 15, count)
        words = iter(random.choice(WORDS, lengths.sum()))
        text = [" ".join(islice(words, n)) for n in lengths]
        pq.write_table(pa.table({"source": text, "n": np.arange(count)}), folder / f"part-{number:03d}.parquet")


class Memory(threading.Thread):
    """Samples resident memory of a process and of its whole tree."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self.driver: list[int] = []
        self.peak_all = 0

    def run(self) -> None:
        while self._process.is_running():
            try:
                self.driver.append(self._process.memory_info().rss)
                tree = [self._process, *self._process.children(recursive=True)]
                # Shared memory of the object store is counted once, in the private parts not at all.
                self.peak_all = max(self.peak_all, sum(p.memory_full_info().uss for p in tree if p.is_running()))
            except psutil.Error:
                pass
            time.sleep(0.5)


def main() -> None:
    """Runs the job once and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--shard-rows", type=int, default=32_768)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        corpus, run_dir = Path(scratch) / "corpus", Path(scratch) / "run"
        corpus.mkdir()
        write_corpus(corpus, arguments.rows, arguments.files)
        command = [
            sys.executable, "jobs/translate.py", f"run_dir={run_dir}", f"input.path={corpus}", "input.source_lang=en",
            "input.target_lang=de", "models.small.engine=echo", "models.large.engine=echo", "router.kind=length",
            "budget.fraction=0.3", f"input.shard_rows={arguments.shard_rows}",
        ]  # fmt: skip
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        memory = Memory(process.pid)
        memory.start()
        status = process.wait()
        wall = time.perf_counter() - started
        if status:
            raise SystemExit(f"the job ended with status {status}")
        report = json.loads((run_dir / "report.json").read_text())
        outputs = list((run_dir / "output").glob("*.parquet"))
        rows = sum(pq.read_metadata(path).num_rows for path in outputs)
        started = time.perf_counter()
        files = [Path(folder, name) for folder, _, names in os.walk(run_dir) for name in names]
        size, listing_s = sum(path.stat().st_size for path in files), time.perf_counter() - started
        started = time.perf_counter()
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        again_s = time.perf_counter() - started
    expected = arguments.rows * 3 // 10
    if rows != arguments.rows or report["budget"]["routed"] != expected:
        raise SystemExit(
            f"{rows} rows and {report['budget']['routed']} routed; expected {arguments.rows} and {expected}"
        )
    shards, quarter = len(outputs), len(memory.driver) // 4
    print(f"| {arguments.rows:,} rows, {arguments.files} files | seconds | rows/s |\n|---|---|---|")
    for stage in report["stages"]:
        print(f"| {stage['name']} | {stage['wall_s']:.1f} | {stage['rows'] / max(stage['wall_s'], 1e-9):,.0f} |")
    print(f"| the whole job, start of Ray included | {wall:.1f} | {rows / wall:,.0f} |")
    print(f"| the same command again | {again_s:.1f} | |")
    print(
        f"\n{shards:,} shards, {shards / wall:.1f} a second. {len(files):,} files, {size / 2**20:,.0f} MiB; listing them takes "
        f"{listing_s:.2f} s."
    )
    print(
        f"\nDriver memory: {max(memory.driver[: 2 * quarter]) / 2**20:,.0f} MiB at most in the first half, "
        f"{max(memory.driver[2 * quarter :]) / 2**20:,.0f} MiB in the second. "
        f"All processes: {memory.peak_all / 2**20:,.0f} MiB private memory at the peak."
    )


if __name__ == "__main__":
    main()
