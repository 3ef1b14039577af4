"""Exact selection beside NumPy's sort and partition: time, and peak memory over the input.

    python tests/benchmarks/bench_selection.py
    python tests/benchmarks/bench_selection.py --rows 50_000_000 --runs 5

Every variant runs in a process of its own on the same seeded normal gains and finds the cut of the best 30 %.
Sort and partition only yield the threshold, without an order among the rows tied at it. Prints a Markdown
table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from routelmt_ray.budget import rows_for_fraction, select_top_k

Floats = npt.NDArray[np.float32]
SHARD_ROWS = 32_768

VARIANTS: dict[str, Callable[[Floats, int], object]] = {
    "select_top_k": lambda gains, k: select_top_k(gains, k),
    "select_top_k, shards of 32,768": lambda gains, k: select_top_k(
        [gains[place : place + SHARD_ROWS] for place in range(0, len(gains), SHARD_ROWS)], k
    ),
    "select_top_k, all gains equal": lambda gains, k: select_top_k(gains, k),
    "np.partition": lambda gains, k: np.partition(gains, len(gains) - k)[len(gains) - k],
    "np.sort": lambda gains, k: np.sort(gains)[len(gains) - k],
}


def measure(variant: str, rows: int, runs: int) -> dict[str, object]:
    """Run one variant in this process.

    Returns:
        `seconds` of each run, and `peak_mib`, the growth of the peak resident set over that with the input
        alone.
    """
    gains = np.empty(rows, dtype=np.float32)
    if variant.endswith("equal"):
        gains.fill(0.5)
    else:
        np.random.default_rng(0).standard_normal(dtype=np.float32, out=gains)
    k = rows_for_fraction(0.3, rows)
    peak_before = _peak_mib()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        VARIANTS[variant](gains, k)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "peak_mib": _peak_mib() - peak_before}


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main(argv: list[str] | None = None) -> int:
    """Measure every variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--variant", choices=VARIANTS, help="measure this one here and print JSON")
    options = parser.parse_args(argv)
    if options.variant:
        print(json.dumps(measure(options.variant, options.rows, options.runs)))
        return 0

    command = [sys.executable, __file__, "--rows", str(options.rows), "--runs", str(options.runs)]
    results = {}
    for variant in VARIANTS:
        done = subprocess.run([*command, "--variant", variant], check=True, capture_output=True, text=True)
        results[variant] = json.loads(done.stdout)
    medians = {variant: median(result["seconds"]) for variant, result in results.items()}
    print(f"{options.rows:,} float32, {options.runs} runs, NumPy {np.__version__}, {Path(__file__).name}\n")
    print("| variant | min s | median s | max s | median / partition | median / sort | peak over input, MiB |")
    print("|---|---|---|---|---|---|---|")
    for variant, result in results.items():
        seconds = result["seconds"]
        ratios = [medians[variant] / medians[other] for other in ("np.partition", "np.sort")]
        print(
            f"| {variant} | {min(seconds):.3f} | {medians[variant]:.3f} | {max(seconds):.3f} "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} | {result['peak_mib']:.1f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
