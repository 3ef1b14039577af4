"""Repeated segments: how fast they are found, what translating them once saves, and what a memory of earlier runs saves.

    python tests/benchmarks/bench_repeats.py --rows 1_000_000 10_000_000 --beside pyarrow duckdb polars
    python tests/benchmarks/bench_repeats.py --part once --rows 1_500 --rounds 2
    python tests/benchmarks/bench_repeats.py --part memory --rows 1_000
    python tests/benchmarks/bench_repeats.py --part default --rows 500_000

**Finding** (`--part find`). A corpus of short sentences is written, of which a share of rows repeats an earlier one (Zipf). Each way runs in a process of its
own, on two threads or CPUs, whose private memory and that of all it starts is sampled. `routelmt` is what the job does: it
reads and checks every row, and afterwards every shard can look up its repeats. The others group by the source, and find for
each segment its rows and the first of them; they neither check rows nor tell each row its first.

**Once.** The embedded pair translates a corpus of which 40 % of the rows repeat an earlier one (Zipf): its different rows alone, the
whole with `input.duplicates=once`, and the whole with `each`, by turns. **Memory.** A corpus of which 90 % was translated by an
earlier run, with `memory.path` and without. **Default.** A corpus without repeats and two `echo` engines: what looking for repeats
costs a job whose engines cost nothing.

Device-seconds are those of the engines without their loads, as the meters count them: CPU-seconds, which other work on the
machine hardly changes. CPU-seconds are those of all processes of the job. Wall seconds begin when Ray is ready. Prints Markdown tables.
"""

import argparse
import json
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
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt_ray.config.common import ColumnsConfig, InputConfig, ModelConfig, ModelsConfig, RayConfig
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.demo import corpus as demo
from routelmt_ray.job.sections import section_works
from routelmt_ray.runtime import cluster, pipelines
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.stages import repeats
from routelmt_ray.storage.rundir import RunDir
from tests.benchmarks.bench_plumbing import WORDS
from tests.benchmarks.bench_scale import measured
from tests.end_to_end import runs
from tests.without_ray import without_ray

FILES, SHARD_ROWS, SHARE, OLD = 8, 32_768, 0.4, 0.9
WAYS = ("routelmt", "pyarrow", "duckdb", "polars")


def write_corpus(folder: Path, rows: int) -> None:
    """Seeded sentences, numbered so that they differ; about :data:`SHARE` of the rows repeat one of them."""
    random = np.random.default_rng(0)
    segments = int(rows * (1 - SHARE))
    phrases = pa.array([" ".join(random.choice(WORDS, n)) for n in random.integers(2, 8, 1 << 12)])
    first, second = (phrases.take(random.integers(0, len(phrases), segments)) for _ in range(2))
    texts = pc.binary_join_element_wise(first, second, pc.cast(pa.array(np.arange(segments)), pa.string()), " ")
    ranks = np.exp(random.random(rows - segments) * np.log(segments)).astype(np.int64) - 1  # frequency falls with rank
    order = random.permutation(np.concatenate([np.arange(segments), ranks]))
    for number, part in enumerate(np.array_split(order, FILES)):
        pq.write_table(pa.table({"source": texts.take(part)}), folder / f"part-{number}.parquet")


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


def cpu_s() -> float:
    """CPU-seconds of this process and of all that it has started, ended ones included."""
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:4]) for process in tree if process.is_running())


def job(name: str, folder: Path, path: Path, *words: str, config: str | None = "configs/demo.yaml") -> dict[str, Any]:
    """Carries out a translate job, and prints a row of the table."""
    run_dir, cpu, started = folder / f"run-{len(list(folder.glob('run-*')))}", cpu_s(), time.perf_counter()
    report = runs.run(run_dir, path, *words, config=config)
    wall, cpu, run = time.perf_counter() - started, cpu_s() - cpu, RunDir(str(run_dir))
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
        f"| {name} | {report['input']['rows']:,} | {calls['small']:,} | {calls['large']:,} | {device:.2f} | {cpu:.1f} | {wall:.1f} | {extra:.1f} |",
        flush=True,
    )
    return report | {"device_s": device, "cpu_s": cpu, "found_wall_s": wall}


HEAD = (
    "| run | rows | by the small model | by the large model | device-seconds | CPU-seconds in all | wall seconds | of these, repeats and "
    "memory |\n|---|---|---|---|---|---|---|---|"
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
    words = [f"input.shard_rows={-(-rows // 4)}", "input.columns.id=null"]
    print(HEAD)
    found: dict[str, list[dict[str, Any]]] = {"different rows alone": [], "all rows, once": [], "all rows, each": []}
    for number in range(rounds):
        turns = [
            ("different rows alone", different, "each"), ("all rows, once", whole, "once"), ("all rows, each", whole, "each")
        ][:: 1 - 2 * (number % 2)]  # fmt: skip
        for name, path, how in turns:
            found[name].append(job(name, folder, path, *words, f"input.duplicates={how}"))
    for key in ("device_s", "cpu_s", "found_wall_s"):
        least, mine, most = (float(np.mean([each[key] for each in reports])) for reports in found.values())
        print(
            f"\n{key}: once / alone {mine / least:.3f}; saved of the repeats' share {(most - mine) / (most - least):.1%}"
        )


def memory(folder: Path, rows: int, _: int) -> None:
    """Translates a corpus of which an earlier run has translated most, with a memory and without."""
    table = demo_rows(rows)
    old, new = written(folder / "old.parquet", table.slice(0, int(rows * OLD))), written(folder / "new.parquet", table)
    words = [f"input.shard_rows={-(-rows // 4)}", "input.columns.id=null", "input.duplicates=once"]
    keeping = [*words, f"memory.path={folder / 'memory'}"]
    print(HEAD)
    first = job("old rows, empty memory", folder, old, *keeping)
    kept = first["memory"]
    without = job("all rows, no memory", folder, new, *words)
    with_it = job("all rows, memory of the old ones", folder, new, *keeping)
    for key in ("device_s", "cpu_s", "found_wall_s"):
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
    for key in ("cpu_s", "found_wall_s"):
        each, mine = (float(np.mean([report[key] for report in reports])) for reports in found.values())
        print(f"\n{key}: once / each {mine / each:.3f}")


def _phrases(rows: int) -> list[list[str]]:
    chosen = np.random.default_rng(0).choice(WORDS, (rows, 8))
    return chosen.tolist()


def main() -> None:
    """Measures all sizes, or one way of one size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("find", "once", "memory", "default"), default="find")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--here", action="store_true", help="jobs run in this process, shard after shard, without Ray")
    parser.add_argument("--beside", nargs="*", choices=WAYS[1:], default=[])
    parser.add_argument("--timeout-s", type=float, default=1800)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--k", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(globals()[options.way](options.folder)), flush=True)
        return
    if options.part != "find":
        with TemporaryDirectory() as folder, without_ray() if options.here else nullcontext():
            cluster.start(RayConfig(num_cpus=4, object_store_mb=200))
            globals()[options.part](Path(folder), options.rows[0], options.rounds)
        return
    print("| rows | way | seconds | rows/s | memory, MiB | segments |\n|---|---|---|---|---|---|")
    for rows in options.rows:
        with TemporaryDirectory() as folder:
            write_corpus(Path(folder), rows)
            for way in ["routelmt", *options.beside]:
                found = measured(way, Path(folder), rows, 0, options.timeout_s, __file__)
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


if __name__ == "__main__":
    main()
