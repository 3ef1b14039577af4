"""An account for a month of nightly jobs: how near it comes to one exact allocation in hindsight.

    python tests/benchmarks/bench_account.py

Each line plays seeded months of thirty nights (tests/account/simulated_month.py): rows by day of the week and by chance,
gains whose mean moves over the month and between nights, 30 % of them below zero. Where a line says so, one night is ten times as
long, on a day that is drawn, another is missing, and rows have equal gains. The allowance pays for 30 % of what all rows
cost. Gain is the sum of predicted gains of an exact selection every night, as a share of what one exact selection over
all rows of the month wins. Equal shares give every night the same part of the allowance. A night whose base (in hours:
scoring, and the small model on every row) is not covered is refused; it wins nothing. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.account.simulated_month import FIRST, month, played

PART = 0.3

SETTINGS: dict[str, dict[str, Any]] = {
    "a first month": {},
    "a month before is known": {"history": True},
    "`expected_rows` is right": {"expected": 1.0},
    "drift twice as strong": {"drift": 0.8},
    "equal gains": {"ties": True},
    "long night, missing night, equal gains": {"long": True, "ties": True},
    "…, a month before is known": {"long": True, "ties": True, "history": True},
    "…, `expected_rows` is right": {"long": True, "ties": True, "expected": 1.0},
    "…, `expected_rows` is 20 % too high": {"long": True, "ties": True, "expected": 1.2},
    "…, `expected_rows` is 20 % too low": {"long": True, "ties": True, "expected": 0.8},
}


def months(seeds: int, rows: int, hours: bool, setting: dict[str, Any]) -> list[dict[str, float]]:
    """Plays one month for each seed."""
    results = []
    for seed in range(seeds):
        long, missing = (int(day) for day in np.random.default_rng(seed + 1000).choice(30, 2, replace=False))
        kind = {
            "drift": setting.get("drift", 0.4),
            "ties": setting.get("ties", False),
            "mean_rows": rows,
            "hours": hours,
        }
        special = {"long": long, "missing": missing} if "long" in setting else {}
        before = month(seed + 5000, first=FIRST - timedelta(30), **kind) if "history" in setting else []
        results.append(played(month(seed, **special, **kind), PART, setting.get("expected"), before))
    return results


def main() -> None:
    """Plays all settings and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40, help="months of each line (default 40)")
    parser.add_argument("--rows", type=int, default=700, help="rows of a mean night (default 700)")
    asked = parser.parse_args()
    print("| allowance | setting | gain, mean | lowest | equal shares, mean | lowest | spent | refused nights |")
    print("|---|---|---|---|---|---|---|---|")
    for unit in ("rows", "hours"):
        for name, setting in SETTINGS.items():
            found = months(asked.seeds, asked.rows, unit == "hours", setting)
            ours, equal, spent, refused = (
                [month[key] for month in found] for key in ("account", "equal", "spent", "refused")
            )
            print(
                f"| {unit} | {name} | {np.mean(ours):.1%} | {min(ours):.1%} | {np.mean(equal):.1%} | {min(equal):.1%} | "
                f"{np.mean(spent):.1%} | {np.mean(refused):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
