"""The summaries of the train job and of the learning curve on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from routelmt_ray.reports.templates import folded, render


def print_router(out: str, spec: Mapping[str, Any]) -> None:
    """Prints what a router.json says: its rows, held-out measures, calibration and training time."""
    print(folded(render("router.jinja", out=out, s=spec)))


def print_curve(points: Sequence[Mapping[str, Any]], test_rows: int) -> None:
    """Prints a learning curve, one line for each method and number of labels."""
    print(f"on {test_rows:,} held-out rows")
    print(f"{'labels':>8} {'method':<6} {'Spearman':>9} {'area':>6} {'HitRate@0.3':>12} {'seconds':>8}")
    for point in points:
        shown = [
            "undefined" if point[key] is None else f"{times * point[key]:.{digits}f}"
            for key, times, digits in (("spearman", 1, 3), ("normalized_area", 1, 3), ("hit_rate_0.3", 100, 1))
        ]
        print(
            f"{point['labels']:>8,} {point['method']:<6} {shown[0]:>9} {shown[1]:>6} {shown[2]:>12} {point['seconds']:>8.1f}"
        )
