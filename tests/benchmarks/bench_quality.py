"""What reaching a quality costs: the routed job's work beside random routing, the cascade, and the large model alone.

    python tests/benchmarks/bench_quality.py

Every part is run for real, in one process and one thread, on sentences neither the pair nor the router has seen, in shards as the
job has them, and its CPU seconds are taken: probing all rows, translating just the rows a strategy gives to either model, judging.
Models are loaded before. The cascade translates everything with the small model, has a judge (the large model's own
probabilities, the better of the two judges here) look at all of it, and translates the worst again. How many rows a strategy has to
route is looked up in the true qualities, so that all reach the same mean chrF. Prints Markdown tables.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pyarrow.parquet as pq
import torch

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.demo.corpus import write_corpus
from routelmt_ray.engines import Prompt
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import prompt_encoder
from routelmt_ray.metrics.judges import LogProbJudge
from routelmt_ray.metrics.sentence import ChrF

DEMO = Path(__file__).resolve().parents[2] / "routelmt_ray" / "demo"
LEVELS = (0.3, 0.5, 0.8)
"""Shares of the way from all-small to all-large that are to be reached."""


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and its result."""
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


class Work:
    """A corpus and everything that can be done to its rows."""

    def __init__(self, rows: list[dict[str, str]], shard_rows: int) -> None:
        """Loads all models."""
        self.rows, self._shard_rows = rows, shard_rows
        small, large = (
            ModelConfig(path=str(DEMO / "models" / size), prompt="demo", batch_rows=128) for size in ("small", "large")
        )
        self._router = load_router(str(DEMO / "router"))
        self._engines = {"small": HfEngine(small), "large": HfEngine(large)}
        self._probe, self._judge = HfEngine(small, self._router), LogProbJudge([large])
        family, encoder = load_family("demo"), prompt_encoder(small)
        names = [family.names(row["source_lang"], row["target_lang"]) for row in rows]
        ids = encoder.encode([family.render(r["source"], str(s), str(t)) for r, (s, t) in zip(rows, names)])
        self._prompts = [Prompt(i, min(192, 2 * len(i) + 8), "") for i in ids]

    def _shards(self, chosen: Sequence[int]) -> list[list[int]]:
        """Chosen rows by shard: a shard's few rows make its batches, as in the job."""
        by_shard: dict[int, list[int]] = {}
        for row in chosen:
            by_shard.setdefault(row // self._shard_rows, []).append(row)
        return list(by_shard.values())

    def translate(self, size: str, chosen: Sequence[int]) -> dict[int, str]:
        """Translations by row."""
        found: dict[int, str] = {}
        for rows in self._shards(chosen):
            answers = self._engines[size].translate([self._prompts[i] for i in rows])
            found.update((i, answer.text or "") for i, answer in zip(rows, answers))
        return found

    def prompt_tokens(self) -> np.ndarray:
        """Tokens of each prompt: what a row costs, to a factor."""
        return np.array([len(prompt.ids) for prompt in self._prompts])

    def probe(self) -> np.ndarray:
        """Predicted gain of all rows."""
        shards = self._shards(range(len(self.rows)))
        raw = np.concatenate([self._probe.probe([self._prompts[i] for i in rows]) for rows in shards])
        asked = [[row[key] for row in self.rows] for key in ("source", "target_lang")]
        return self._router.predict(
            raw, "gain", self._router.words and self._router.words(*asked, [prompt.ids for prompt in self._prompts])
        )

    def judge(self, translations: dict[int, str]) -> np.ndarray:
        """Judged quality of all rows."""
        columns = [[row[key] for row in self.rows] for key in ("source", "source_lang", "target_lang")]
        return self._judge.scores(*columns, [translations[i] for i in range(len(self.rows))])

    def quality(self, translations: dict[int, str]) -> np.ndarray:
        """True quality of all rows."""
        n = len(self.rows)
        return ChrF().segment_scores(
            [None] * n, [translations[i] for i in range(n)], [row["reference"] for row in self.rows]
        )


def rows_needed(order: np.ndarray, small: np.ndarray, large: np.ndarray, wanted: float) -> int:
    """Fewest rows, taken in an order, that bring the mean quality to a level."""
    reached = small.mean() + np.cumsum((large - small)[order]) / len(small)
    return int(np.argmax(reached >= wanted)) + 1


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--shard-rows", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder), "test", options.rows, 11)
        work = Work(pq.read_table(folder).to_pylist(), options.shard_rows)
    everything, n = range(options.rows), options.rows
    small_s, small_texts = timed(lambda: work.translate("small", everything))
    large_s, large_texts = timed(lambda: work.translate("large", everything))
    probe_s, gains = timed(work.probe)
    judge_s, judged = timed(lambda: work.judge(small_texts))
    small, large = work.quality(small_texts), work.quality(large_texts)
    print(f"{n:,} rows; mean chrF all-small {small.mean():.4f}, all-large {large.mean():.4f}\n")
    print("| CPU seconds, all rows | small | large | probe | judge | probe / small | (small + judge) / probe |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| | {small_s:.1f} | {large_s:.1f} | {probe_s:.1f} | {judge_s:.1f} | {probe_s / small_s:.3f} | "
        f"{(small_s + judge_s) / probe_s:.1f} |\n"
    )
    rng = np.random.default_rng(0)
    orders = {
        "router": np.argsort(-gains, kind="stable"),
        "router, gain per prompt token": np.argsort(-gains / work.prompt_tokens(), kind="stable"),
        "cascade": np.argsort(judged, kind="stable"),
        "random": rng.permutation(n),
    }
    print(
        "| way to all-large | mean chrF | strategy | rows routed | CPU s | / router | / all-large |\n|---|---|---|---|---|---|---|"
    )
    for level in LEVELS:
        wanted = small.mean() + level * (large.mean() - small.mean())
        spent: dict[str, tuple[int, float]] = {}
        for name, order in orders.items():
            k = rows_needed(order, small, large, wanted)
            routed = np.sort(order[:k]).tolist()
            rest = sorted(set(everything) - set(routed))
            seconds = timed(lambda routed=routed: work.translate("large", routed))[0]
            if name == "cascade":
                seconds += small_s + judge_s
            else:
                seconds += timed(lambda rest=rest: work.translate("small", rest))[0] + (
                    probe_s if name.startswith("router") else 0
                )
            spent[name] = k, seconds
        spent["all-large"] = n, large_s
        for name, (k, seconds) in spent.items():
            print(
                f"| {level:.0%} | {wanted:.4f} | {name} | {k} | {seconds:.1f} | {seconds / spent['router'][1]:.2f} | "
                f"{seconds / large_s:.2f} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
