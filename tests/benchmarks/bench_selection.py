"""Exact selection beside NumPy's sort and partition: CPU seconds, and peak memory over the input.

    python tests/benchmarks/bench_selection.py
    python tests/benchmarks/bench_selection.py --rows 50_000_000 --runs 7

Every variant finds the cut of the best 30 % of the same seeded normal gains, by number or by weight: microseconds,
drawn evenly up to ten seconds. Sort and partition only yield the threshold, without an order among the rows tied at
it; so does the full sort with a cumulative sum. The strata are 20, each with a floor of 10 % and a cap of 50 %.
Every run is a process of its own with one thread, and the variants take turns, so that other work on the machine
falls on all of them; CPU seconds leave out the wait for a core. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from routelmt_ray.budget import StrataCuts, StrataHistogram, StrataSearch, count_strata, rows_for_fraction
from tests.budget.selection import select_prefix, select_top_k

SHARD_ROWS = 32_768
STRATA = tuple(f"stratum-{code}" for code in range(20))


@dataclass(frozen=True)
class Corpus:
    """The input of all variants."""

    gains: npt.NDArray[np.float32]
    weights: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    k: int
    capacity: int


def draw(rows: int, equal: bool) -> Corpus:
    """A seeded corpus, of equal gains on demand."""
    rng = np.random.default_rng(0)
    gains = np.full(rows, 0.5, dtype=np.float32) if equal else rng.standard_normal(rows, dtype=np.float32)
    weights = rng.integers(1, 10_000_000, rows)
    codes = rng.integers(0, len(STRATA), rows, dtype=np.int32)
    return Corpus(gains, weights, codes, rows_for_fraction(0.3, rows), int(weights.sum()) * 3 // 10)


def shards(array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The array in shards."""
    return [array[place : place + SHARD_ROWS] for place in range(0, len(array), SHARD_ROWS)]


def sort_and_sum(c: Corpus) -> np.float32:
    """The threshold of a budget of weight by a full sort."""
    order = np.argsort(c.gains)[::-1]
    rows = np.searchsorted(np.cumsum(c.weights[order]), c.capacity, side="right")
    return c.gains[order[rows - 1]]


def strata(c: Corpus) -> StrataCuts:
    """The cuts of all floors and caps, shard by shard."""
    eligible: Counter[str] = Counter()
    for codes in shards(c.codes):
        eligible.update(count_strata(codes, STRATA))
    state: StrataSearch | StrataCuts = StrataSearch.of_shares(
        dict.fromkeys(STRATA, 0.1), dict.fromkeys(STRATA, 0.5), eligible
    )
    places = range(0, len(c.gains), SHARD_ROWS)
    while isinstance(state, StrataSearch):
        rows = zip(shards(c.gains), places, shards(c.codes), repeat(STRATA), shards(c.weights))
        state = state.advance(sum((state.histogram(*shard) for shard in rows), StrataHistogram()))
    return state


VARIANTS: dict[str, Callable[[Corpus], object]] = {
    "select_top_k": lambda c: select_top_k(c.gains, c.k),
    "select_top_k, shards of 32,768": lambda c: select_top_k(shards(c.gains), c.k),
    "select_top_k, all gains equal": lambda c: select_top_k(c.gains, c.k),
    "select_top_k, weights given": lambda c: select_top_k(c.gains, c.k, weights=c.weights),
    "select_prefix": lambda c: select_prefix(c.gains, c.weights, c.capacity),
    "select_prefix, shards of 32,768": lambda c: select_prefix(shards(c.gains), shards(c.weights), c.capacity),
    "select_prefix, all gains equal": lambda c: select_prefix(c.gains, c.weights, c.capacity),
    "StrataSearch, shards of 32,768": strata,
    "np.partition": lambda c: np.partition(c.gains, len(c.gains) - c.k)[len(c.gains) - c.k],
    "np.sort": lambda c: np.sort(c.gains)[len(c.gains) - c.k],
    "np.argsort, np.cumsum": sort_and_sum,
}
RIVALS = ("select_top_k", "np.partition", "np.argsort, np.cumsum")


def measure(variant: str, rows: int) -> dict[str, float]:
    """Run one variant in this process.

    Returns:
        `seconds` of CPU, and `peak_mib`, the growth of the peak resident set over that with the input alone.
    """
    corpus = draw(rows, equal=variant.endswith("equal"))
    peak_before = _peak_mib()
    start = time.process_time()
    VARIANTS[variant](corpus)
    return {"seconds": time.process_time() - start, "peak_mib": _peak_mib() - peak_before}


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main(argv: list[str] | None = None) -> int:
    """Measure every variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--variant", choices=VARIANTS, help="measure this one here, once, and print JSON")
    options = parser.parse_args(argv)
    if options.variant:
        print(json.dumps(measure(options.variant, options.rows)))
        return 0

    command = [sys.executable, __file__, "--rows", str(options.rows), "--variant"]
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    peaks = dict.fromkeys(VARIANTS, 0.0)
    for _ in range(options.runs):
        for variant in VARIANTS:
            done = subprocess.run([*command, variant], check=True, capture_output=True, text=True)
            result = json.loads(done.stdout)
            seconds[variant].append(result["seconds"])
            peaks[variant] = max(peaks[variant], result["peak_mib"])
    medians = {variant: median(runs) for variant, runs in seconds.items()}
    print(f"{options.rows:,} float32, {options.runs} runs, NumPy {np.__version__}, {Path(__file__).name}\n")
    print("| variant | min s | median s | max s | " + "".join(f"/ {rival} | " for rival in RIVALS) + "peak, MiB |")
    print("|---" * (5 + len(RIVALS)) + "|")
    for variant, runs in seconds.items():
        ratios = "".join(f"{medians[variant] / medians[rival]:.2f} | " for rival in RIVALS)
        print(
            f"| {variant} | {min(runs):.3f} | {medians[variant]:.3f} | {max(runs):.3f} | {ratios}{peaks[variant]:.1f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
