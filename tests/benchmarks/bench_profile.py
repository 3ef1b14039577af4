"""What a profile predicts beside what fresh rows then really cost, and what the profile itself costs.

    python tests/benchmarks/bench_profile.py
    python tests/benchmarks/bench_profile.py --runs 5 --burners 4

Each run profiles the embedded pair again (rows of one seed), then probes and translates rows of another seed in shards
as a job would, on the CPU clock of this process. `--burners` keeps that number of other processes busy meanwhile. Prints a
Markdown table of predicted / measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from jobs import profile_costs
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.profile import ProfileConfig
from routelmt_ray.corpus import jsonl
from routelmt_ray.corpus.languages import pair_labels
from routelmt_ray.demo.corpus import write_corpus
from routelmt_ray.engines import Prompt, open_engine, open_probe
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.job import profiling
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime.metering import DeviceClock
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.runtime.readings import readings
from routelmt_ray.stages.validate import encode, needed_columns, validate
from routelmt_ray.storage.rundir import RunDir

ROOT = Path(__file__).resolve().parents[2]
ROUTED = 0.3


class Fresh:
    """Rows the profile has not seen, encoded."""

    def __init__(self, path: Path, config: ProfileConfig) -> None:
        table = pq.read_table(path)
        table = table.append_column(jsonl.BAD_LINE, pa.nulls(table.num_rows, pa.binary()))
        rows = validate(table.select(needed_columns(config.input)), config.input, config.models.small.prompt)
        encoded = encode(rows, range(table.num_rows), config.models.small)  # both models have the same tokenizer
        pairs = pair_labels(rows.source_langs, rows.target_langs)
        names, self.codes = np.unique(pairs, return_inverse=True)
        self.pairs = names.tolist()
        self.prompts = [
            Prompt(ids, room, text or "") for ids, room, text in zip(encoded.prompts, encoded.room, rows.texts)
        ]
        self.prompt_tokens = np.array([len(ids) for ids in encoded.prompts])
        self.source_tokens = np.array(encoded.source_tokens)


def predict(costs: CostModel, config: ProfileConfig, fresh: Fresh, shard_rows: int) -> dict[str, float]:
    """Predicted over measured device-seconds, by what was done; models loaded and warm."""
    shards = np.split(np.arange(len(fresh.prompts)), range(shard_rows, len(fresh.prompts), shard_rows))
    routed = np.random.default_rng(0).random(len(fresh.prompts)) < ROUTED
    small, large = open_engine(config.models.small), open_engine(config.models.large)
    probe = open_probe(config.models.small, load_router(str(config.router.path)))
    tokens = fresh.prompt_tokens, fresh.source_tokens
    seconds = {size: costs.row_seconds(size, *tokens, fresh.codes, fresh.pairs) for size in ("small", "large")}
    every = np.ones(len(fresh.prompts), bool)
    ratios = {}
    for name, run, predicted, chosen in (
        ("probe", probe.probe, costs.probe_seconds(tokens[0]), every),
        ("small", small.translate, seconds["small"], every),
        ("large", large.translate, seconds["large"], every),
        (f"large, {ROUTED:.0%} of each shard", large.translate, seconds["large"], routed),
    ):
        run(fresh.prompts[:64])
        clock = DeviceClock(0)
        for shard in shards:
            run([fresh.prompts[i] for i in shard if chosen[i]])
        ratios[name] = float(predicted[chosen].sum()) / clock.seconds()
    return ratios


def profile(config: ProfileConfig) -> tuple[CostModel, float]:
    """A profile on a cluster of its own, and its wall seconds, Ray's start included."""
    started = time.perf_counter()
    preparation = profiling.prepare(config)
    cluster.start(config.ray)
    try:
        with Progress() as progress:
            costs = profile_costs.run(config, preparation, progress)
        return costs, time.perf_counter() - started
    finally:
        ray.shutdown()


def burn() -> None:
    """Keeps a core busy."""
    while True:
        sum(range(10_000))


@contextmanager
def load(burners: int) -> Iterator[None]:
    """Other work beside the body."""
    processes = [multiprocessing.Process(target=burn, daemon=True) for _ in range(burners)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def main(argv: list[str] | None = None) -> int:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512, help="rows of the profile")
    parser.add_argument("--fresh-rows", type=int, default=1500)
    parser.add_argument("--shard-rows", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--burners", type=int, default=0)
    options = parser.parse_args(argv)
    taken: dict[str, list[float]] = {}
    os.chdir(ROOT)  # the paths in the config are relative
    with tempfile.TemporaryDirectory() as folder, load(options.burners):
        write_corpus(Path(folder, "in"), "dev", 6000, 0)
        write_corpus(Path(folder, "fresh"), "dev", options.fresh_rows, 1)
        for number in range(options.runs):
            words = [f"run_dir={folder}/run-{number}", f"input.path={folder}/in", f"rows={options.rows}"]
            config = configlib.load(ProfileConfig, ["configs/profile_demo.yaml"], words)
            costs, wall_s = profile(config)
            metered = readings(RunDir(config.run_dir))
            spent_s = sum(reading.device_s for reading in metered)
            figures = predict(costs, config, Fresh(Path(folder, "fresh"), config), options.shard_rows)
            figures |= {
                f"stated 95 % error, {name}": getattr(costs, name).relative_error or 0.0
                for name in ("probe", "small", "large")
            }
            figures |= {f"load, {name}, CPU s": getattr(costs, name).load_s for name in ("probe", "small", "large")}
            figures |= {f"1,000 rows, {name}, CPU s": 1000 * s for name, s in costs.mean_row_s.items()}
            figures |= {
                "the profile, wall s": wall_s,
                "the profile, CPU s": spent_s,
                "of it loading": sum(reading.load_s for reading in metered) / spent_s,
                "load average": os.getloadavg()[0],
            }
            for name, value in figures.items():
                taken.setdefault(name, []).append(value)
    print(f"{options.rows} rows profiled, {options.fresh_rows} fresh, {options.runs} runs, {options.burners} burners\n")
    print("| | min | median | max |")
    print("|---|---|---|---|")
    for name, values in taken.items():
        print(f"| {name} | {min(values):.3g} | {median(values):.3g} | {max(values):.3g} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
