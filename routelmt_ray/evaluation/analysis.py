"""Analysis of routed rows: their true gains, the calibration of predicted gains, and the effect of guards on losses."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from routelmt_ray.budget import rows_for_fraction
from routelmt_ray.evaluation.bootstrap import drawn_for, interval
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.scorers import GAIN, NO_ORDER, ORACLE, Scored
from routelmt_ray.metrics.ties import Array, in_top

_MOST_BINS, _ROWS_A_BIN = 10, 20


def bucket_edges(tau: float) -> list[float]:
    """Lists the inner edges of the buckets of true gain; a bucket includes its lower edge."""
    unit = tau or 0.05
    return sorted({-tau, 0.0, unit, 2 * unit, 4 * unit, 8 * unit})


def gain_buckets(rows: Labelled, scored: Sequence[Scored], p: float, tau: float) -> dict[str, Any]:
    """Computes how the rows that each scorer routes at p, and all rows, are distributed over buckets of true gain."""
    edges = bucket_edges(tau)
    bucket = np.searchsorted(edges, rows.gain, "right")
    k = rows_for_fraction(p, len(rows))

    def shares(weight: Array) -> list[float]:
        return [float(n) for n in np.bincount(bucket, weight, len(edges) + 1) / max(weight.sum(), 1e-300)]

    return {
        "edges": edges,
        "all": shares(np.ones(len(rows))),
        "scorers": {s.name: shares(in_top(s.score.astype(float), k)) for s in scored},
    }


def calibration(rows: Labelled, scored: Sequence[Scored], weights: Array) -> dict[str, Any]:
    """Compares predicted with true gain in equal-sized bins, for scorers in units of gain but oracles."""
    found, documents = {}, np.array(rows.documents)
    for s in scored:
        if s.unit != GAIN or s.family == ORACLE or s.score.min() == s.score.max():
            continue
        predicted = s.score.astype(float)
        n_bins = int(np.clip(len(rows) // _ROWS_A_BIN, 2, _MOST_BINS))
        # Ranks, so that tied predictions do not leave bins empty.
        bins = np.argsort(np.argsort(predicted, kind="stable"), kind="stable") * n_bins // len(rows)
        deciles = []
        for b in range(n_bins):
            at = np.flatnonzero(bins == b)
            if not len(at):
                continue
            drawn = drawn_for(at, documents, weights)
            total = drawn.sum(axis=1)
            means = (drawn @ rows.gain[at])[total > 0] / total[total > 0]
            low, high = interval(means)
            deciles.append(
                {
                    "rows": len(at),
                    "predicted": float(predicted[at].mean()),
                    "true": float(rows.gain[at].mean()),
                    "low": low,
                    "high": high,
                }
            )
        centred = predicted - predicted.mean()
        found[s.name] = {
            "bins": deciles,
            "slope": float(centred @ rows.gain / (centred @ centred)),
            "bias": float(predicted.mean() - rows.gain.mean()),
        }
    return found


def guard_table(
    rows: Labelled,
    scored: Sequence[Scored],
    weights: Array,
    *,
    p: float,
    tau: float,
    min_gain: float,
    good: float | None,
) -> list[dict[str, Any]]:
    """Measures losses among routed rows, with and without guards.

    A guard says which rows may be routed at all. Of these rows the highest scores are taken, so k is an upper bound. A loss
    beyond `tau` is severe. A small quality above `good` is good enough; None takes the upper quartile of the prediction.
    """
    table = []
    everything = np.ones(len(rows), bool)
    estimate = next((s for s in scored if s.name == "qe"), None)
    for s in scored:
        if s.name == "random":
            table.append(_routed(rows, s, "no guard", everything, weights, p, tau))
        if s.unit != GAIN or s.family == ORACLE or s.name in NO_ORDER:
            continue
        floor = s.score > min_gain
        guards = [("no guard", everything), (f"predicted gain above {min_gain:g}", floor)]
        if s.quality is not None:
            bar = float(np.nanquantile(s.quality, 0.75)) if good is None else good
            not_good = ~(s.quality > bar)
            guards.append((f"quality-predict: predicted small quality at most {bar:.3f}", not_good))
            guards.append(("both", floor & not_good))
        if estimate is not None:
            bar = float(np.quantile(-estimate.score, 0.75))
            guards.append((f"quality-hypo: QE of the small output at most {bar:.3f}", -estimate.score <= bar))
        if rows.quality_small is not None:
            bar = float(np.nanquantile(rows.quality_small, 0.75)) if good is None else good
            guards.append((f"bound: true small quality at most {bar:.3f}", ~(rows.quality_small > bar)))
        table += [_routed(rows, s, name, mask, weights, p, tau) for name, mask in guards]
    return table


def _routed(
    rows: Labelled, s: Scored, guard: str, may: np.ndarray, weights: Array, p: float, tau: float
) -> dict[str, Any]:
    k = min(rows_for_fraction(p, len(rows)), int(may.sum()))
    chance = np.zeros(len(rows))
    if k:
        chance[may] = in_top(s.score[may].astype(float), k)
    at = np.flatnonzero(chance)
    chance, gain = chance[at], rows.gain[at]
    weights = drawn_for(at, np.array(rows.documents), weights)
    drawn = weights @ chance

    def share(of: Array) -> tuple[float, float, float]:
        if not k:
            return np.nan, np.nan, np.nan
        return float(chance @ of) / k, *interval((weights @ (chance * of))[drawn > 0] / drawn[drawn > 0])

    severe, low, high = share((gain < -tau).astype(float))
    return {
        "scorer": s.name,
        "guard": guard,
        "routed": k,
        "severe": {"value": severe, "low": low, "high": high},
        "worse": share((gain < 0).astype(float))[0],
        "mean_delta": 100 * share(gain)[0],
        "won": 100 * float(chance @ gain) / len(rows),
    }
