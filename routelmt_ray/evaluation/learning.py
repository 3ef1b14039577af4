"""The curve of the tf-idf ridge, fitted on a quarter, half and all of the labels, in seconds and without a model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from routelmt_ray import storage
from routelmt_ray.evaluation.axes import CALLS
from routelmt_ray.evaluation.bootstrap import Axis, Order, Settings, measure_weighted
from routelmt_ray.evaluation.compare import Comparison, valued
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.scorers import Parts, Scored
from routelmt_ray.evaluation.text_ridge import TextRidge

_SHARES = (0.25, 0.5)
_LEAST_ROWS = 50
_RIDGE = "text_ridge"


def read_curve(path: str | None) -> list[dict[str, Any]]:
    """Reads the points that ``python -m routelmt_ray.job.curve`` measured; none without a path; ValueError for another file."""
    if path is None:
        return []
    try:
        points = storage.read_json(storage.path(path))["points"]
        return [{key: point[key] for key in ("method", "labels", "normalized_area", "spearman")} for point in points]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"curve {path}: not the curve.json of `python -m routelmt_ray.job.curve` ({type(error).__name__}: {error})"
        ) from None


def learning_curve(
    parts: Parts, scored: Sequence[Scored], comparison: Comparison, measured: Sequence[dict[str, Any]], seed: int
) -> dict[str, Any] | None:
    """Measures the ridge by the number of its labels, beside the `measured` points of routers.

    ``points``: labels and normalised area in calls of the ridge, with intervals; ``doubling``: the difference between all
    labels and half of them, on the same resamples; ``routers``: the points of routers. None where there is neither.
    """
    points: list[dict[str, Any]] = []
    doubling = None
    whole = next((s for s in scored if s.name == _RIDGE), None)
    if whole is not None and parts.fit is not None and _SHARES[0] * len(parts.fit) >= _LEAST_ROWS:
        subsets = [_first_documents(parts.fit, share, seed) for share in _SHARES]
        found = [TextRidge()(replace(parts, fit=subset))[0].score for subset in subsets]
        scores = [score[: len(parts.rows)].astype(float) for score in (*found, whole.score)]
        once, drawn = (_areas(scores, parts.rows.gain, weights) for weights in (None, comparison.weights))
        counts = [len(part) for part in (*subsets, parts.fit)]
        points = [{"labels": n, "area": valued(float(a[0]), d)} for n, a, d in zip(counts, once, drawn)]
        doubling = valued(float(once[-1][0] - once[-2][0]), drawn[-1] - drawn[-2])
    return {"points": points, "doubling": doubling, "routers": list(measured)} if points or measured else None


def _first_documents(rows: Labelled, share: float, seed: int) -> Labelled:
    """Selects the rows of a share of the documents, so that a larger share contains a smaller one."""
    documents = np.unique(rows.documents, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(documents.max() + 1)
    return rows.take(np.flatnonzero(order[documents] < share * len(order)))


def _areas(scores: Sequence[np.ndarray], gain: np.ndarray, weights: np.ndarray | None) -> list[np.ndarray]:
    """Computes the normalised area in calls of each score under each row of weights, or once for None."""
    ones, none = np.ones(len(gain)), np.zeros(len(gain))
    named = {str(i): score for i, score in enumerate(scores)}
    axis = Axis({name: Order(score, ones, none) for name, score in named.items()}, Order(gain, ones, none))
    drawn = ones[None] if weights is None else weights
    found = measure_weighted(named, gain, {CALLS: axis}, drawn, Settings((), 0.0, ()))
    return [found[name].measures[f"area_{CALLS}"] for name in named]
