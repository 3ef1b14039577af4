"""The label job beside the plain sum of its parts: what reading, committing, Ray and two processes cost or save.

    python tests/benchmarks/bench_label.py
    python tests/benchmarks/bench_label.py --rows 20000 --shard-rows 1000

The parts run in one process, one after the other, without any file: the small model over all rows, the large model over
all rows, chrF over both translations, with the engine, batches and shards of the job. The job runs the same rows from the
corpus to the merged output, cold (Ray's start and its workers' imports included) and without the start. Prints a
Markdown table.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from jobs import label
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.label import LabelConfig
from routelmt_ray.corpus import jsonl
from routelmt_ray.demo.corpus import write_corpus
from routelmt_ray.engines import Prompt, open_engine
from routelmt_ray.job import labels
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.stages.validate import encode, needed_columns, validate

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "label_demo.yaml"


def parts(config: LabelConfig) -> dict[str, float]:
    """Seconds of each part alone, models loaded beforehand."""
    table = pq.read_table(config.input.path)
    table = table.append_column(jsonl.BAD_LINE, pa.nulls(table.num_rows, pa.binary()))
    seconds, hypotheses = {}, {}
    for size, model in (("small", config.models.small), ("large", config.models.large)):
        engine = open_engine(model)
        engine.translate([_prompts(table.slice(0, 1), config, size)[0]])
        started = time.perf_counter()
        answers = [
            answer.text
            for at in range(0, table.num_rows, config.input.shard_rows)
            for answer in engine.translate(_prompts(table.slice(at, config.input.shard_rows), config, size))
        ]
        seconds[f"translate, {size}"], hypotheses[size] = time.perf_counter() - started, answers
    sources, references = table["source"].to_pylist(), table["reference"].to_pylist()
    started = time.perf_counter()
    for answers in hypotheses.values():
        ChrF().segment_scores(sources, answers, references)
    return seconds | {"measure, chrf": time.perf_counter() - started}


def _prompts(table: pa.Table, config: LabelConfig, size: str) -> list[Prompt]:
    model = getattr(config.models, size)
    rows = validate(table.select(needed_columns(config.input)), config.input, model.prompt)
    encoded = encode(rows, range(table.num_rows), model)
    return [Prompt(ids, room, text or "") for ids, room, text in zip(encoded.prompts, encoded.room, rows.texts)]


def whole(config: LabelConfig) -> dict[str, float]:
    """Seconds of the job and of its stages, inside this process and on a cluster of its own."""
    started = time.perf_counter()
    preparation, specs = labels.prepare(config)
    cluster.start(config.ray)
    up = time.perf_counter()
    try:
        with Progress() as progress:
            label.run(config, preparation, specs, progress)
        done = time.perf_counter()
    finally:
        ray.shutdown()
    return {"job, cold": done - started, "job": done - up, **{f"stage: {k}": s for k, s in progress.seconds.items()}}


def main(argv: list[str] | None = None) -> int:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--shard-rows", type=int, default=250)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(argv)
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder, "in"), "dev", options.rows, 11)
        for number in range(options.runs):
            words = [f"run_dir={folder}/run-{number}", f"input.path={folder}/in/dev.parquet", "metrics.names=[chrf]"]
            config = configlib.load(
                LabelConfig, [str(CONFIG)], [*words, f"input.shard_rows={options.shard_rows}", *_model_paths()]
            )
            jobs: list[Callable[[LabelConfig], dict[str, float]]] = [parts, whole]
            for measure in jobs if number % 2 == 0 else jobs[::-1]:  # alternating, so that other load falls on both
                for name, seconds in measure(config).items():
                    taken.setdefault(name, []).append(seconds)
    _print(taken, options.rows, options.shard_rows, options.runs)
    return 0


def _model_paths() -> list[str]:
    root = CONFIG.parents[1]
    return [f"models.{size}.path={root}/routelmt_ray/demo/models/{size}" for size in ("small", "large")]


def _print(taken: dict[str, list[float]], rows: int, shard_rows: int, runs: int) -> None:
    names = ("translate, small", "translate, large", "measure, chrf")
    taken["sum of the parts"] = [sum(values) for values in zip(*(taken[name] for name in names))]
    base = taken["sum of the parts"]
    print(f"{rows:,} rows, shards of {shard_rows}, {runs} runs, {os.cpu_count()} CPUs, {Path(__file__).name}\n")
    print("| part | min s | median s | max s | rows/s | ratio to the sum, median |")
    print("|---|---|---|---|---|---|")
    stages = sorted(name for name in taken if name.startswith("stage: "))
    for name in (*names, "sum of the parts", "job", "job, cold", *stages):
        seconds = taken[name]
        ratio = median(one / other for one, other in zip(seconds, base))
        print(
            f"| {name} | {min(seconds):.1f} | {median(seconds):.1f} | {max(seconds):.1f} "
            f"| {rows / median(seconds):,.1f} | {ratio:.2f} |"
        )


if __name__ == "__main__":
    sys.exit(main())
