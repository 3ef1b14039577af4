"""Repeated segments in whole jobs: what translating them once saves, what a memory of earlier runs saves, and what looking costs.

    python tests/benchmarks/bench_once.py --part once --rows 1600 --rounds 3 --here
    python tests/benchmarks/bench_once.py --part memory --rows 600 --here
    python tests/benchmarks/bench_once.py --part default --rows 500_000 --rounds 2

once      the embedded pair translates a corpus of which 40 % of the rows repeat an earlier one (Zipf): its different rows alone, the
          whole with `input.duplicates=once`, and the whole with `each`, by turns
memory    a corpus of which 90 % was translated by an earlier run, with `memory.path` and without
default   a corpus without repeats and two `echo` engines: what looking for repeats costs a job whose engines cost nothing

Device-seconds are those of the engines without their loads, as the meters count them: CPU-seconds, which other work on the
machine may raise by a third. Each corpus is one shard, so that batches are alike. Wall seconds begin when Ray is ready. Prints Markdown tables.
"""

import argparse
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray.config.common import RayConfig
from routelmt_ray.demo import corpus as demo
from routelmt_ray.runtime import cluster
from routelmt_ray.storage.rundir import RunDir
from tests.benchmarks.bench_plumbing import WORDS
from tests.end_to_end import runs
from tests.without_ray import without_ray

SHARE, OLD = 0.4, 0.9


def job(name: str, folder: Path, path: Path, *words: str, config: str | None = "configs/demo.yaml") -> dict[str, Any]:
    """Carries out a translate job, and prints a row of the table."""
    run_dir, started = folder / f"run-{len(list(folder.glob('run-*')))}", time.perf_counter()
    report = runs.run(run_dir, path, *words, config=config)
    wall, run = time.perf_counter() - started, RunDir(str(run_dir))
    stages = ["scores", *(f"{size}/{leg.name}" for size in ("small", "large") for leg in (run_dir / size).glob("*"))]
    metas = {stage: list(run.metas(stage).values()) for stage in stages}
    device = sum(meta["device_s"] for found in metas.values() for meta in found)
    calls = {
        size: sum(m["rows"] for stage in stages if stage.startswith(size) for m in metas[stage])
        for size in ("small", "large")
    }
    steps = {stage["name"]: stage["wall_s"] for stage in report["stages"]}
    extra = sum(steps.get(name, 0.0) for name in ("repeats", "share", "memory, look up", "memory, add"))
    print(
        f"| {name} | {report['input']['rows']:,} | {calls['small']:,} | {calls['large']:,} | {device:.2f} | {wall:.1f} | {extra:.1f} |",
        flush=True,
    )
    return report | {"device_s": device, "found_wall_s": wall}


HEAD = (
    "| run | rows | by the small model | by the large model | device-seconds | wall seconds | of these, repeats and "
    "memory |\n|---|---|---|---|---|---|---|"
)


def demo_rows(rows: int) -> pa.Table:
    """Different rows of the embedded corpus, with references."""
    made = {(row["source"], row["target_lang"]): row for row in demo.rows("test", 2 * rows, 19)}
    return pa.Table.from_pylist(list(made.values())[:rows])


def written(path: Path, table: pa.Table) -> Path:
    """Writes a corpus."""
    pq.write_table(table, path)
    return path


def once(folder: Path, rows: int, rounds: int) -> None:
    """Translates the different rows alone, all rows once, and each row."""
    random = np.random.default_rng(0)
    segments = int(rows * (1 - SHARE))
    ranks = np.exp(random.random(rows - segments) * np.log(segments)).astype(np.int64) - 1
    order = random.permutation(np.concatenate([np.arange(segments), ranks]))
    table = demo_rows(segments)
    alone = order[np.sort(np.unique(order, return_index=True)[1])]
    whole, different = (
        written(folder / "all.parquet", table.take(order)),
        written(folder / "alone.parquet", table.take(alone)),
    )
    # All rows go to the large model: else the frequent segments do, which are others than without repeats.
    words = [f"input.shard_rows={rows}", "input.columns.id=null", "budget.fraction=1"]
    runs.run(folder / "warm-up", different, *words, config="configs/demo.yaml")
    print(HEAD)
    found: dict[str, list[dict[str, Any]]] = {"different rows alone": [], "all rows, once": [], "all rows, each": []}
    for number in range(rounds):
        turns = [
            ("different rows alone", different, "each"), ("all rows, once", whole, "once"), ("all rows, each", whole, "each")
        ][:: 1 - 2 * (number % 2)]  # fmt: skip
        for name, path, how in turns:
            found[name].append(job(name, folder, path, *words, f"input.duplicates={how}"))
    for key in ("device_s", "found_wall_s"):
        least, mine, most = (float(np.mean([each[key] for each in reports])) for reports in found.values())
        print(
            f"\n{key}: once / alone {mine / least:.3f}; saved of the repeats' share {(most - mine) / (most - least):.1%}"
        )


def memory(folder: Path, rows: int, _: int) -> None:
    """Translates a corpus of which an earlier run has translated most, with a memory and without."""
    table = demo_rows(rows)
    old, new = written(folder / "old.parquet", table.slice(0, int(rows * OLD))), written(folder / "new.parquet", table)
    words = [f"input.shard_rows={rows}", "input.columns.id=null", "input.duplicates=once"]
    keeping = [*words, f"memory.path={folder / 'memory'}"]
    print(HEAD)
    first = job("old rows, empty memory", folder, old, *keeping)
    kept = first["memory"]
    without = job("all rows, no memory", folder, new, *words)
    with_it = job("all rows, memory of the old ones", folder, new, *keeping)
    for key in ("device_s", "found_wall_s"):
        print(f"\n{key}: with memory / without {with_it[key] / without[key]:.3f}")
    print(f"\n{kept['added']} segments, {kept['bytes'] / kept['added']:.0f} bytes each")


def default(folder: Path, rows: int, rounds: int) -> None:
    """Looks for repeats where there are none, with engines that cost nothing."""
    texts = pa.array([f"{number} {' '.join(words)}" for number, words in enumerate(_phrases(rows))])
    path = written(folder / "in.parquet", pa.table({"source": texts}))
    words = [*runs.ECHO, "router.kind=length", "budget.fraction=0.3"]
    print(HEAD)
    found: dict[str, list[dict[str, Any]]] = {"each": [], "once": []}
    for number in range(rounds):
        for how in list(found)[:: 1 - 2 * (number % 2)]:
            found[how].append(job(how, folder, path, *words, f"input.duplicates={how}", config=None))
    each, mine = (float(np.mean([report["found_wall_s"] for report in reports])) for reports in found.values())
    print(f"\nfound_wall_s: once / each {mine / each:.3f}")


def _phrases(rows: int) -> list[list[str]]:
    chosen = np.random.default_rng(0).choice(WORDS, (rows, 8))
    return chosen.tolist()


def main() -> None:
    """Measures one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("once", "memory", "default"), default="once")
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--here", action="store_true", help="jobs run in this process, shard after shard, without Ray")
    options = parser.parse_args()
    with TemporaryDirectory() as folder, without_ray() if options.here else nullcontext():
        cluster.start(RayConfig(num_cpus=4, object_store_mb=200))
        globals()[options.part](Path(folder), options.rows, options.rounds)


if __name__ == "__main__":
    main()
