"""Finding the rows whose segment occurs in an earlier row: how fast, in how much memory; other ways beside it.

    python tests/benchmarks/bench_repeats.py --rows 1_000_000 10_000_000 --beside pyarrow duckdb polars

A corpus of short sentences is written, of which a share of rows repeats an earlier one (Zipf). Each way runs in a process of its
own, on two threads or CPUs, whose private memory and that of all it starts is sampled. `routelmt` is what the job does: it
reads and checks every row, and afterwards every shard can look up its repeats. The others group by the source, and find for
each segment its rows and the first of them; they neither check rows nor tell each row its first. Prints a Markdown table.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt_ray.config.common import ColumnsConfig, InputConfig, ModelConfig, ModelsConfig, RayConfig
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.job.sections import section_works
from routelmt_ray.runtime import cluster, pipelines
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.stages import repeats
from routelmt_ray.storage.rundir import RunDir
from tests.benchmarks.bench_plumbing import WORDS
from tests.benchmarks.bench_scale import draw, measured

FILES, SHARD_ROWS, SHARE = 8, 32_768, 0.4
WAYS = ("routelmt", "pyarrow", "duckdb", "polars")
IN_MEMORY = ("pyarrow", "polars")
"""Ways that do not spill: 10⁸ rows would take above 20 GiB."""


def write_corpus(folder: Path, rows: int) -> None:
    """Seeded sentences, numbered so that they differ; about :data:`SHARE` of the rows repeat one of them."""
    random = np.random.default_rng(0)
    segments = int(rows * (1 - SHARE))
    phrases = pa.array([" ".join(random.choice(WORDS, n)) for n in random.integers(2, 8, 1 << 12)], pa.large_string())
    first, second = (phrases.take(random.integers(0, len(phrases), segments)) for _ in range(2))
    numbers = pc.cast(pa.array(np.arange(segments)), pa.large_string())
    texts = pc.binary_join_element_wise(
        first, second, numbers, pa.scalar(" ", pa.large_string())
    )  # above 2 GiB for 10⁸ rows
    ranks = np.exp(random.random(rows - segments) * np.log(segments)).astype(np.int64) - 1  # frequency falls with rank
    order = random.permutation(np.concatenate([np.arange(segments), ranks]))
    for number, part in enumerate(np.array_split(order, FILES)):
        pq.write_table(pa.table({"source": texts.take(part).cast(pa.string())}), folder / f"part-{number}.parquet")


def paths(folder: Path) -> list[str]:
    """Finds the files of the corpus, in order."""
    return [str(path) for path in sorted(folder.glob("*.parquet"))]


def routelmt(folder: Path) -> dict[str, Any]:
    """Carries out the steps of the job."""
    cluster.start(RayConfig(num_cpus=2, object_store_mb=200))
    counts = [pq.read_metadata(path).num_rows for path in paths(folder)]
    plan, echo = ShardPlan(paths(folder), counts, SHARD_ROWS), ModelConfig(engine="echo")
    asked = InputConfig(
        path=str(folder), columns=ColumnsConfig(source="source"), source_lang="en", target_lang="de", duplicates="once"
    )
    schema, sections = pa.schema([("source", pa.string())]), Sections.of(plan)
    with TemporaryDirectory() as run_dir:
        context = RunContext(RunDir(run_dir), schema, asked, ModelsConfig(small=echo, large=echo), "", 0)
        steps, started = {}, time.perf_counter()
        with Progress() as progress:
            for work in section_works("repeats", plan, sections, repeats.steps(context, sections)):
                at = time.perf_counter()
                pipelines.run(context.run, [work], 1, progress)
                steps[next(iter(work.rows))[0].partition("/")[2]] = round(time.perf_counter() - at, 1)
        seconds, found = time.perf_counter() - started, repeats.count_repeats(context.run)
        size = sum(file.stat().st_size for file in Path(run_dir).rglob("*.parquet"))
    return {"s": seconds, "segments": found["segments"], "steps": steps, "bytes": size}


def pyarrow(folder: Path) -> dict[str, Any]:
    """Groups in memory, on two threads."""
    pa.set_cpu_count(2)
    started = time.perf_counter()
    table = pa.concat_tables(pq.read_table(path) for path in paths(folder))
    table = table.append_column("place", pa.array(np.arange(table.num_rows)))
    found = table.group_by("source").aggregate([("place", "min"), ("place", "count")])
    return {"s": time.perf_counter() - started, "segments": found.num_rows}


def duckdb(folder: Path) -> dict[str, Any]:
    """Groups on two threads; may spill."""
    import duckdb as duckdb_

    started = time.perf_counter()
    connection = duckdb_.connect(config={"threads": 2, "memory_limit": "4GB", "temp_directory": str(folder / "spill")})
    query = (
        "CREATE TABLE found AS SELECT source, min(filename || file_row_number) AS first, count(*) AS n "
        "FROM read_parquet(?, filename = true, file_row_number = true) GROUP BY source"
    )
    connection.execute(query, [paths(folder)])
    (row,) = connection.execute("SELECT count(*) FROM found").fetchall()
    return {"s": time.perf_counter() - started, "segments": row[0]}


def polars(folder: Path) -> dict[str, Any]:
    """Groups as a stream, on two threads."""
    os.environ["POLARS_MAX_THREADS"] = "2"
    import polars as pl

    started = time.perf_counter()
    scan = pl.scan_parquet(paths(folder), row_index_name="place").group_by("source")
    found = scan.agg(pl.col("place").min(), pl.len().alias("n")).collect(engine="streaming")
    return {"s": time.perf_counter() - started, "segments": found.height}


def main() -> None:
    """Measures all sizes, or one way of one size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--beside", nargs="*", choices=WAYS[1:], default=[])
    parser.add_argument(
        "--beside-up-to", type=int, default=10_000_000, help="most rows of the ways that hold all texts"
    )
    parser.add_argument("--timeout-s", type=float, default=1800)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--k", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(globals()[options.way](options.folder)), flush=True)
        return
    results: list[tuple[int, str, dict[str, Any]]] = []
    print("| rows | way | seconds | rows/s | memory, MiB | segments |\n|---|---|---|---|---|---|")
    for rows in options.rows:
        with TemporaryDirectory() as folder:
            write_corpus(Path(folder), rows)
            for way in ["routelmt", *options.beside]:
                if way in IN_MEMORY and rows > options.beside_up_to:
                    continue
                found = measured(way, Path(folder), rows, 0, options.timeout_s, __file__)
                results.append((rows, way, found))
                memory = f"{found['memory_mib']:,.0f}"
                if "failed" in found:
                    print(f"| {rows:,} | {way} | {found['failed']} | | {memory} | |", flush=True)
                    continue
                words = "".join(f", {step} {s}" for step, s in found.get("steps", {}).items())
                size = f"; {found['bytes'] / rows:.1f} bytes a row" if "bytes" in found else ""
                print(
                    f"| {rows:,} | {way} | {found['s']:.1f}{words} | {rows / found['s']:,.0f} | {memory} | "
                    f"{found['segments']:,}{size} |",
                    flush=True,
                )
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
