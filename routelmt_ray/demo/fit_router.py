"""Fits the demo's router head: closed-form ridge from prompt states of the small model to measured gains.

    OMP_NUM_THREADS=1 python -m routelmt_ray.demo.fit_router

Gains come from rows of the dev split (three quarters fit the head, one quarter chooses the penalty), the figures
in `router.json` from rows of the test split.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from routelmt_ray.demo import corpus, measure
from routelmt_ray.demo.train_pair import MODELS

ROUTER = Path(__file__).parent / "router"
PENALTIES = tuple(10.0**exponent for exponent in range(-2, 5))
_FREQUENCY_SENTENCES = 20_000


def ridge(states: np.ndarray, gains: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Weights `(hidden,)` float64 and intercept that minimise squared error plus penalty times squared weights."""
    mean, level = states.mean(0, dtype=np.float64), gains.mean()
    centred = states - mean
    weight = np.linalg.solve(centred.T @ centred + penalty * np.eye(len(mean)), centred.T @ (gains - level))
    return weight, float(level - mean @ weight)


def rarest_word(rows: measure.Rows, seed: int) -> np.ndarray:
    """Minus the train-split frequency of each source's rarest word, `(rows,)`: higher is rarer."""
    counts = Counter(
        word
        for example in islice(corpus.examples("train", seed), _FREQUENCY_SENTENCES)
        for word in _words(example.source)
    )
    return -np.array([min(counts[word] for word in _words(row["source"])) for row in rows], dtype=np.float64)


def _words(text: str) -> list[str]:
    return text.lower().rstrip(".?").replace(",", "").split()


def _gains(rows: measure.Rows, pair: measure.Pair) -> tuple[np.ndarray, dict[str, float]]:
    quality = {size: measure.chrf(measure.translate(*pair[size], rows), rows) for size in ("small", "large")}
    return quality["large"] - quality["small"], {size: round(float(q.mean()), 4) for size, q in quality.items()}


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m routelmt_ray.demo.fit_router", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000, help="labelled rows of the dev split")
    parser.add_argument("--test-rows", type=int, default=2000, help="rows of the test split for the figures")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--out", type=Path, default=ROUTER)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    pair = {size: measure.load(args.models / size) for size in ("small", "large")}

    rows = corpus.rows("dev", args.rows, args.seed)
    gains, _ = _gains(rows, pair)
    states = measure.prompt_states(*pair["small"], rows)
    fit = np.arange(len(rows)) % 4 != 3
    by_penalty = {}
    for penalty in PENALTIES:
        weight, _ = ridge(states[fit], gains[fit], penalty)
        by_penalty[penalty] = measure.spearman(states[~fit] @ weight, gains[~fit])
    penalty = max(by_penalty, key=by_penalty.__getitem__)
    weight, intercept = ridge(states, gains, penalty)

    test = corpus.rows("test", args.test_rows, args.seed)
    test_gains, qualities = _gains(test, pair)
    scores = {
        "head": measure.prompt_states(*pair["small"], test) @ weight.astype(np.float32) + intercept,
        "length": np.array([len(row["source"]) for row in test], dtype=np.float64),
        "rarest_word": rarest_word(test, args.seed),
        "random": np.random.default_rng(args.seed).random(len(test)),
    }
    figures = {
        name: {
            "spearman": round(measure.spearman(score, test_gains), 4),
            "hit_rate_0.3": round(measure.hit_rate(score, test_gains), 4),
        }
        for name, score in scores.items()
    }
    gain = {
        "mean": round(float(test_gains.mean()), 4),
        "sd": round(float(test_gains.std()), 4),
        "negative": round(float((test_gains < 0).mean()), 4),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    save_file({"weight": weight.astype(np.float32)[None]}, args.out / "head.safetensors")
    (args.out / "head.safetensors").chmod(0o644)  # written for its owner alone
    digest = hashlib.sha256((args.models / "small" / "model.safetensors").read_bytes()).hexdigest()
    router = {
        "format": 1,
        "method": "probe",
        "base_model": {"name": "routelmt_ray/demo/models/small", "digest": digest},
        "prompt": {"family": "demo", "template": "{tgt}: {text}"},
        "layer": "last_after_final_norm",
        "pooling": "last_token",
        "heads": ["gain"],
        "label": {"metric": "chrf", "scale": "0-1"},
        "calibration": {"gain": {"scale": 1.0, "intercept": intercept}},
        "training": {"rows": args.rows, "split": "dev", "seed": args.seed, "penalty": penalty},
        "held_out": {
            "rows": args.test_rows,
            **figures["head"],
            "chrf": qualities,
            "gain": gain,
            "compared": {name: value for name, value in figures.items() if name != "head"},
        },
    }
    (args.out / "router.json").write_text(json.dumps(router, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(router["held_out"], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
