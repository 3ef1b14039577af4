"""A rival without any model: ridge regression of the gain on words, characters and length of the source.

Its features are words, pairs of words and runs of characters by tf-idf, the length of the text and the language pair.
It costs almost nothing to train and to use. A router that reads the small model's state must beat it to be worth its
prefill.
"""

from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import Ridge

from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.scorers import BASELINE, GAIN, Parts, Scored, device_clock, words

PENALTIES = [0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
_COLUMNS = 2**18
"""Columns that n-grams are hashed to; words and characters have this number each."""


class TextRidge:
    """The gain, predicted from tf-idf features of the source."""

    titles: ClassVar[dict[str, str]] = {"text_ridge": "tf-idf ridge"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores rows by the predicted gain, fitted on the train part; its penalty is chosen on the stop part."""
        fit, stop = parts.to_fit()
        features = Features(fit)
        x, held = features(fit), features(stop)
        models = [Ridge(alpha, solver="sparse_cg", tol=1e-4).fit(x, fit.gain) for alpha in PENALTIES]
        errors = [np.mean((model.predict(held) - stop.gain) ** 2) for model in models]
        best = models[int(np.argmin(errors))]
        clock = device_clock(on_gpu=False)
        score = best.predict(features(parts.rows)).astype(np.float32)
        seconds = clock.seconds() / len(parts.rows)
        note = "no model: words, characters and length of the source, language pair; ridge regression on the gain"
        return [Scored("text_ridge", self.titles["text_ridge"], score, GAIN, BASELINE, seconds, note=note)]


class Features:
    """Sparse features of sources; frequencies, scales and language pairs come from the rows to fit on."""

    def __init__(self, rows: Labelled) -> None:
        """Counts n-grams and measures lengths over the rows to fit on."""
        shared = {"n_features": _COLUMNS, "alternate_sign": False, "norm": None, "dtype": np.float32}
        self._counters = (
            HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), **shared),
            HashingVectorizer(tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2), **shared),
        )
        self._weights = [
            TfidfTransformer(sublinear_tf=True).fit(counter.transform(rows.sources)) for counter in self._counters
        ]
        lengths = _lengths(rows)
        self._mean, self._scale = lengths.mean(), lengths.std() or 1.0
        self._pairs = sorted(set(rows.pairs))

    def __call__(self, rows: Labelled) -> sparse.csr_matrix:
        """Computes features of shape (rows, columns), float32."""
        blocks = [
            weight.transform(counter.transform(rows.sources)) for counter, weight in zip(self._counters, self._weights)
        ]
        length = (_lengths(rows) - self._mean) / self._scale
        pairs = np.array([[pair == other for other in self._pairs] for pair in rows.pairs])
        dense = np.column_stack((length, length**2, pairs)).astype(np.float32)
        return sparse.hstack([*blocks, sparse.csr_matrix(dense)], format="csr")


def _lengths(rows: Labelled) -> np.ndarray:
    return np.log([len(source) for source in rows.sources])
