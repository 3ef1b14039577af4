"""Checks that escalate beside checks that do not, at one budget: chrF for the same calls, and for the same seconds.

    python tests/benchmarks/bench_escalation.py

Two pairs translate sentences that neither has seen: the embedded one, and one whose small model is the embedded one with noise on its
weights, which stands for a model that was trained too little. Both models translate all rows once, for real. A row's seconds are the
CPU seconds of its model, shared out by tokens. The translate job itself then runs with engines that answer from these translations, so
that plan, checks and escalation are the real ones: once for each budget with all checks set to `flag`, and with `escalate`. For
the same seconds, the budget is lowered until small and large translations together take no longer than those with `flag`. Seconds
of loading models are left out: with `escalate` a budget in hours pays for one more load of the large model. Rows are ordered by the
shipped router; for the noisy model by a ridge on its own prompt states, fitted on the other four fifths of the rows. Differences have 95 %
intervals by bootstrap over rows. Prints Markdown tables.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.engines import ENGINES, EngineKind
from routelmt_ray.demo.corpus import write_corpus
from routelmt_ray.engines import Completion, Prompt
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import prompt_encoder
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.reports import pages
from routelmt_ray.router.ridge import Moments, solve
from tests import without_ray
from tests.end_to_end.runs import output, run

Floats = npt.NDArray[np.float64]
DEMO = Path(__file__).resolve().parents[2] / "routelmt_ray" / "demo"
BUDGETS, RESERVES = (0.1, 0.3, 0.5), (0.1, 0.3)
FLAG, ESCALATE = ["checks.action=flag"], ["checks.action=escalate"]
FOLDS, PENALTY, RESAMPLES = 5, 0.1, 2000


class Stored:
    """An engine that answers from a file."""

    halved = 0

    def __init__(self, config: ModelConfig) -> None:
        """Reads the translations, by source text."""
        self._answers: dict[str, str] = json.loads(Path(config.path).read_text())

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Looks up the translations."""
        return [Completion(self._answers.get(prompt.text, "x"), 0, "stop") for prompt in prompts]


@dataclass
class Answers:
    """All rows, translated by one model."""

    file: Path
    """The translations, as the engine reads them."""
    quality: Floats
    """chrF of each."""
    seconds: Floats
    """CPU seconds of each."""


class Rows:
    """The corpus, and what is done to all of its rows."""

    def __init__(self, folder: Path, count: int) -> None:
        """Writes the corpus."""
        self.folder = folder
        self.rows = pq.read_table(write_corpus(folder / "corpus", "test", count, 21)).to_pylist()
        family, encoder = load_family("demo"), prompt_encoder(model(DEMO / "models" / "small"))
        names = [family.names(row["source_lang"], row["target_lang"]) for row in self.rows]
        ids = encoder.encode([family.render(r["source"], str(s), str(t)) for r, (s, t) in zip(self.rows, names)])
        self.prompts = [Prompt(i, min(192, 2 * len(i) + 8), "") for i in ids]

    def translate(self, name: str, path: Path) -> Answers:
        """Translates all rows by a model."""
        engine = HfEngine(model(path))
        engine.translate(self.prompts[:8])
        started = time.process_time()
        answers = engine.translate(self.prompts)
        spent = time.process_time() - started
        tokens = np.array([len(prompt.ids) + answer.tokens for prompt, answer in zip(self.prompts, answers)], float)
        texts = [answer.text or "" for answer in answers]
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps({row["source"]: text for row, text in zip(self.rows, texts)}))
        return Answers(file, self.quality(texts), tokens * spent / tokens.sum())

    def quality(self, texts: Sequence[str | None]) -> Floats:
        """Measures the chrF of each translation; 0 where there is none."""
        references = [row["reference"] for row in self.rows]
        return np.nan_to_num(ChrF().segment_scores([None] * len(texts), list(texts), references)).astype(float)

    def router_gains(self) -> Floats:
        """Predicts all gains with the shipped router."""
        router = load_router(str(DEMO / "router"))
        raw = HfEngine(model(DEMO / "models" / "small"), router).probe(self.prompts)
        return np.asarray(router.predict(raw, "gain"), float)

    def ridge_gains(self, path: Path, gains: Floats) -> Floats:
        """Predicts each gain by a ridge on prompt states, fitted on the rows of the other folds."""
        states, found = HfEngine(model(path)).states(self.prompts), np.empty(len(gains))
        fold = np.arange(len(gains)) % FOLDS
        for part in range(FOLDS):
            moments = Moments.empty(states.shape[1], 1)
            moments.add(states[fold != part], gains[fold != part, None])
            weights, intercepts = solve(moments, [PENALTY])
            found[fold == part] = states[fold == part] @ weights[0, 0] + intercepts[0, 0]
        return found


def model(path: Path) -> ModelConfig:
    """Configures a model of the embedded family."""
    return ModelConfig(path=str(path), prompt="demo", batch_rows=128)


def with_noise(folder: Path, share: float) -> Path:
    """Writes the embedded small model with noise on each weight: this share of the spread of its tensor."""
    shutil.copytree(DEMO / "models" / "small", folder)
    noisy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in noisy.parameters():
            if weight.dim() > 1:
                weight += share * weight.std() * torch.randn(weight.shape, generator=source)
    noisy.save_pretrained(folder)
    return folder


@dataclass
class Pair:
    """A pair with its answers to all rows, whose jobs run here."""

    rows: Rows
    """The corpus."""
    small: Answers
    """By the small model."""
    large: Answers
    """By the large model."""
    corpus: Path
    """The corpus with predicted gains."""

    def job(self, k: int, *words: str) -> tuple[Floats, float, dict[str, int]]:
        """Runs the translate job with a budget of `k` rows; returns the chrF of each row, the job's seconds, and its rows that were routed
        by a check and those that fail one in the output."""
        with TemporaryDirectory() as folder:
            report = run(
                Path(folder) / "run", self.corpus, f"budget.rows={k}", "router.kind=column", "router.column=gain",
                "input.columns.source_lang=source_lang", "input.columns.target_lang=target_lang", "input.shard_rows=500",
                "models.small.engine=stored", f"models.small.path={self.small.file}",
                "models.large.engine=stored", f"models.large.path={self.large.file}", *words,
            )  # fmt: skip
            made = output(Path(folder) / "run")
            quality, statuses = self.rows.quality(made["translation"].to_pylist()), made["status"].to_pylist()
            done = {size: _translated(Path(folder) / "run" / size) for size in ("small", "large")}
        seconds = self.small.seconds[done["small"]].sum() + self.large.seconds[done["large"]].sum()
        counts = {
            "check": report["route_reasons"].get("check", 0),
            "failing": sum(status != "ok" for status in statuses),
        }
        return quality, float(seconds), counts

    def in_seconds(self, most_s: float, k: int, *words: str) -> tuple[int, Floats]:
        """Lowers a budget in rows until its job takes at most some seconds; returns it with the chrF of each row."""
        while True:
            quality, seconds, _ = self.job(k, *words)
            if seconds <= most_s or not k:
                return k, quality
            k = max(0, k - int(np.ceil((seconds - most_s) / self.large.seconds.mean())))


def _translated(folder: Path) -> npt.NDArray[np.int64]:
    """Places that a model translated."""
    places = [pq.read_table(path, columns=["place"])["place"].to_numpy() for path in folder.rglob("*.parquet")]
    return np.concatenate(places).astype(np.int64) if places else np.empty(0, np.int64)


def interval(differences: Floats) -> str:
    """The mean of paired differences in points of chrF, with its interval."""
    random = np.random.default_rng(0)
    means = [differences[random.integers(0, len(differences), len(differences))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{100 * differences.mean():+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--small", nargs="+", default=["embedded", "noisy"], choices=["embedded", "noisy"])
    parser.add_argument("--noise", type=float, default=0.3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    pages.run_page = lambda report: ""  # nobody reads it here
    # The job imports this module by name, and finds the engine there.
    ENGINES["stored"] = EngineKind("answers from a file", "tests.benchmarks.bench_escalation:Stored", has_model=False)
    with TemporaryDirectory() as folder, without_ray.without_ray():
        rows = Rows(Path(folder), options.rows)
        large = rows.translate("large", DEMO / "models" / "large")
        paths = {"embedded": DEMO / "models" / "small", "noisy": with_noise(Path(folder) / "noisy", options.noise)}
        print(
            "| small model | budget | reserve | rows by check | failing rows in the output | same calls: chrF with `flag` | points with `escalate` | seconds, ratio | same seconds: rows | points |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        for name in options.small:
            path = paths[name]
            small = rows.translate(name, path)
            gains = rows.router_gains() if name == "embedded" else rows.ridge_gains(path, large.quality - small.quality)
            corpus = Path(folder) / f"{name}.parquet"
            pq.write_table(pa.Table.from_pylist(rows.rows).append_column("gain", pa.array(gains, pa.float32())), corpus)
            pair = Pair(rows, small, large, corpus)
            order = np.corrcoef(gains, large.quality - small.quality)[0, 1]
            failing = pair.job(0, *FLAG)[2]["failing"]
            print(
                f"{name}: chrF all-small {small.quality.mean():.4f} ({small.seconds.sum():.1f} s), all-large {large.quality.mean():.4f} "
                f"({large.seconds.sum():.1f} s); correlation of predicted and true gain {order:.2f}; {failing} small translations fail a check",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            for share in BUDGETS:
                k = round(share * options.rows)
                without, without_s, flagged = pair.job(k, *FLAG)
                for reserve in RESERVES:
                    words = [*ESCALATE, f"checks.reserve={reserve}"]
                    quality, seconds, counts = pair.job(k, *words)
                    fewer, same = pair.in_seconds(
                        without_s, k - int((seconds - without_s) / large.seconds.mean()), *words
                    )
                    print(
                        f"| {name} | {share:.0%} | {reserve:g} | {counts['check']} | {flagged['failing']} → {counts['failing']} | {without.mean():.4f} | {interval(quality - without)} | "
                        f"{seconds / without_s:.3f} | {fewer} of {k} | {interval(same - without)} |", flush=True
                    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
