"""Finds the metrics of a labelled set by the names of its columns."""

import re


def metrics_in(names: set[str]) -> list[str]:
    """Finds the metrics that have a gain: a column of gains, or both columns of qualities."""
    gains = {match[1] for name in names if (match := re.fullmatch(r"gain_(.+)", name))}
    both = {
        match[1]
        for name in names
        if (match := re.fullmatch(r"quality_small_(.+)", name)) and f"quality_large_{match[1]}" in names
    }
    return sorted(gains | both)
