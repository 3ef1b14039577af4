"""The `logprob` judge on the embedded pair: how well it knows a good translation, what its guards would do, and its cost.

    python tests/benchmarks/bench_judge.py
    python tests/benchmarks/bench_judge.py --rows 12000 --runs 1

Both models translate held-out sentences; each of them judges the translations of both; chrF against the references says
what is true. `both` is the geometric mean of the two judgements, which no option of the job gives. Everything runs in one
process and thread without Ray, with the engine and batches of the jobs; seconds are CPU seconds, so that other load does
not count. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from routelmt_ray.budget import rows_for_fraction
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.demo import corpus
from routelmt_ray.engines import Prompt, open_engine, open_probe
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.metrics.judges import LogProbJudge
from routelmt_ray.metrics.measures import spearman
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.metrics.ties import average_ranks
from routelmt_ray.stages.validate import CheckedRows, encode

DEMO = Path(corpus.__file__).parent
MODELS = {
    size: ModelConfig(path=str(DEMO / "models" / size), prompt="demo", max_new_tokens=96) for size in ("small", "large")
}
SHARD_ROWS = 500
FRACTION, GOOD, TAU = 0.3, 0.9, 0.05
MARGINS, THRESHOLDS = (0.0, 0.05, 0.1), (0.8, 0.9, 0.95)


def by_shards(rows: int, run: Callable[[slice], Any]) -> list[Any]:
    """Runs over the shards of a job, one after the other; what each gives, joined."""
    parts = [run(slice(start, start + SHARD_ROWS)) for start in range(0, rows, SHARD_ROWS)]
    return [one for part in parts for one in part]


def measure(columns: dict[str, list[str]], runs: int) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Translations by model, judgements by (judge, model), predicted gains; and CPU seconds of each, models loaded before."""
    n = len(columns["source"])
    found: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[slice], Any]) -> None:
        started = time.process_time()
        found[name] = by_shards(n, run)
        seconds.setdefault(name, []).append(time.process_time() - started)

    def prompts(model: ModelConfig, part: slice) -> list[Prompt]:
        texts = columns["source"][part]
        rows = CheckedRows(list(texts), columns["source_lang"][part], columns["target_lang"][part], ["ok"] * len(texts))  # type: ignore[arg-type]
        encoded = encode(rows, range(len(texts)), model)
        return [Prompt(ids, room, "") for ids, room in zip(encoded.prompts, encoded.room)]

    engines = {size: open_engine(model) for size, model in MODELS.items()}
    judges = {size: LogProbJudge([model]) for size, model in MODELS.items()}
    router = load_router(str(DEMO / "router"))
    probe = open_probe(MODELS["small"], router)
    for _ in range(runs):
        for size, engine in engines.items():
            timed(size, lambda part: [a.text for a in engine.translate(prompts(MODELS[size], part))])  # noqa: B023
        for size, judge in judges.items():
            for of in MODELS:

                def judged(part: slice) -> np.ndarray:
                    codes = columns["source_lang"][part], columns["target_lang"][part]
                    return judge.scores(columns["source"][part], *codes, found[of][part])  # noqa: B023

                timed(f"{size} judges {of}", judged)

        def probed(part: slice) -> np.ndarray:
            asked = prompts(MODELS["small"], part)
            ids = [prompt.ids for prompt in asked]
            words = router.words and router.words(columns["source"][part], columns["target_lang"][part], ids)
            return router.predict(probe.probe(asked), words=words)

        timed("probe", probed)
    return found, seconds


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive row scores above a negative one, ties by half (Mann–Whitney)."""
    ranks, n = average_ranks(score), int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def main(argv: list[str] | None = None) -> int:
    """Measures and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args(argv)
    made = corpus.rows("test", options.rows, options.seed)
    columns = {name: [row[name] for row in made] for name in corpus.COLUMNS}
    found, seconds = measure(columns, options.runs)
    chrf = {size: ChrF().segment_scores([None] * options.rows, found[size], columns["reference"]) for size in MODELS}
    judged = {judge: {of: np.asarray(found[f"{judge} judges {of}"], float) for of in MODELS} for judge in MODELS}
    judged["both"] = {of: np.sqrt(judged["small"][of] * judged["large"][of]) for of in MODELS}
    predicted = np.asarray(found["probe"], float)
    k = rows_for_fraction(FRACTION, options.rows)
    order = np.argsort(-predicted, kind="stable")
    print(
        f"{options.rows:,} test sentences, seed {options.seed}, {options.runs} runs; mean chrF small {chrf['small'].mean():.3f}, "
        f"large {chrf['large'].mean():.3f}\n"
    )
    _print_knows(judged, chrf)
    _print_keep_better(judged, chrf, {"all": np.arange(options.rows), f"the {k:,} routed": order[:k]})
    _print_guard(judged, chrf, order, k)
    _print_cost(seconds, options.rows)
    return 0


def _print_knows(judged: dict[str, dict[str, np.ndarray]], chrf: dict[str, np.ndarray]) -> None:
    small, gain = chrf["small"], chrf["large"] - chrf["small"]
    print(
        f"| judge | Spearman with chrF | AUC, chrF ≥ {GOOD} | AUC, gain ≤ 0 | Spearman with −gain | median | same of large |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, of in judged.items():
        score = of["small"]
        print(
            f"| {name} | {spearman(score, small):.3f} | {auc(score, small >= GOOD):.3f} | {auc(score, gain <= 0):.3f} "
            f"| {spearman(score, -gain):.3f} | {np.median(score):.3f} | {spearman(of['large'], chrf['large']):.3f} |"
        )
    print()


def _print_keep_better(
    judged: dict[str, dict[str, np.ndarray]], chrf: dict[str, np.ndarray], sets: dict[str, np.ndarray]
) -> None:
    print("| rows | judge | margin | small kept | of them small better / worse | picks the better | mean chrF |")
    print("|---|---|---|---|---|---|---|")
    for title, rows in sets.items():
        small, large = chrf["small"][rows], chrf["large"][rows]
        differ = small != large

        def line(judge: str, margin: str, keep: np.ndarray) -> None:
            right = np.where(keep, small > large, large > small)[differ].mean()  # noqa: B023
            kept = int(keep.sum())
            shares = [f"{(keep & better).sum() / max(kept, 1):.2f}" for better in (small > large, small < large)]  # noqa: B023
            mean = np.where(keep, small, large).mean()  # noqa: B023
            print(f"| {title} | {judge} | {margin} | {kept:,} | {' / '.join(shares)} | {right:.3f} | {mean:.4f} |")  # noqa: B023

        line("none: keep large", "", np.zeros(len(rows), bool))
        for name, of in judged.items():
            for margin in MARGINS:
                line(name, f"{margin:g}", of["small"][rows] > of["large"][rows] + margin)
        line("oracle", "", small > large)
    print()


def _print_guard(
    judged: dict[str, dict[str, np.ndarray]], chrf: dict[str, np.ndarray], order: np.ndarray, k: int
) -> None:
    print(f"| judge | quality_hypo | rows barred | of the routed | mean chrF | severe loss (τ = {TAU}) |")
    print("|---|---|---|---|---|---|")
    gain = chrf["large"] - chrf["small"]

    def line(judge: str, threshold: str, barred: np.ndarray) -> None:
        chosen = order[~barred[order]][:k]
        mean = chrf["small"].mean() + gain[chosen].sum() / len(gain)
        share = barred[order[:k]].mean()
        print(
            f"| {judge} | {threshold} | {barred.mean():.2f} | {share:.2f} | {mean:.4f} | {(gain[chosen] < -TAU).mean():.4f} |"
        )

    line("none", "", np.zeros(len(gain), bool))
    for name, of in judged.items():
        for threshold in THRESHOLDS:
            line(name, f"{threshold:g}", of["small"] >= threshold)
    line("chrF itself", f"{GOOD:g}", chrf["small"] >= GOOD)
    print()


def _print_cost(seconds: dict[str, list[float]], rows: int) -> None:
    print("| work | median CPU s | rows/s | ratio to translating, small | ratio to translating, large |")
    print("|---|---|---|---|---|")
    for name, taken in seconds.items():
        ratios = [median(a / b for a, b in zip(taken, seconds[size])) for size in MODELS]
        print(f"| {name} | {median(taken):.1f} | {rows / median(taken):,.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
