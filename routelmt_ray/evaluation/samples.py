"""Rows for a report to show: drawn with a seed, and spread over a score."""

from typing import Any

import numpy as np

from routelmt_ray.budget.keys import mix
from routelmt_ray.evaluation.formats import shortened
from routelmt_ray.evaluation.labelled import REFERENCE, Labelled
from routelmt_ray.evaluation.scorers import Scored

_MOST_CHARS = 600


def spread(scores: np.ndarray, draws: np.ndarray, rows: int) -> list[int]:
    """Draws one row from each of `rows` parts of equal size, cut along the scores; the highest scores come first.

    In each part it is the row with the least of the random `draws`. With fewer scores, every row is drawn.
    """
    if not len(scores) or rows < 1:
        return []
    parts = np.array_split(np.lexsort((draws, -scores)), min(rows, len(scores)))
    return [int(part[np.argmin(draws[part])]) for part in parts]


def short(text: str | None) -> str | None:
    """Cuts a text to what a report shows of it."""
    return None if text is None else shortened(text, _MOST_CHARS)


def sample_labels(rows: Labelled, by: Scored, count: int, seed: int) -> list[dict[str, Any]]:
    """Draws labelled rows to read, spread over the score of a scorer.

    Each has its language pair, source, score, true gain, reference, and of each model translation and quality, or None.
    """
    known = np.flatnonzero(~np.isnan(by.score))
    places = known[spread(by.score[known], mix(known.astype(np.uint64), seed), count)]
    pairs = rows.pairs
    found = []
    for place in map(int, places):
        row: dict[str, Any] = {
            "pair": pairs[place],
            "source": short(rows.sources[place]),
            "reference": short(rows.texts[REFERENCE][place]) if REFERENCE in rows.texts else None,
            "model": None,
        }
        row |= {"score": float(by.score[place]), "gain": float(rows.gain[place])}
        for size, quality in (("small", rows.quality_small), ("large", rows.quality_large)):
            text = rows.texts[f"{size}_translation"][place] if f"{size}_translation" in rows.texts else None
            row[size] = {"translation": short(text), "quality": None if quality is None else float(quality[place])}
        found.append(row)
    return found
