"""The ceiling of a prediction of gain: how much of the measured gain is chance, by the words of one reference.

A metric compares two translations with one reference, and another reference would give another gain. No router can
know that part. The words of each reference are halved at random, and the gain in matched words is measured on both
halves. Their correlation measures how much of the gain both halves share. Spearman and Brown's formula turns it into
the reliability of the whole gain. The prediction of the expected gain, which is the best that a router can do, has a
correlation with the measured gain of the square root of the reliability.
"""

import re
from collections import Counter
from typing import Any

import numpy as np

from routelmt_ray.evaluation.axes import correlation
from routelmt_ray.evaluation.labelled import REFERENCE, Labelled
from routelmt_ray.evaluation.scorers import Scored

_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""Words; in Chinese and Japanese, which have no blanks, each character is one."""
_LEAST_WORDS = 4
"""Words of a reference below which its halves say nothing."""
_LEAST_ROWS = 100
_DRAWS = 20


def gain_ceiling(rows: Labelled, best: Scored, seed: int) -> dict[str, Any] | None:
    """Estimates the highest correlation with the gain that a prediction can reach.

    ``rows`` used; ``halves``, the mean correlation of the two halves over random draws; ``reliability``; ``correlation``,
    the ceiling; ``agreement``, the correlation of the gain in words with that by the metric; ``reached``, that of the
    best scorer with the gain by the metric. None where fewer than 100 rows have a reference and both translations.
    """
    if not {REFERENCE, "small_translation", "large_translation"} <= rows.texts.keys():
        return None
    texts = zip(rows.texts[REFERENCE], rows.texts["small_translation"], rows.texts["large_translation"])
    won = [_word_gains(reference, small, large) for reference, small, large in texts]
    used = [i for i, gains in enumerate(won) if len(gains) >= _LEAST_WORDS]
    if len(used) < _LEAST_ROWS:
        return None
    whole = [won[i] for i in used]
    rng, found = np.random.default_rng(seed), []
    for _ in range(_DRAWS):
        halves = np.array([_halved(gains, rng) for gains in whole])
        found.append(correlation(halves[:, 0], halves[:, 1]) or 0.0)
    shared = max(float(np.mean(found)), 0.0)
    reliability = 2 * shared / (1 + shared)
    mean = np.array([gains.mean() for gains in whole])
    predicted = np.asarray(best.score if best.gain is None else best.gain, float)
    return {
        "rows": len(used),
        "halves": shared,
        "reliability": reliability,
        "correlation": float(np.sqrt(reliability)),
        "agreement": correlation(mean, rows.gain[used]) or 0.0,
        "reached": correlation(predicted[used], rows.gain[used]) or 0.0,
    }


def _word_gains(reference: str | None, small: str | None, large: str | None) -> np.ndarray:
    """Finds for each word of a reference which translation has it: 1 only the large one, −1 only the small one, else
    0."""
    if reference is None or small is None or large is None:
        return np.empty(0)
    words, has = _WORDS.findall(reference.casefold()), [Counter(_WORDS.findall(t.casefold())) for t in (small, large)]
    gains = np.zeros(len(words))
    for i, word in enumerate(words):
        for sign, counts in zip((-1, 1), has):
            if counts[word]:
                counts[word] -= 1
                gains[i] += sign
    return gains


def _halved(gains: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    mixed = rng.permutation(gains)
    return float(mixed[::2].mean()), float(mixed[1::2].mean())
