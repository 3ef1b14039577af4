"""An account for a month of nightly jobs: how near it comes to one exact allocation in hindsight.

    python tests/benchmarks/bench_account.py

Each line plays seeded months of thirty nights (tests/account/simulated_month.py): rows by day of the week and by chance,
gains whose mean moves over the month and between nights, 30 % of them below zero. Where a line says so, one night is ten times as
long, on a day that is drawn, another is missing, and rows have equal gains. The allowance pays for 30 % of what all rows
cost. Gain is the sum of predicted gains of an exact selection every night, as a share of what one exact selection over
all rows of the month wins. Equal shares give every night the same part of the allowance. A night whose base (in hours:
scoring, and the small model on every row) is not covered is refused; it wins nothing. Prints a Markdown table.

    python tests/benchmarks/bench_account.py --bound --seeds 12

How much could be won by a planner who knows all rows of a month, but neither whether nor when a night ten times as long comes? Prints the
mean over the 30 nights on which it may come, if the planner is asked for a part of the gain of the month in which none comes.
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.account.simulated_month import FIRST, Rows, month, played

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


Floats = npt.NDArray[np.float64]
LONG, GRID = 10, 1000
"""Length of the long night beside that of another; steps of the units of a month."""
MULTIPLIERS = np.array([0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 2, 5])


def bound(nights: list[Rows]) -> Floats:
    """Computes the best that a planner can do in a month where a long night may come, by Lagrange multipliers.

    A night is spent on before it is known whether the next one is long; from the long night on everything is known. With the multiplier m,
    dynamic programming over the units spent gives the largest value of (mean gain of the months with the long night) + m * (gain of the
    month without one), each gain as a share of the best in hindsight.
    """
    curves = []
    for night in nights:
        order = night.order[night.gains[night.order] > 0]
        gain, cost = (np.append(0, np.cumsum(of[order])) for of in (night.gains, night.units))
        curves.append((gain, cost, (night.gains / night.units)[order]))
    bases = np.array([night.base for night in nights])
    prices = np.append(0, np.quantile(np.concatenate([curve[2] for curve in curves]), np.linspace(0, 1, 400)))
    # The gain of a night beyond the price of its units; LP duality: the least sum over prices bounds the gain of several nights.
    taken = [np.searchsorted(-curve[2], -prices, side="right") for curve in curves]
    surplus = np.array([gain[k] - prices * (cost[k] + base) for (gain, cost, _), k, base in zip(curves, taken, bases)])
    units = np.array([night.units.sum() for night in nights])
    allowance = float((bases + PART * units).sum() * (1 + (LONG - 1) / len(nights)))
    never = (surplus.sum(0) + prices * allowance).min()
    ever = [(surplus.sum(0) + (LONG - 1) * each + prices * allowance).min() for each in surplus]
    kept = np.maximum(0, surplus)  # a night that cannot pay its base is refused
    spent = np.linspace(0, allowance, GRID)
    rest = [LONG * kept[i] + kept[i + 1 :].sum(0) for i in range(len(nights))]
    from_long = [(each + prices * (allowance - spent)[:, None]).min(1) for each in rest]
    values = []
    for multiplier in MULTIPLIERS:
        value = np.zeros(GRID)
        for i in reversed(range(len(nights))):
            weight = sum(1 / of for of in ever[i + 1 :]) / len(nights) + multiplier / never
            extra = np.arange(0, curves[i][1][-1] + spent[1], spent[1])
            after = spent[:, None] + bases[i] + extra
            later = np.where(after <= allowance * (1 + 1e-9), np.interp(after, spent, value), -np.inf)
            best = (weight * np.interp(extra, curves[i][1], curves[i][0]) + later).max(1)
            value = np.maximum(best, value) + from_long[i] / ever[i] / len(nights)
        values.append(value[0])
    return np.array(values)


def print_bounds(seeds: int, rows: int) -> None:
    """Prints the table of bounds."""
    print("| allowance | asked where no long night comes | at most, where one comes |")
    print("|---|---|---|")
    for unit in ("rows", "hours"):
        of_months = [bound(month(seed, mean_rows=rows, hours=unit == "hours", ties=True)) for seed in range(seeds)]
        values = np.mean(of_months, axis=0)
        for asked in (0.95, 0.97, 0.98, 0.99, 1.0):
            print(f"| {unit} | {asked:.0%} | {(values - asked * MULTIPLIERS).min():.1%} |", flush=True)


def main() -> None:
    """Plays all settings and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40, help="months of each line (default 40)")
    parser.add_argument("--rows", type=int, default=700, help="rows of a mean night (default 700)")
    parser.add_argument(
        "--bound", action="store_true", help="print what a planner who knows the other nights could win"
    )
    asked = parser.parse_args()
    if asked.bound:
        print_bounds(asked.seeds, asked.rows)
        return
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
