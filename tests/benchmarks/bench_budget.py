"""A budget in device-hours on the embedded pair: is it met, what do guards do to it, and is gain per cost worth it?

    python tests/benchmarks/bench_budget.py
    python tests/benchmarks/bench_budget.py --rows 3000 --part loop|guards|objective

Every run is a separate process, as a user starts it. Prints Markdown tables.

loop       a budget between all-small and all-large with a profile that is wrong by a factor, in five tranches and in one
guards     each guard at the same budget: true mean quality, severe losses and what was spent; none comes first and last, as
           a machine's mood decides how many rows a budget buys
objective  gain per cost against gain at equal spending, from labels of both models
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.metrics.sentence import ChrF

ROOT = Path(__file__).resolve().parents[2]
WRONG = [(1, 1), (1, 2), (1, 0.5), (2, 1), (0.5, 1)]
GUARDS = {
    "none": [],
    "quality_predict ≥ .9": ["guard.quality_predict=0.9"],
    "quality_hypo ≥ .9, both models judge": ["guard.quality_hypo=0.9", "guard.judge=logprob"],
    "quality_hypo ≥ .9, the small model judges": [
        "guard.quality_hypo=0.9",
        "guard.judge=logprob",
        "guard.logprob_model=small",
    ],
    "keep_better by 0, both models judge": ["guard.keep_better=0", "guard.judge=logprob"],
    "min_gain .1": ["budget.min_gain=0.1"],
    "none, again": [],
}
SMALL_BATCHES = ["models.small.batch_rows=32", "models.large.batch_rows=32", "cost.rows=128"]
"""So that few rows make several full batches."""
TAU = 0.05


@dataclass(frozen=True)
class Bench:
    """The runs of a benchmark, as the command line asks for them."""

    work: Path
    """Where runs are made."""
    corpus: Path
    """What they translate."""
    shard_rows: int
    """Rows a shard."""
    tranches: list[int]
    """Numbers of tranches to compare in the loop."""

    @property
    def words(self) -> list[str]:
        """Settings every job has."""
        return ["ray.object_store_mb=200", f"input.shard_rows={self.shard_rows}"]


class Refused(Exception):
    """A job that cannot be carried out as it is configured, with what it says."""


def job(name: str, *words: str) -> None:
    """Runs a job to its end.

    Raises:
        Refused: by the job, with its message.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, f"jobs/{name}.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    lines = done.stderr.splitlines()
    if refused := [line for line in lines if "ERROR refused: " in line]:
        raise Refused(refused[-1].partition("refused: ")[2])
    if done.returncode:
        raise SystemExit(f"{name} {' '.join(words)}: exit status {done.returncode}\n{done.stderr[-3000:]}")


def translate(bench: Bench, run_dir: Path, *words: str) -> dict[str, Any]:
    """Runs the translate job; gives its report."""
    where = [f"run_dir={run_dir}", f"input.path={bench.corpus}"]
    job(
        "translate",
        "--config",
        "configs/demo.yaml",
        *where,
        "budget.fraction=null",
        *SMALL_BATCHES,
        *bench.words,
        *words,
    )
    report: dict[str, Any] = json.loads((run_dir / "report.json").read_text())
    return report


def dry_run(bench: Bench) -> tuple[dict[str, Any], dict[str, Any]]:
    """Profiles and scores; gives the forecast and the profile."""
    report = translate(bench, bench.work / "dry", "budget.gpu_hours=10", "budget.dry_run=true")
    (path,) = (bench.work / "dry").glob("profile/*/cost.json")
    return report["forecast"], json.loads(path.read_text())


def budget(forecast: dict[str, Any], share: float) -> str:
    """Hours between all-small and all-large."""
    seconds = forecast["all_small_s"] + share * (forecast["all_large_s"] - forecast["all_small_s"])
    return f"budget.gpu_hours={seconds / 3600}"


def loop(bench: Bench) -> None:
    """Closed against open loop."""
    work = bench.work
    forecast, profile = dry_run(bench)
    print(
        "\n| profiled cost, small / large | tranches | spent / budget | with what was kept for deaths | rows routed | last scales, "
        "small / large |"
    )
    print("|---|---|---|---|---|---|")
    for wrong in WRONG:
        costs = json.loads(json.dumps(profile))
        for size, factor in zip(("small", "large"), wrong):
            for key in ("row_s", "prefill_token_s", "output_token_s"):
                costs[size][key] *= factor
        (work / "cost.json").write_text(json.dumps(costs))
        for tranches in bench.tranches:
            run_dir = work / f"loop-{wrong[0]}-{wrong[1]}-{tranches}"
            shutil.copytree(work / "dry", run_dir)
            words = [budget(forecast, 0.4), f"cost.path={work / 'cost.json'}", f"budget.tranches={tranches}"]
            report = translate(bench, run_dir, *words)
            spend, last = report["spend"], report["plan"][-1]
            entries = [json.loads(path.read_text()) for path in sorted((run_dir / "plan").glob("*.json"))]
            kept_s = [entry["position"]["reserve_s"] for entry in entries if "position" in entry][-1]
            print(
                f"| × {wrong[0]:g} / × {wrong[1]:g} | {tranches} | {spend['spent_s'] / spend['budget_s']:.3f} | "
                f"{(spend['spent_s'] + kept_s) / spend['budget_s']:.3f} | {report['budget']['routed']} | {last['scale_small']:.2f} / {last['scale_large']:.2f} |",
                flush=True,
            )


def labels(bench: Bench) -> Path:
    """Both models on every row."""
    run_dir = bench.work / "labels"
    config = ["--config", "configs/label_demo.yaml", f"run_dir={run_dir}", f"input.path={bench.corpus}"]
    if not (run_dir / "output" / "_SUCCESS").exists():
        job("label", *config, *bench.words, "metrics.names=[chrf]")
    return run_dir / "output"


def without_guard(run_dir: Path, small: np.ndarray, large: np.ndarray) -> np.ndarray:
    """Mean quality with the best 0, 1, 2 … rows routed by predicted gain per extra second, as that run profiled it."""
    (path,) = run_dir.glob("profile/*/cost.json")
    cost = CostModel.load(path)
    names = ["predicted_gain", "prompt_tokens", "source_tokens", "pair"]
    scores = pa.concat_tables(pq.read_table(path, columns=names) for path in sorted(run_dir.glob("scores/*.parquet")))
    gain, prompt_tokens, source_tokens = (scores[name].to_numpy() for name in names[:3])
    pairs, codes = np.unique(scores["pair"].to_pylist(), return_inverse=True)
    seconds = [cost.row_seconds(size, prompt_tokens, source_tokens, codes, list(pairs)) for size in ("small", "large")]
    order = np.argsort(-gain / np.maximum(1e-6, seconds[1] - seconds[0]), kind="stable")
    won = np.concatenate([[0.0], np.cumsum((large - small)[order])])
    return small.mean() + won / len(small)


def guards(bench: Bench) -> None:
    """Each guard at the same budget."""
    forecast, _ = dry_run(bench)
    rows = pq.read_table(labels(bench), columns=["quality_small_chrf", "quality_large_chrf"])
    small, large = (column.to_numpy() for column in rows.columns)
    print(f"\nall-small {small.mean():.4f}, all-large {large.mean():.4f}, oracle {np.maximum(small, large).mean():.4f}")
    print(
        "\n| guard | routed | large kept | mean chrF | with as many and no guard | severe losses among the kept | spent / budget |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, words in GUARDS.items():
        run_dir = bench.work / f"guard-{abs(hash(name))}"
        shutil.copytree(bench.work / "dry", run_dir)
        try:
            report = translate(bench, run_dir, budget(forecast, 0.4), *words)
        except Refused as error:
            print(f"| {name} | refused: {error} | | | | | |", flush=True)
            continue
        routed, unguarded = report["budget"]["routed"], without_guard(run_dir, small, large)
        output = pa.concat_tables(
            pq.read_table(path) for path in sorted((run_dir / "output").glob("*.parquet"))
        ).to_pydict()
        quality = ChrF().segment_scores([None] * len(small), output["translation"], output["reference"])
        kept = np.asarray([model == "large" for model in output["model"]])
        severe = (quality - small)[kept] < -TAU
        spend = report["spend"]
        print(
            f"| {name} | {routed} | {kept.sum()} | {quality.mean():.4f} | {unguarded[routed]:.4f} | {severe.sum()} of "
            f"{kept.sum()} ({100 * severe.mean():.2f} %) | {spend['spent_s'] / spend['budget_s']:.3f} |",
            flush=True,
        )


def objective(bench: Bench) -> None:
    """Gain per cost against gain, in the evaluation's own table."""
    out = bench.work / "evaluation"
    job(
        "evaluate", "--config", "configs/evaluate_demo.yaml", f"labels.path={labels(bench)}", f"out={out}", "rows=all",
        "scorers.routers={lora: routelmt_ray/demo/router}", "scorers.win_probability=false", "scorers.logprob=false",
    )  # fmt: skip
    result = json.loads((out / "evaluation.json").read_text())
    print("\n| budget counted in | share | by gain, points | by gain per cost | difference, 95 % interval |")
    print("|---|---|---|---|---|")
    for line in result["by_cost"]:
        difference = line["difference"]
        print(
            f"| {line['axis']} | {line['share']:g} | {100 * line['gain']:.2f} | {100 * line['per_cost']:.2f} | "
            f"{100 * difference['value']:+.2f} [{100 * difference['low']:+.2f}, {100 * difference['high']:+.2f}] |"
        )


def main() -> None:
    """Parses the command line and runs the parts."""
    parts = {"loop": loop, "guards": guards, "objective": objective}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--shard-rows", type=int, default=500)
    parser.add_argument("--part", choices=[*parts, "all"], default="all")
    parser.add_argument("--work", type=Path, default=None, help="keep what was made here")
    parser.add_argument("--tranches", type=int, nargs="+", default=[5, 1])
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp())
    corpus = work / "corpus"
    if not corpus.exists():
        words = ["--out", str(corpus), "--rows", str(arguments.rows), "--seed", "11", "--split", "test"]
        subprocess.run(
            [sys.executable, "-m", "routelmt_ray.demo.corpus", *words], cwd=ROOT, check=True, capture_output=True
        )
    bench = Bench(work, corpus, arguments.shard_rows, arguments.tranches)
    for name, part in parts.items():
        if arguments.part in (name, "all"):
            shutil.rmtree(work / "dry", ignore_errors=True)
            part(bench)
    if arguments.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
