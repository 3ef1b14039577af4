"""A promise about harm: of the rows at or above a predicted gain, at most a given share loses more than allowed.

The rows of an audit are a random sample. One half of them fixes a sequence of thresholds, from few rows to many, by its
predicted gains alone, and a few starts in it. The other half tests the thresholds from each start on by an exact binomial test
(Clopper and Pearson, Biometrika 26, 1934). The first failure ends the tests of this start, and the starts share the error that is allowed.
What passes is certified together (fixed-sequence testing with several starts: Angelopoulos et al., Learn then Test, 2021, arXiv 2110.01052).
The measured gains of the first half have no say, so they are left to check the promise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, betaincinv

from routelmt_ray.config.risk import ALL, PAIR, ROUTE

LEVELS = 100
"""Most thresholds that are tested."""
_SEED = 0x515C
_FIRST, _APART = 2, 4
"""The first start has this many times the rows that a test without any loss needs, because with fewer a single loss fails; each
further start has this many times the rows of the one before."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Floors:
    """The lowest predicted gain of a row that may be routed, by language pair."""

    pairs: tuple[tuple[str, float], ...]
    """Pairs, as scores name them, and their floors."""
    other: float
    """Floor of all other pairs."""

    def of(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Looks up the floors of some pairs, shape ``(pairs + 1,)``; the last one is for code -1, a row without a pair."""
        known = dict(self.pairs)
        return np.array([known.get(name, self.other) for name in names] + [self.other])


@dataclass(frozen=True)
class Certified:
    """The findings of an audit about the rows of one group."""

    threshold: float | None
    """Lowest predicted gain that the promise covers, an exact float32; None where nothing is certified."""
    rows: int
    """Rows of the calibrating half at or above it; where nothing is certified, at or above the first threshold that was tested."""
    losses: int
    """Rows among them that lose more than allowed."""
    bound: float
    """Upper bound of the share of such losses, at the confidence of the promise."""
    held_rows: int
    """Rows of the other half at or above the same threshold."""
    held_losses: int
    """Rows among them that lose more than allowed."""


@dataclass(frozen=True)
class Promise:
    """A promise, with the audit that it rests on."""

    rate: float
    """Largest share of losses."""
    loss: float
    """A row is a loss where the large model is worse by more than this, 0–1 scale."""
    confidence: float
    """Probability with which the promise of a group holds."""
    metric: str
    source: str
    """Run directory of the audit."""
    audited: int
    """Measured rows of the audit, both halves."""
    groups: tuple[tuple[str, Certified], ...]
    """Name of a pair, or `all`, and what was found, in the order of the names."""

    def floors(self, unproven: str) -> Floors:
        """Builds the floors of a rule. With `unproven` = `route`, rows of a group without a promise are routed like
        others; else none of them is routed."""
        never = -math.inf if unproven == ROUTE else math.inf
        floors = {name: never if found.threshold is None else found.threshold for name, found in self.groups}
        return Floors(tuple(item for item in floors.items() if item[0] != ALL), floors.get(ALL, never))

    @property
    def unproven(self) -> list[tuple[str, Certified]]:
        """The groups without a promise."""
        return [(name, found) for name, found in self.groups if found.threshold is None]

    def to_dict(self) -> dict[str, Any]:
        """Converts the promise to JSON-safe fields."""
        return asdict(self) | {"groups": {name: asdict(found) for name, found in self.groups}}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Promise":
        """Builds the promise that `to_dict` wrote."""
        groups = tuple((name, Certified(**found)) for name, found in fields["groups"].items())
        return cls(**{**fields, "groups": groups})


def rows_needed(rate: float, confidence: float, losses: float = 0.0) -> int | None:
    """Computes how many rows certify a rate, ln(1 − confidence) / ln(1 − rate) where none is a loss. With a share of
    losses that is expected among the rows, the number is at most 2 % too large; None where that share is not below the
    rate."""
    rows = math.ceil(math.log1p(-confidence) / math.log1p(-rate))
    if losses >= rate:
        return None
    while bdtr(math.ceil(losses * rows), rows, rate) > 1 - confidence:
        rows += math.ceil(0.02 * rows)
    return rows


def upper_bound(losses: int, rows: int, confidence: float) -> float:
    """Computes the one-sided bound of Clopper and Pearson for the share of losses; 1 without rows."""
    return 1.0 if losses >= rows else float(betaincinv(losses + 1, rows - losses, confidence))


def certify(predicted: npt.ArrayLike, lost: npt.ArrayLike, rate: float, confidence: float) -> Certified:
    """Finds the lowest threshold at or above which at most a share of the rows are losses.

    Rows with equal predicted gain are always on the same side of a threshold. The rows must be a random sample of those
    that the promise is about. Gains, taken as float32, and losses have shape ``(rows,)``. Raises ValueError if they
    differ in length, or a gain is not finite.
    """
    gains, losses = np.asarray(predicted, np.float32), np.asarray(lost, bool)
    if gains.shape != losses.shape or gains.ndim != 1 or not np.isfinite(gains).all():
        raise ValueError(
            f"predicted and lost have the shapes {gains.shape} and {losses.shape}; they must be one (rows,), and gains finite"
        )
    held = np.zeros(len(gains), bool)
    held[np.random.default_rng(_SEED).permutation(len(gains))[: len(gains) // 2]] = True
    needed = rows_needed(rate, confidence)
    assert needed is not None
    thresholds, starts = _sequence(gains[held], _FIRST * needed)
    if not len(thresholds):
        return Certified(None, 0, 0, 1.0, 0, 0)
    rows, bad = _above(gains[~held], losses[~held], thresholds)
    level = (1 - confidence) / len(starts)
    passed = (rows > 0) & (bdtr(bad, np.maximum(rows, 1), rate) <= level)
    bounds = [upper_bound(int(bad[start]), int(rows[start]), 1 - level) for start in starts]
    ends = [start + int(np.argmin([*passed[start:], False])) - 1 for start in starts if passed[start]]
    at = max(ends) if ends else starts[int(np.argmin(bounds))]
    held_rows, held_bad = (int(counts[0]) for counts in _above(gains[held], losses[held], thresholds[at : at + 1]))
    bound = upper_bound(int(bad[at]), int(rows[at]), 1 - level)
    return Certified(float(thresholds[at]) if ends else None, int(rows[at]), int(bad[at]), bound, held_rows, held_bad)


def _above(
    gains: npt.NDArray[np.float32], losses: Mask, thresholds: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Counts the rows, and their losses, at or above each threshold; shape ``(thresholds,)``."""
    order = np.argsort(gains)
    below = np.searchsorted(gains[order], thresholds, side="left")
    lost = np.concatenate([np.cumsum(losses[order][::-1])[::-1], [0]])
    return len(gains) - below, lost[below]


def _sequence(gains: npt.NDArray[np.float32], first: int) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Thresholds from high to low, each a gain of the given rows, and where the tests start.

    The first start is reached by `first` rows, or by all, and each other one by `_APART` times more rows than the one before.
    """
    ranked = np.sort(gains)[::-1]
    if not len(ranked):
        return ranked, []
    counts = [min(first, len(ranked))]
    while counts[-1] * _APART <= len(ranked):
        counts.append(counts[-1] * _APART)
    at = np.linspace(counts[0] - 1, len(ranked) - 1, min(LEVELS, len(ranked) - counts[0] + 1)).astype(np.int64)
    thresholds = np.unique(ranked[np.concatenate([at, np.array(counts) - 1])])[::-1]
    return thresholds, sorted({int(np.flatnonzero(thresholds == ranked[count - 1])[0]) for count in counts})


def promise(
    rows: Sequence[tuple[float | None, float | None, str]],
    *,
    rate: float,
    loss: float,
    confidence: float,
    by: str,
    metric: str,
    source: str,
) -> Promise:
    """Finds what the rows of an audit promise: their predicted gain, measured gain and language pair. A row without one
    of the gains is left out; one whose measured gain is below −loss is a loss.

    With `by` = `pair` each pair has its own test at the whole confidence, without a correction for their number: of
    twenty promises at 95 %, one may be broken.
    """
    kept = [(gain, real, pair) for gain, real, pair in rows if gain is not None and real is not None]
    groups: dict[str, list[tuple[float, bool]]] = {} if by == PAIR else {ALL: []}
    for gain, real, pair in kept:
        groups.setdefault(pair if by == PAIR else ALL, []).append((gain, real < -loss))
    found = tuple(
        (name, certify([gain for gain, _ in group], [lost for _, lost in group], rate, confidence))
        for name, group in sorted(groups.items())
    )
    return Promise(rate, loss, confidence, metric, source, len(kept), found)
