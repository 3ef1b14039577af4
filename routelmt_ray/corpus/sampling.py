"""A sample of a labelled (or still unlabelled) corpus that keeps its language pairs and lengths in proportion."""

from collections.abc import Sequence

import numpy as np


def stratified_sample(pairs: Sequence[str], lengths: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Draws rows so that every language pair, and every range of lengths within it, has its share.

    Rows are put in order of pair and length (equal ones in random order) and every n/rows-th is taken from a random
    start: a pair with a share s gets s·rows rows, rounded up or down, and so does any range of lengths of it. Row
    numbers are ascending, int64, shape ``(min(rows, n),)``; all rows are drawn where there are no more.
    """
    n = len(pairs)
    if rows >= n:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    _, codes = np.unique(np.asarray(pairs, dtype=str), return_inverse=True)
    order = np.lexsort((rng.permutation(n), np.asarray(lengths), codes))
    # Whole numbers, because i·n/rows in floating point may repeat a place where n is large.
    start = int(rng.integers(n))
    return np.sort(order[[(i * n + start) // rows for i in range(rows)]])
