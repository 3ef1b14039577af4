"""Which metrics a labelled set has, known from the names of its columns."""

import re


def metrics_in(names: set[str]) -> list[str]:
    """Finds the metrics with a gain among column names: a gain that was measured, or one that both qualities give."""
    gains = {match[1] for name in names if (match := re.fullmatch(r"gain_(.+)", name))}
    both = {
        match[1]
        for name in names
        if (match := re.fullmatch(r"quality_small_(.+)", name)) and f"quality_large_{match[1]}" in names
    }
    return sorted(gains | both)
