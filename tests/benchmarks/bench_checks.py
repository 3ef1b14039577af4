"""What the checks say of human translations, and how fast they are.

    python tests/benchmarks/bench_checks.py translations.parquet
    python tests/benchmarks/bench_checks.py translations.parquet --show 5
    pip download --no-deps --dest packs jupyterlab-language-pack-de-de jupyterlab-language-pack-fr-fr …
    python tests/benchmarks/bench_checks.py packs

A file has columns source, source_lang, target_lang and reference. A folder has language packs of JupyterLab, whose strings are short
and have placeholders and markup. Every failure is a false alarm, apart from errors of the translators. Prints the share of
failures by check and the rows per second of one core, as Markdown tables.
"""

import argparse
import json
import os
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow.parquet as pq

from routelmt_ray.checks import length
from routelmt_ray.checks.checker import Checker
from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan
from routelmt_ray.config.checks import CHECKS, PROTECTED, ChecksConfig
from routelmt_ray.corpus.languages import pair_labels
from routelmt_ray.engines.prompts import load_family

ON = ChecksConfig(action="flag")
COLUMNS = ["source", "source_lang", "target_lang", "reference"]


def read_packs(folder: Path) -> dict[str, list[str]]:
    """Reads the strings of language packs, without those that have a plural."""
    found = set()
    for pack in sorted(folder.glob("*.whl")):
        language, region = pack.name.removeprefix("jupyterlab_language_pack_").split("-")[0].split("_")
        code = "zh-Hant" if region == "tw" else language
        with zipfile.ZipFile(pack) as files:
            for name in files.namelist():
                strings = json.loads(files.read(name)) if name.endswith(".json") else {}
                for key, texts in strings.items():
                    if key and isinstance(texts, list) and len(texts) == 1 and texts[0].strip():
                        found.add((key.rpartition("\x04")[2], "en", code, texts[0]))
    return dict(zip(COLUMNS, map(list, zip(*sorted(found)))))


def read(path: Path, prompt: str) -> list[CheckedOutput]:
    """Reads human translations as if a model had made them."""
    rows = read_packs(path) if path.is_dir() else pq.read_table(path, columns=COLUMNS).to_pydict()
    family = load_family(prompt)
    labels = pair_labels(rows["source_lang"], rows["target_lang"])
    prompts = {}
    for pair in {*zip(rows["source_lang"], rows["target_lang"])}:
        names = family.names(*pair)
        prompts[pair] = family.render("", str(names[0]), str(names[1]))
    columns = zip(rows["source"], rows["reference"], rows["source_lang"], rows["target_lang"], labels)
    return [CheckedOutput(*row, prompts[row[2], row[3]]) for row in columns]


def seconds(check: Check, outputs: Sequence[CheckedOutput], runs: int) -> float:
    """Measures the CPU seconds of a check, the least of several runs."""
    best = float("inf")
    for _ in range(runs):
        started = time.process_time()
        for output in outputs:
            check(output)
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
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
    for name, check, _ in checker.checks:
        took = seconds(check, outputs, args.runs)
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
