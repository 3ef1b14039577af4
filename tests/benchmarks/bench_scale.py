"""Allocation from a million to a billion scored rows: exact, how fast, in how much memory; other ways beside it.

    python tests/benchmarks/bench_scale.py --rows 1_000_000 10_000_000 100_000_000 1_000_000_000
    python tests/benchmarks/bench_scale.py --rows 100_000_000 --beside ray duckdb polars

Score shards of the default size are written by a generator; the gain of a row is a permutation of 2^24 evenly spaced values,
again and again, so that the right cut is known without a sort, and sixty rows of a billion tie at it. Each way runs in a
process of its own, whose private memory and that of all it starts is sampled. `routelmt` is what the job does: a search
over all shards by plain Ray tasks, then counting every routed row under the cut. The others find the k-th value: Ray Data by
`sort(...).limit(k)`, DuckDB and Polars by their own top-k or sort. Prints a Markdown table; --plot writes an SVG.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray.budget import Search
from routelmt_ray.budget.rule import UNSCALED, Decision, Rule
from routelmt_ray.config.common import InputConfig, ModelsConfig, RayConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import score
from routelmt_ray.storage.rundir import RunDir
from tests.benchmarks.bench_plumbing import Memory

VALUES = 1 << 24
ODD = 2_654_435_761 % VALUES | 1
SHARD_ROWS = 32_768
SHARE = 0.3
WAYS = ("routelmt", "ray", "duckdb", "polars")


def gains(first: int, rows: int) -> np.ndarray:
    """Gain of each place: ``place · odd mod 2^24``, scaled to [0, 1); exact in float32."""
    places = np.arange(first, first + rows, dtype=np.uint64)
    return ((places * np.uint64(ODD)) % np.uint64(VALUES)).astype(np.float32) / np.float32(VALUES)


def at_least(value: int, rows: int) -> int:
    """Rows whose gain is at least ``value / 2^24``."""
    whole, rest = divmod(rows, VALUES)
    tail = gains(whole * VALUES, rest) * VALUES
    return whole * (VALUES - value) + int((tail >= value).sum())


def expected_threshold(rows: int, k: int) -> float:
    """The k-th largest gain, by bisection over the counts."""
    low, high = 0, VALUES  # at_least(low) >= k > at_least(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at_least(middle, rows) >= k else (low, middle)
    return low / VALUES


def write_scores(run: RunDir, rows: int) -> None:
    """Score shards as the job writes them, without the columns that no budget in rows reads."""
    for shard in range(-(-rows // SHARD_ROWS)):
        first = shard * SHARD_ROWS
        n = min(SHARD_ROWS, rows - first)
        path = run.shard_path(score.STAGE, shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        status = pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), ["ok"])
        pair = pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), ["en→de"])
        table = pa.table({"predicted_gain": gains(first, n), "pair": pair, "status": status})
        pq.write_table(
            table, path, compression="none", use_dictionary=["pair", "status"],
            column_encoding={"predicted_gain": "PLAIN"},
        )  # fmt: skip


def routelmt(folder: Path, rows: int, k: int) -> dict[str, Any]:
    """The job's own allocation."""
    cluster.start(RayConfig(num_cpus=2, object_store_mb=100))
    context = RunContext(RunDir(folder), pa.schema([]), InputConfig(path="x"), ModelsConfig(), "", 0)
    corpus = ScoredCorpus(context, ShardPlan(["x"], [rows], SHARD_ROWS))
    started = time.perf_counter()
    band = corpus.find_cut(Rule(), Search(k=k, seed=0), UNSCALED)
    search_s = time.perf_counter() - started
    rule = Rule(decisions=(Decision(band, None, True),))
    routed = sum(routed for routed, _ in corpus.counts(rule).values())
    return {"threshold": band.cut.threshold, "routed": routed, "search_s": search_s, "s": time.perf_counter() - started}


def ray(folder: Path, rows: int, k: int) -> dict[str, Any]:
    """Ray Data's sort and limit."""
    import ray as ray_

    cluster.start(RayConfig(num_cpus=2, object_store_mb=4000))
    started = time.perf_counter()
    table = ray_.data.read_parquet(str(folder / score.STAGE), columns=["predicted_gain"])
    lowest = table.sort("predicted_gain", descending=True).limit(k).min("predicted_gain")
    return {"threshold": float(lowest), "s": time.perf_counter() - started}


def duckdb(folder: Path, rows: int, k: int) -> dict[str, Any]:
    """DuckDB, two threads."""
    import duckdb as duckdb_

    started = time.perf_counter()
    connection = duckdb_.connect(config={"threads": 2, "memory_limit": "8GB", "temp_directory": str(folder / "spill")})
    query = (
        "SELECT min(predicted_gain) FROM (SELECT predicted_gain FROM read_parquet(?) ORDER BY 1 DESC LIMIT "
        + str(k) + ")"
    )  # fmt: skip
    (row,) = connection.execute(query, [str(folder / score.STAGE / "*.parquet")]).fetchall()
    return {"threshold": float(row[0]), "s": time.perf_counter() - started}


def polars(folder: Path, rows: int, k: int) -> dict[str, Any]:
    """Polars, two threads."""
    os.environ["POLARS_MAX_THREADS"] = "2"
    import polars as pl

    started = time.perf_counter()
    scan = pl.scan_parquet(str(folder / score.STAGE / "*.parquet")).select("predicted_gain")
    lowest = (
        scan.top_k(k, by="predicted_gain").select(pl.col("predicted_gain").min()).collect(engine="streaming").item()
    )
    return {"threshold": float(lowest), "s": time.perf_counter() - started}


def measured(way: str, folder: Path, rows: int, k: int, timeout_s: float, script: str = __file__) -> dict[str, Any]:
    """One way of a script in a process of its own, with the peak of the private memory of all its processes."""
    words = [sys.executable, script, "--way", way, "--folder", str(folder), "--rows", str(rows), "--k", str(k)]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
        memory = Memory(process.pid)
        memory.start()
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return {"failed": f"not done in {timeout_s:.0f} s", "memory_mib": memory.peak_all / 2**20}
        out.seek(0)
        lines = out.read().strip().splitlines()
    if status:
        return {"failed": f"exit status {status}", "memory_mib": memory.peak_all / 2**20}
    return json.loads(lines[-1]) | {"memory_mib": memory.peak_all / 2**20}


def draw(results: list[tuple[int, str, dict[str, Any]]], path: Path) -> None:
    """Seconds and memory over rows."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for way in dict.fromkeys(way for _, way, _ in results):
        points = [(rows, found) for rows, other, found in results if other == way and "failed" not in found]
        for axis, key in zip(axes, ("s", "memory_mib")):
            axis.plot([rows for rows, _ in points], [found[key] for _, found in points], marker="o", label=way)
    for axis, label in zip(axes, ("seconds", "private memory of all processes, MiB")):
        axis.set(xscale="log", yscale="log", xlabel="rows", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measures all sizes, or one way of one size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--beside", nargs="*", choices=WAYS[1:], default=[])
    parser.add_argument("--beside-up-to", type=int, default=100_000_000, help="most rows of the other ways")
    parser.add_argument("--timeout-s", type=float, default=1800)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--k", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(globals()[options.way](options.folder, options.rows[0], options.k)), flush=True)
        return
    results: list[tuple[int, str, dict[str, Any]]] = []
    print("| rows | way | seconds | rows/s | memory, MiB | exact |\n|---|---|---|---|---|---|")
    for rows in options.rows:
        k, threshold = int(SHARE * rows), expected_threshold(rows, int(SHARE * rows))
        with tempfile.TemporaryDirectory() as folder:
            write_scores(RunDir(folder), rows)
            for way in ["routelmt", *(options.beside if rows <= options.beside_up_to else [])]:
                found = measured(way, Path(folder), rows, k, options.timeout_s)
                results.append((rows, way, found))
                if "failed" in found:
                    print(f"| {rows:,} | {way} | {found['failed']} | | {found['memory_mib']:,.0f} | |", flush=True)
                    continue
                exact = found["threshold"] == threshold and found.get("routed", k) == k
                words = f" ({found['search_s']:.1f} the search)" if "search_s" in found else ""
                print(
                    f"| {rows:,} | {way} | {found['s']:.1f}{words} | {rows / found['s']:,.0f} | {found['memory_mib']:,.0f} | "
                    f"{'yes' if exact else 'NO'} |",
                    flush=True,
                )
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
