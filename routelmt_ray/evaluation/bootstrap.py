"""Every measure on many resamples at once: 95 % intervals and paired differences by document bootstrap.

A resample draws as many documents as there are, with replacement; a row counts as often as its document was drawn.
Copies of a row tie with it in both score and gain, so a resample is the same rows with integer weights. Every measure
can be computed from such weights: rows are sorted once for each scorer and summed up for a block of resamples at a
time. With weights of 1 the results are those of the measures themselves.

:mod:`routelmt_ray.metrics.measures` says what S, K and ties are. Beside HitRate@p, MeanDelta@p, Spearman and the
normalised area, the measures are: severe loss@p, the share of S with a gain below -tau; caught@p, the share of the
rows whose small translation fails a check that are in S; PGR@p, the gains of S over
those of all rows, NaN where the latter are not above 0; APGR, its mean over all budgets; CPT(x), the least share of
calls with a PGR of at least x. PGR, APGR and CPT follow RouteLLM (arXiv 2406.18665).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from routelmt_ray.budget.fraction import rows_of_each
from routelmt_ray.metrics.ties import Array, Ranking

LEAST_DOCUMENTS = 5
"""Documents that an interval needs: resamples of one are all the same, and those of a few say almost nothing."""
GRID = 51
"""Points of a curve and its band, at even shares from 0 to 1."""
BLOCK = 300_000
"""Elements (rows times resamples) in one block: small enough for the CPU caches."""


@dataclass(frozen=True)
class Settings:
    """Settings of the measures."""

    fractions: tuple[float, ...]
    """Budgets p of the measures at a budget."""
    tau: float
    """Loss beyond which a routed row counts as a severe loss, in units of gain."""
    thresholds: tuple[float, ...]
    """Shares x of the gap for CPT(x), above 0."""


class Order(NamedTuple):
    """Order and costs of one scorer on one axis; all arrays of shape (rows,)."""

    priority: Array
    """Rows are routed in descending order of this."""
    cost: Array
    """Cost of routing the row, > 0, in the unit of the axis."""
    offset: Array
    """Cost of scoring the row, before anything is routed, >= 0."""


class Axis(NamedTuple):
    """A budget axis: how each scorer and the gain oracle spend on it."""

    orders: Mapping[str, Order]
    """Order of each scorer, by its name."""
    oracle: Order
    """Orders rows by true gain over true cost; its costs add up to the length of the axis."""


class Samples(NamedTuple):
    """The results of one scorer in every resample."""

    measures: dict[str, Array]
    """Shape (resamples,) by measure."""
    curves: dict[str, Array]
    """By axis: mean quality over all-small at `GRID` even shares of the axis, shape (resamples, GRID)."""


def document_weights(documents: np.ndarray, resamples: int, seed: int) -> Array:
    """Draws how often each row counts in each resample, shape (resamples, rows), float64."""
    _, codes = np.unique(documents, return_inverse=True)
    n = int(codes.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return drawn[:, codes].astype(np.float64)


def drawn_for(rows: np.ndarray, documents: np.ndarray, weights: Array) -> Array:
    """Selects the resamples of some rows for an interval: none where the rows are of too few documents.

    `rows` are positions; the result has the shape (resamples or 0, len(rows)).
    """
    enough = len(np.unique(documents[rows])) >= LEAST_DOCUMENTS
    return weights[:, rows] if enough else weights[:0, rows]


def measure_weighted(
    scores: Mapping[str, Array],
    gain: Array,
    axes: Mapping[str, Axis],
    weights: Array,
    settings: Settings,
    failing: Array | None = None,
) -> dict[str, Samples]:
    """Computes every measure of every scorer under each row of weights.

    Args:
        scores: scores by scorer, shape (rows,), finite.
        gain: true gain, shape (rows,), finite.
        axes: axes by name; `calls`, which routes by the score itself, is one of them.
        weights: shape (resamples, rows), integers >= 0, no resample all 0; without resamples every measure is empty.
        failing: 1 where the small translation of a row fails a check, else 0, shape (rows,); None where nothing is known.
    """
    block = max(1, BLOCK // len(gain))
    parts: dict[str, list[Samples]] = {name: [] for name in scores}
    for start in range(0, max(len(weights), 1), block):
        shared = _Shared(gain, np.ascontiguousarray(weights[start : start + block].T), axes, settings, failing)
        for name, score in scores.items():
            parts[name].append(_one(name, score, shared, axes, settings))
    return {name: _joined(samples) for name, samples in parts.items()}


def rank_correlations(score: Array, gain: Array, weights: Array) -> Array:
    """Computes Spearman's coefficient under each row of weights, shape (resamples,); NaN where either side is constant."""
    columns = np.ascontiguousarray(weights.T)
    n, by_gain = columns.sum(axis=0), Ranking(gain, columns)
    ranks = by_gain.unordered(by_gain.centred_ranks(n))
    return _correlation(Ranking(score, columns), n, ranks, np.einsum("rb,rb,rb->b", ranks, ranks, columns))


def interval(samples: Array) -> tuple[float, float]:
    """Computes a 95 % percentile interval; NaN without resamples, or where fewer than half of them define the measure."""
    if not len(samples) or np.isnan(samples).mean() > 0.5:
        return np.nan, np.nan
    low, high = np.nanquantile(samples, [(1 - 0.95) / 2, (1 + 0.95) / 2])
    return float(low), float(high)


def probability_above(difference: Array) -> float:
    """Computes the share of the resamples with a difference above 0; a difference of 0 counts by half.

    NaN without resamples, or where more than half of them are undefined.
    """
    defined = difference[~np.isnan(difference)]
    if not len(defined) or len(defined) < len(difference) / 2:
        return np.nan
    return float(np.mean((defined > 0) + 0.5 * (defined == 0)))


class _Shared:
    """Values of a block of resamples that all scorers need."""

    def __init__(
        self, gain: Array, weights: Array, axes: Mapping[str, Axis], settings: Settings, failing: Array | None
    ) -> None:
        self.gain, self.weights, self.failing = gain, weights, failing
        self.n = weights.sum(axis=0)
        self.gap = gain @ weights
        self.severe = (gain < -settings.tau).astype(float)
        by_gain = Ranking(gain, weights)
        self.k: dict[float, Array] = {}
        self.top: dict[float, Array] = {}
        """Share of each row that is among the oracle's top k, (rows, resamples)."""
        for p in settings.fractions:
            self.k[p] = rows_of_each(p, self.n).astype(float)
            taken = by_gain.unordered(by_gain.taken(self.k[p]))
            self.top[p] = np.divide(taken, weights, out=np.zeros_like(taken), where=weights > 0)
        self.ranks = by_gain.unordered(by_gain.centred_ranks(self.n))
        self.rank_spread = np.einsum("rb,rb,rb->b", self.ranks, self.ranks, weights)
        self.totals = {name: axis.oracle.cost @ weights for name, axis in axes.items()}
        self.oracle = {
            name: _area(_curve(axis.oracle, Ranking(axis.oracle.priority, weights), self), self.totals[name])
            for name, axis in axes.items()
        }
        # Where the oracle is no better than the straight line of random, there is nothing to compare with.
        # `normalized_area` has the same rule.
        self.least = 1e-12 * (np.abs(gain) @ weights) / self.n


class _Curve(NamedTuple):
    """Cost and quality before each tie, and their increase over it, shape (ties, resamples)."""

    x: Array
    dx: Array
    y: Array
    dy: Array


def _one(name: str, score: Array, shared: _Shared, axes: Mapping[str, Axis], settings: Settings) -> Samples:
    ranking = Ranking(score, shared.weights)
    gain, severe = shared.gain[ranking.order], shared.severe[ranking.order]
    out: dict[str, Array] = {}
    caught: dict[str, Array] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        out["spearman"] = _correlation(ranking, shared.n, shared.ranks, shared.rank_spread)
        # A gap that is only rounding must not be a divisor.
        gap = np.where(shared.gap > shared.least * shared.n, shared.gap, np.nan)
        for p in settings.fractions:
            taken, k = ranking.taken(shared.k[p]), np.where(shared.k[p] > 0, shared.k[p], np.nan)
            won = gain @ taken
            out[f"hit_rate@{p:g}"] = np.einsum("rb,rb->b", taken, shared.top[p][ranking.order]) / k
            out[f"mean_delta@{p:g}"] = 100 * won / k
            out[f"pgr@{p:g}"] = won / gap
            out[f"severe_loss@{p:g}"] = (severe @ taken) / k
            if shared.failing is not None:  # NaN where a resample has no failing row
                caught[f"caught@{p:g}"] = shared.failing[ranking.order] @ taken / (shared.failing @ shared.weights)
        curves = {}
        for axis_name, axis in axes.items():
            order = axis.orders[name]
            same = np.array_equal(order.priority, score)
            curve = _curve(order, ranking if same else Ranking(order.priority, shared.weights), shared)
            total, random = shared.totals[axis_name], shared.gap / shared.n / 2
            area = _area(curve, total)
            best = shared.oracle[axis_name] - random
            won = np.where(np.abs(area - random) > shared.least, area - random, 0.0)
            out[f"area_{axis_name}"] = np.where(best > shared.least, won / best, np.nan)
            if axis_name == "calls":
                out["apgr"] = area / (gap / shared.n)
                for x in settings.thresholds:
                    out[f"cpt@{x:g}"] = _cpt(curve, ranking.size, gap / shared.n, shared.n, x)
            curves[axis_name] = _on_grid(curve, total)
    return Samples(out | caught, curves)


def _correlation(ranking: Ranking, n: Array, ranks: Array, rank_spread: Array) -> Array:
    """Correlates the ranks of the rows with other centred ranks, whose weighted sum of squares is `rank_spread`."""
    own = ranking.centred_ranks(n)
    spread = np.sqrt(np.einsum("rb,rb,rb->b", own, own, ranking.weights) * rank_spread)
    both = np.einsum("rb,rb,rb->b", own, ranks[ranking.order], ranking.weights)
    return np.divide(both, spread, out=np.full_like(spread, np.nan), where=spread > 1e-9)


def _cpt(curve: _Curve, size: Array, gap: Array, n: Array, x: float) -> Array:
    """Finds the least share of calls that wins x of the gap: first the tie that reaches it, then the call in it."""
    reached = (curve.y + curve.dy) / gap >= x - 1e-12 * x
    first, at = reached.argmax(axis=0), np.arange(len(n))
    missing = (x * gap - curve.y[first, at]) / (curve.dy[first, at] / size[first, at])
    calls = curve.x[first, at] + np.maximum(np.ceil(missing - 1e-9), 1)
    return np.where(reached.any(axis=0), calls / n, np.nan)


def _curve(order: Order, ranking: Ranking, shared: _Shared) -> _Curve:
    dx = ranking.grouped(ranking.weights * order.cost[ranking.order][:, None])
    dy = ranking.grouped(ranking.weights * (shared.gain[ranking.order][:, None] / shared.n))
    return _Curve(order.offset @ shared.weights + np.cumsum(dx, axis=0) - dx, dx, np.cumsum(dy, axis=0) - dy, dy)


def _area(curve: _Curve, total: Array) -> Array:
    """Computes the mean height over [0, total]: 0 before the curve begins, cut off where it leaves the axis."""
    end = curve.x[-1] + curve.dx[-1]
    if np.all(end <= total * (1 + 1e-9)):
        area = np.einsum("rb,rb->b", curve.dx, curve.y + curve.dy / 2)
    else:
        room = np.clip(total - curve.x, 0, curve.dx)
        inside = np.divide(room, curve.dx, out=np.zeros_like(room), where=curve.dx > 0)
        area = np.einsum("rb,rb->b", room, curve.y + inside * curve.dy / 2)
    return area / total


def _on_grid(curve: _Curve, total: Array) -> Array:
    shares = np.linspace(0, 1, GRID)
    if not len(total):
        return np.empty((0, GRID))
    x = (np.concatenate((curve.x, (curve.x[-1] + curve.dx[-1])[None])) / total).T
    y = np.concatenate((curve.y, (curve.y[-1] + curve.dy[-1])[None])).T
    return np.stack([np.interp(shares, a, b, left=0.0) for a, b in zip(x, y)])


def _joined(samples: Sequence[Samples]) -> Samples:
    first = samples[0]
    return Samples(
        {key: np.concatenate([s.measures[key] for s in samples]) for key in first.measures},
        {key: np.concatenate([s.curves[key] for s in samples]) for key in first.curves},
    )
