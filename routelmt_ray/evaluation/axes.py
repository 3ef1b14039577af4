"""Budget axes: calls, source characters and device seconds, and the cost of each scorer on them.

On the axis of calls every routed row costs one, and rows are routed in the order of the score. On the other axes each
row has its own cost, and rows are routed by expected gain over the cost that can be known beforehand. A score in units
of gain is used as it is; any other score is calibrated to gain first (:mod:`routelmt_ray.evaluation.rival_gains`). On
the axis of seconds a scorer also pays for its scoring. A cascade pays for both models on the rows that it routes,
because the small one has translated every row by then. The axis runs from the seconds of all-small to those of
all-large.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from routelmt_ray.evaluation.bootstrap import Axis, Order
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.rival_gains import slope
from routelmt_ray.evaluation.scorers import GAIN, Parts, Scored
from routelmt_ray.metrics.ties import Array

CALLS, CHARACTERS, SECONDS = "calls", "characters", "seconds"


class Seconds(NamedTuple):
    """Device seconds by row, all of shape (rows,)."""

    small: Array
    extra: Array
    """Seconds that the large model takes beyond the small one's, > 0."""
    predicted: Array
    """The extra seconds as predicted from the length of the source, > 0."""
    facts: dict[str, Any]
    """Facts on the seconds and the cost model, for the report."""


def build_axes(parts: Parts, scored: Sequence[Scored], seconds: Seconds | None) -> dict[str, Axis]:
    """Builds the axes that the set has data for: calls and characters always, seconds where they are known."""
    gain, n = parts.rows.gain, len(parts.rows)
    ones, none = np.ones(n), np.zeros(n)
    characters = parts.rows.lengths
    axes = {
        CALLS: Axis({s.name: Order(s.score.astype(float), ones, none) for s in scored}, Order(gain, ones, none)),
        CHARACTERS: Axis(
            {s.name: Order(_per(s, gain, characters, characters), characters, none) for s in scored},
            Order(gain / characters, characters, none),
        ),
    }
    if seconds is not None:
        orders = {}
        for s in scored:
            cost = seconds.small + seconds.extra if s.cascade else seconds.extra
            predicted = seconds.predicted + (seconds.small.mean() if s.cascade else 0)
            orders[s.name] = Order(_per(s, gain, seconds.extra, predicted), cost, np.full(n, s.seconds))
        axes[SECONDS] = Axis(orders, Order(gain / seconds.extra, seconds.extra, none))
    return axes


def _per(scored: Scored, gain: Array, cost: Array, predicted: Array) -> Array:
    """Computes the priority of each row where rows cost unequally."""
    if scored.name == "gain_oracle":
        return gain / cost
    if scored.gain is not None:
        return scored.gain / predicted
    score = scored.score.astype(float)
    return score / predicted if scored.unit == GAIN else score


def measured_seconds(parts: Parts, warnings: list[str]) -> Seconds | None:
    """Reads the device seconds of the rows and fits a cost model to them, on the rows to fit on where there are some.

    Warnings are added to the list. None where the set has no seconds, or the large model takes no more than the small one.
    """
    found = _both(parts.rows)
    if found is None:
        return None
    small, large = found
    holes = np.isnan(small) | np.isnan(large)
    if holes.all():
        return None
    if holes.any():
        warnings.append(
            f"{holes.sum():,} rows have no device seconds; they are taken to cost what rows cost on average."
        )
        small, large = (np.where(holes, values[~holes].mean(), values) for values in (small, large))
    extra = large - small
    if extra.mean() <= 0:
        warnings.append("The large model took no more device seconds than the small one: that axis is left out.")
        return None
    least = 1e-3 * extra.mean()
    cheap = int((extra < least).sum())
    if cheap > 0.01 * len(extra):
        warnings.append(
            f"The large model was no slower than the small one on {cheap:,} rows; they count as almost free."
        )
    extra = np.maximum(extra, least)
    fit = parts.fit if parts.fit is not None and _both(parts.fit) is not None else parts.rows
    line = _line(fit)
    predicted = np.maximum(line[0] + line[1] * _length(parts.rows), 0.05 * extra.mean())
    facts = {
        "all_small": float(small.sum()),
        "all_large": float((small + extra).sum()),
        "large_over_small": float((small + extra).sum() / small.sum()) if small.sum() > 0 else None,
        "predictor": "source tokens" if "source_tokens" in parts.rows.numbers else "source characters",
        "intercept_s": float(line[0]),
        "slope_s": float(line[1]),
        "fitted_on": "the train part" if fit is parts.fit else "the measured rows themselves",
        "correlation": correlation(predicted, extra),
    }
    return Seconds(small, extra, predicted, facts)


def _both(rows: Labelled) -> tuple[Array, Array] | None:
    if not {"small_s", "large_s"} <= set(rows.numbers):
        return None
    return rows.numbers["small_s"], rows.numbers["large_s"]


def _length(rows: Labelled) -> Array:
    tokens = rows.numbers.get("source_tokens")
    characters = rows.lengths
    return characters if tokens is None else np.where(np.isnan(tokens), np.nanmean(tokens), tokens)


def _line(rows: Labelled) -> tuple[float, float]:
    """Fits intercept and slope of the extra seconds over the length of the source by least squares."""
    both = _both(rows)
    assert both is not None
    kept = np.isfinite(both[1] - both[0])
    extra, length = (both[1] - both[0])[kept], _length(rows)[kept]
    rise = slope(length, extra)
    return float(extra.mean() - rise * length.mean()), rise


def correlation(a: Array, b: Array) -> float | None:
    """Computes the correlation of two columns; None where one of them is constant."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else None
