"""Measures how often a promise about losses is broken, and how many rows it leaves to be routed.

    python tests/benchmarks/bench_risk.py
    python tests/benchmarks/bench_risk.py --labels runs/label_demo/run/output --rates 0.01 0.015 0.02 0.05

Draws many audits from a corpus whose gains are all known. Each gives a promise, which is then held against all rows of the corpus: those
from the threshold on, and those that a budget of 30 % routes. Without labels the gains are drawn: ties at zero, three in ten
negative. With labels of jobs/label.py, a tf-idf ridge on the texts of one half of the documents predicts the gains of the other half; the
column `doc` names the documents, without it every row is one.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pyarrow.dataset as ds
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from routelmt_ray.budget.risk import certify
from routelmt_ray.corpus.languages import pair_labels
from tests.budget.synthetic_gains import synthetic_gains

LOSS, CONFIDENCE, BUDGET = 0.05, 0.95, 0.3


def read_labels(path: Path, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads labels; returns predicted and measured gains of the half of the documents that the predictor has not seen."""
    found = ds.dataset(path, format="parquet")
    document = "doc" if "doc" in found.schema.names else "id"
    columns = [document, "source", "source_lang", "target_lang", f"gain_{metric}"]
    table = found.to_table(columns=columns).drop_null()
    pairs = pair_labels(table["source_lang"].to_pylist(), table["target_lang"].to_pylist())
    texts = [f"{pair} {source}" for pair, source in zip(pairs, table["source"].to_pylist())]
    gains = table[f"gain_{metric}"].to_numpy()
    documents, of = np.unique(table[document].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    seen = (np.random.default_rng(0).permutation(len(documents)) < len(documents) // 2)[of]
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    model = Ridge(3.0).fit(features[seen], gains[seen])
    return model.predict(features[~seen]).astype(np.float32), gains[~seen]


def report(
    title: str, predicted: np.ndarray, gains: np.ndarray, audits: list[int], rates: list[float], runs: int
) -> None:
    """Prints a table: a line for each size of the audit and each rate."""
    lost = gains < -LOSS
    print(
        f"\n{title}: {len(gains):,} rows, {(gains < 0).mean():.1%} negative, {(gains == 0).mean():.1%} zero, {lost.mean():.1%} lose more "
        f"than {LOSS:g}; correlation of predicted and measured gain {np.corrcoef(predicted, gains)[0, 1]:.2f}\n"
    )
    print("| audit | rate | promised | broken | rows it allows | their losses | routed at 30 % | broken there |")
    print("|---|---|---|---|---|---|---|---|")
    rng, cut = np.random.default_rng(1), np.quantile(predicted, 1 - BUDGET)
    for rows in audits:
        for rate in rates:
            allowed, losses, routed, broken, there = [], [], [], 0, 0
            for _ in range(runs):
                drawn = rng.choice(len(gains), min(rows, len(gains)), replace=len(gains) < 2 * rows)
                threshold = certify(predicted[drawn], lost[drawn], rate, CONFIDENCE).threshold
                if threshold is None:
                    continue
                above, best = predicted >= threshold, predicted >= max(threshold, cut)
                allowed.append(above.mean())
                losses.append(lost[above].mean())
                routed.append(best.mean())
                broken += losses[-1] > rate
                there += lost[best].mean() > rate
            means = [f"{np.mean(of):.1%}" if of else "–" for of in (allowed, losses, routed)]
            print(
                f"| {rows:,} | {rate:g} | {len(allowed) / runs:.1%} | {broken / runs:.1%} | {' | '.join(means)} | {there / runs:.1%} |",
                flush=True,
            )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, help="Parquet file or folder with labels of jobs/label.py")
    parser.add_argument("--metric", default="chrf")
    parser.add_argument("--audits", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.15, 0.2])
    parser.add_argument("--runs", type=int, default=500)
    words = parser.parse_args()
    if words.labels:
        report(str(words.labels.name), *read_labels(words.labels, words.metric), words.audits, words.rates, words.runs)
        return
    report("Drawn gains", *synthetic_gains(np.random.default_rng(0), 100_000), words.audits, words.rates, words.runs)


if __name__ == "__main__":
    main()
