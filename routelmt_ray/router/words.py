"""The part of a router that needs no model: a ridge regression of the gain on the words of the source and the target language.

The head reads the small model's state for a text, the table the words of the text. Their sum ranks better than either
where the small model is weak. The table is fitted on the train part. How much of it is added to the head's output is
fitted on the stop part, and a router has a table only if the words lower the error there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from routelmt_ray.engines.source_words import COLUMNS, WordTable, source_features, standard
from routelmt_ray.metrics.measures import normalized_area

PENALTIES = [1.0, 3.0, 10.0, 30.0]
"""Penalties to choose from, where each half of a text's features has the length 1."""
_LEAST, _MOST = 0.02, 4.0
"""Least and largest ratio of the deviation of the words' part to that of the head's output."""


def fit_words(
    texts: Sequence[str],
    languages: Sequence[str | None],
    gain: np.ndarray,
    train: np.ndarray,
    stop: np.ndarray,
    head: np.ndarray,
) -> tuple[WordTable | None, dict[str, Any]]:
    """Fits a table of words on the rows `train` that is added to the output of the gain head.

    The rows `stop` choose its penalty and its scale, and decide whether it is used; `head` is the output of the gain head on
    them, NaN where there is none. Returns the table, None where it does not help, and facts for router.json: the penalty, the
    scale, and the normalised area on these rows of the head, the words and their sum.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import Ridge

    found = source_features([texts[i] for i in train])
    present = np.bincount(found.column, minlength=COLUMNS)
    rarity = (np.log((1 + len(train)) / (1 + present)) + 1).astype(np.float32)
    entries = found.scaled(rarity)
    # One more column for each target language, so that words need not say it.
    codes = [standard(languages[i]) for i in train]
    known, code = np.unique(codes, return_inverse=True)
    row, column = np.append(entries.row, np.arange(len(train))), np.append(entries.column, COLUMNS + code)
    value = np.append(entries.value, np.ones(len(train)))
    x = csr_matrix((value, (row, column)), shape=(len(train), COLUMNS + len(known)))
    whole = np.isfinite(head)
    if not whole.any():
        return None, {"stop_normalized_area": {}}
    rows, output = stop[whole], head[whole]
    held, true = ([texts[i] for i in rows], [languages[i] for i in rows]), gain[rows].astype(np.float64)
    fits = [Ridge(p, solver="sparse_cg", tol=1e-3).fit(x, gain[train]).coef_.astype(np.float32) for p in PENALTIES]
    tables = [WordTable(rarity, w[:COLUMNS], dict(zip(known.tolist(), w[COLUMNS:].tolist()))) for w in fits]
    scores = [table(*held) for table in tables]
    errors = [np.mean((score - score.mean() - true + true.mean()) ** 2) for score in scores]
    best = int(np.argmin(errors))
    scale = _scale(output, scores[best], true)
    compared = {"head": output, "words": scores[best], "sum": output + scale * scores[best]}
    area = {name: round(float(np.nan_to_num(normalized_area(score, true))), 4) for name, score in compared.items()}
    facts = {"penalty": PENALTIES[best], "scale": round(scale, 4), "stop_normalized_area": area}
    if scale == 0:
        return None, facts
    added = {code: scale * value for code, value in tables[best].languages.items()}
    return WordTable(rarity, (scale * tables[best].weight).astype(np.float32), added), facts


def _scale(head: np.ndarray, words: np.ndarray, gain: np.ndarray) -> float:
    """Fits how much of the words is added to the head: the ratio of their weights in a regression of the gain on both.

    No weight is negative, and the ratio is limited where the head says hardly anything. It is 0 where the words lower the
    error by nothing to speak of. A stricter test would be wrong more often: a few hundred rows seldom prove a difference,
    they favour the head, whose training ends where it ranks them best, and words without worth get a small scale.
    """
    from scipy.optimize import nnls

    spread = [part.std() or 1.0 for part in (head, words)]
    both = np.column_stack([(part - part.mean()) / by for part, by in zip((head, words), spread)]).astype(np.float64)
    by_head, by_words = nnls(both, gain - gain.mean())[0]
    if by_words <= _LEAST * by_head:
        return 0.0
    return float((min(by_words / by_head, _MOST) if by_head > 0 else _MOST) * spread[0] / spread[1])
