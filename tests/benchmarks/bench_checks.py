"""What the checks say of human translations, and how fast they are.

    python tests/benchmarks/bench_checks.py translations.parquet
    python tests/benchmarks/bench_checks.py translations.parquet --show 5

The file has columns source, source_lang, target_lang and reference. Every failure is a false alarm, apart from errors in the
file. Prints the share of failures by check and the rows per second of one core, as Markdown tables.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow.parquet as pq

from routelmt_ray.checks import length
from routelmt_ray.checks.checker import Checker
from routelmt_ray.checks.plan import CheckedOutput, CheckPlan
from routelmt_ray.config.checks import CHECKS, PROTECTED, ChecksConfig
from routelmt_ray.corpus.languages import pair_labels
from routelmt_ray.engines.prompts import load_family

ON = ChecksConfig(action="flag")


def read(path: str, prompt: str) -> list[CheckedOutput]:
    """Reads human translations as if a model had made them."""
    rows = pq.read_table(path, columns=["source", "source_lang", "target_lang", "reference"]).to_pydict()
    family = load_family(prompt)
    labels = pair_labels(rows["source_lang"], rows["target_lang"])
    prompts = {}
    for pair in {*zip(rows["source_lang"], rows["target_lang"])}:
        names = family.names(*pair)
        prompts[pair] = family.render("", str(names[0]), str(names[1]))
    columns = zip(rows["source"], rows["reference"], rows["source_lang"], rows["target_lang"], labels)
    return [CheckedOutput(*row, prompts[row[2], row[3]]) for row in columns]


def seconds(checks: Sequence[object], outputs: Sequence[CheckedOutput], runs: int) -> float:
    """Measures the CPU seconds of some checks, the least of several runs."""
    best = float("inf")
    for _ in range(runs):
        started = time.process_time()
        for output in outputs:
            for check in checks:
                check(output)  # type: ignore[operator]
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--prompt", default="plain", help="prompt family")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--show", type=int, default=0, help="false alarms to print for each check")
    args = parser.parse_args()
    outputs = read(args.file, args.prompt)
    lengths = length.limits([length.tally(outputs)], ON.length.min_rows)
    plan = CheckPlan(ON, tuple(PROTECTED), lengths)
    checker = Checker(plan)
    failed: dict[str, list[CheckedOutput]] = {name: [] for name in CHECKS}
    worst: dict[str, Counter[str]] = {name: Counter() for name in CHECKS}
    judged: Counter[str] = Counter()
    notes: dict[str, list[str]] = {name: [] for name in CHECKS}
    any_failed = 0
    for output in outputs:
        findings = checker.findings(output)
        judged.update(list(findings))
        any_failed += any(finding.failed for finding in findings.values())
        for name, finding in findings.items():
            if finding.failed:
                failed[name].append(output)
                worst[name][output.pair] += 1
                notes[name].append(finding.note)
    pairs = Counter(output.pair for output in outputs)
    print(f"{len(outputs):,} human translations in {len(pairs)} language pairs\n")
    print(
        "| check | rows with a verdict | false alarms | share of all rows | worst pair | rows/s |\n|---|---|---|---|---|---|"
    )
    all_s = 0.0
    for name, check in zip(plan.actions, (each for _, each, _ in checker._checks)):
        took = seconds([check], outputs, args.runs)
        all_s += 0.0 if name == "language" else took
        pair, n = max(((p, worst[name][p] / pairs[p]) for p in pairs), key=lambda item: item[1])
        print(
            f"| {name} | {judged[name]:,} | {len(failed[name]):,} | {100 * len(failed[name]) / len(outputs):.2f} % "
            f"| {pair} {100 * n:.2f} % | {len(outputs) / took:,.0f} |"
        )
    print(f"| any | {len(outputs):,} | {any_failed:,} | {100 * any_failed / len(outputs):.2f} % | | |")
    print(f"\nAll checks but language: {len(outputs) / all_s:,.0f} rows per second and core.")
    for name in failed:
        step = max(1, len(failed[name]) // args.show) if args.show else 1
        for output, note in [*zip(failed[name], notes[name])][::step][: args.show]:
            print(f"{name} {output.pair}: {output.source!r} -> {output.translation!r}: {note}")


if __name__ == "__main__":
    main()
