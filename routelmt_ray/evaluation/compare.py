"""The comparison of scorers: measures with intervals, paired differences, curves and groups, as plain numbers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from routelmt_ray.evaluation.axes import CALLS
from routelmt_ray.evaluation.bootstrap import (
    GRID,
    LEAST_DOCUMENTS,
    Axis,
    Order,
    Samples,
    Settings,
    document_weights,
    drawn_for,
    interval,
    measure_weighted,
    probability_above,
)
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.scorers import NO_ORDER, ORACLE, Scored
from routelmt_ray.metrics.ties import Array

THRESHOLDS = (0.5, 0.8)
"""Shares x of the gap for CPT(x), the same as in RouteLLM."""
MOST_GROUPS = 20
"""Largest number of language pairs or domains that are measured; the largest groups come first."""
LEAST_GROUP_ROWS = 20
"""Rows a group needs to be measured."""
_WORK = 60_000_000
"""Largest product of rows, resamples and scorers; more would take minutes."""
_LEAST_RESAMPLES = 200


class Comparison:
    """Computes everything from scores and labels; holds the resamples that all intervals share."""

    def __init__(
        self,
        rows: Labelled,
        scored: Sequence[Scored],
        axes: Mapping[str, Axis],
        settings: Settings,
        resamples: int,
        seed: int,
    ) -> None:
        """Draws the resamples and measures all scorers on all rows.

        Fewer resamples are drawn where they would take minutes, and none where the rows are of too few documents.
        """
        self.rows, self.scored, self.axes, self.settings = rows, scored, axes, settings
        affordable = _WORK // (len(rows) * max(len(scored), 1))
        self.resamples = min(resamples, max(_LEAST_RESAMPLES, affordable))
        self.documents = np.unique(rows.documents, return_inverse=True)[1]
        if self.documents.max() + 1 < LEAST_DOCUMENTS:
            self.resamples = 0
        self.weights = document_weights(self.documents, self.resamples, seed)
        self.scores = {s.name: s.score.astype(np.float64) for s in scored}
        failing = rows.fails("small")
        self.failing = failing if failing is not None and failing.any() else None
        self._folds = _folds(rows)
        self.point = self._measure(np.ones((1, len(rows))))
        self.samples = self._measure(self.weights)

    def _measure(self, weights: Array) -> dict[str, Samples]:
        """Computes every measure; where there are folds, within each fold and averaged by rows."""
        found = []
        for fold in self._folds:
            axes = {name: _take_axis(axis, fold) for name, axis in self.axes.items()}
            scores = {name: score[fold] for name, score in self.scores.items()}
            failing = None if self.failing is None else self.failing[fold]
            gain, drawn = self.rows.gain[fold], weights[:, fold]
            found.append(measure_weighted(scores, gain, axes, drawn, self.settings, failing))
        shares = [len(fold) / len(self.rows) for fold in self._folds]
        table = {name: _mean([f[name] for f in found], shares) for name in self.scores}
        for name in NO_ORDER & set(
            table
        ):  # of equal scores it is not defined; of a random order it is 0 in expectation
            table[name].measures["spearman"][:] = 0.0
        return table

    def overall(self) -> dict[str, dict[str, dict[str, float]]]:
        """Computes value and 95 % interval by scorer and measure."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        for name, samples in self.samples.items():
            values = {key: float(value[0]) for key, value in self.point[name].measures.items()}
            table[name] = {key: valued(value, samples.measures[key]) for key, value in values.items()}
        return table

    def paired(self, reference: str, keys: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        """Compares the reference with each other scorer: difference, interval and the share of resamples it wins."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        first, first_point = self.samples[reference].measures, self.point[reference].measures
        for name in self.scores:
            if name == reference:
                continue
            table[name] = {}
            for key in keys:
                difference = first[key] - self.samples[name].measures[key]
                value = float(first_point[key][0] - self.point[name].measures[key][0])
                table[name][key] = valued(value, difference) | {"probability": probability_above(difference)}
        return table

    def curves(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """Computes by axis and scorer the mean quality over all-small on an even grid of the axis, with its band."""
        return {
            axis: {
                name: {
                    "quality": self.point[name].curves[axis][0].tolist(),
                    "low": _band(samples.curves[axis], 0.025),
                    "high": _band(samples.curves[axis], 0.975),
                }
                for name, samples in self.samples.items()
            }
            for axis in self.axes
        }

    def groups(self, names: Sequence[str], p: float) -> dict[str, Any]:
        """Measures each group of rows at the budget p, a share of its rows, with the normalised area over calls."""
        counts = Counter(names)
        order = sorted(counts, key=lambda name: (-counts[name], name))
        measured = [name for name in order if counts[name] >= LEAST_GROUP_ROWS and int(p * counts[name]) > 0]
        settings = Settings((p,), self.settings.tau, ())
        calls = {CALLS: self.axes[CALLS]}
        by_group: dict[str, Any] = {}
        labels = np.array(names)
        for group in measured[:MOST_GROUPS]:
            at = np.flatnonzero(labels == group)
            axes = {name: _take_axis(axis, at) for name, axis in calls.items()}
            scores = {name: score[at] for name, score in self.scores.items()}
            gain, weights = self.rows.gain[at], drawn_for(at, self.documents, self.weights)
            weights = weights[weights.sum(axis=1) > 0]
            point = measure_weighted(scores, gain, axes, np.ones((1, len(at))), settings)
            samples = measure_weighted(scores, gain, axes, weights, settings)
            by_group[group] = {
                "rows": len(at),
                "documents": len(np.unique(self.documents[at])),
                "gain_mean": float(gain.mean()),
                "scorers": {
                    name: {key: valued(float(v[0]), samples[name].measures[key]) for key, v in s.measures.items()}
                    for name, s in point.items()
                },
            }
        too_small = [name for name in order if name not in measured]
        return {"groups": by_group, "too_small": too_small, "left_out": measured[MOST_GROUPS:]}


def by_cost(comparison: Comparison, name: str, shares: Sequence[float]) -> list[dict[str, Any]]:
    """Measures how much better the order by gain per cost of a scorer in units of gain is than that by gain, at equal spending.

    Gives for each axis on which rows cost unequally, and each share of it, the mean quality over all-small by both orders,
    and the difference with its interval.
    """
    scored = next(s for s in comparison.scored if s.name == name)
    orders = {"per_cost": scored.score, "gain": scored.score}
    axes = {}
    for axis_name, axis in comparison.axes.items():
        if axis_name != CALLS:
            order = axis.orders[name]
            plain = order._replace(priority=scored.score.astype(float))
            axes[axis_name] = Axis({"per_cost": order, "gain": plain}, axis.oracle)
    gain, settings = comparison.rows.gain, Settings((), comparison.settings.tau, ())
    once = measure_weighted(orders, gain, axes, np.ones((1, len(gain))), settings)
    drawn = measure_weighted(orders, gain, axes, comparison.weights, settings)
    table = []
    for axis_name in axes:
        curves = {order: (once[order].curves[axis_name], drawn[order].curves[axis_name]) for order in orders}
        for share in shares:
            at = round(share * (curves["gain"][0].shape[1] - 1))
            difference = curves["per_cost"][1][:, at] - curves["gain"][1][:, at]
            point = {order: float(curve[0][0, at]) for order, curve in curves.items()}
            table.append(
                {
                    "axis": axis_name,
                    "share": share,
                    **point,
                    "difference": valued(point["per_cost"] - point["gain"], difference)
                    | {"probability": probability_above(difference)},
                }
            )
    return table


def best(table: Mapping[str, Any], scored: Sequence[Scored], key: str) -> list[str]:
    """Sorts all scorers but oracles by a measure, best first; those without a value come last."""
    names = [s.name for s in scored if s.family != ORACLE]

    def rank(name: str) -> float:
        value = table[name][key]["value"]
        return float("inf") if np.isnan(value) else -value

    return sorted(names, key=rank)


def valued(value: float, samples: Array) -> dict[str, float]:
    """Adds the 95 % interval of its resamples to a value."""
    low, high = interval(samples)
    return {"value": value, "low": low, "high": high}


def _band(curves: Array, level: float) -> list[float]:
    """Computes a quantile of the resampled curves at each point of the grid; NaN without resamples."""
    found: list[float] = np.quantile(curves, level, axis=0).tolist() if len(curves) else [np.nan] * GRID
    return found


def _take_axis(axis: Axis, rows: np.ndarray) -> Axis:
    def some(order: Order) -> Order:
        return Order(*(values[rows] for values in order))

    return Axis({name: some(order) for name, order in axis.orders.items()}, some(axis.oracle))


def _folds(rows: Labelled) -> list[np.ndarray]:
    if rows.folds is None:
        return [np.arange(len(rows))]
    labels = np.array(rows.folds)
    return [np.flatnonzero(labels == name) for name in np.unique(labels)]


def _mean(found: Sequence[Samples], shares: Sequence[float]) -> Samples:
    if len(found) == 1:
        return found[0]

    def mix(pick: Callable[[Samples], Mapping[str, Array]]) -> dict[str, Array]:
        return {key: sum(share * pick(f)[key] for f, share in zip(found, shares)) for key in pick(found[0])}  # type: ignore[misc]

    return Samples(mix(lambda f: f.measures), mix(lambda f: f.curves))
