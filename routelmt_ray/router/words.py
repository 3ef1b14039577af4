"""The part of a router that needs no model: a ridge regression of the gain on the words of the source, the target language and the
small model's vectors of the prompt's tokens.

The head reads the small model's state for a text, the table the words of the text. Their sum ranks better than either
where the small model is weak. The table is fitted on the train part. How much of it is added to the head's output is
fitted on the stop part, and a router has a table only if the words lower the error there.

Words alone cannot tell that two rare words are alike. The vectors by which the small model enters tokens can. They need no model at
inference: the weights of a mean of vectors are one weight for each token.
"""

from typing import Any

import numpy as np

from routelmt_ray.engines.source_words import COLUMNS, Sources, WordTable, prompt_tokens, source_features, standard
from routelmt_ray.metrics.measures import normalized_area

PENALTIES = [1.0, 3.0, 10.0, 30.0]
"""Penalties to choose from, where each half of a text's features has the length 1."""
_LEAST, _MOST = 0.02, 4.0
"""Least and largest ratio of the deviation of the words' part to that of the head's output."""
_VECTOR_LENGTH = 1.13
"""Usual length of the vector of a prompt, beside two halves of words and characters of the length 1."""


def fit_words(
    sources: Sources,
    gain: np.ndarray,
    train: np.ndarray,
    stop: np.ndarray,
    head: np.ndarray,
    embeddings: np.ndarray | None = None,
) -> tuple[WordTable | None, dict[str, Any]]:
    """Fits a table of words on the rows `train` that is added to the output of the gain head.

    The rows `stop` choose its penalty and its scale, and decide whether it is used.

    Args:
        gain: gain of each row, shape ``(rows,)``.
        head: output of the gain head on the rows `stop`, NaN where there is none.
        embeddings: vector of each token of the small model, shape ``(vocabulary, width)``, float32; None: the table reads no
            prompts.

    Returns:
        The table, None where it does not help, and facts for router.json: the penalty, the scale, and the normalised area on
        the rows `stop` of the head, the words and their sum.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import Ridge

    fitted_on = sources.take(train)
    found = source_features(fitted_on.texts)
    present = np.bincount(found.column, minlength=COLUMNS)
    rarity = (np.log((1 + len(train)) / (1 + present)) + 1).astype(np.float32)
    entries = found.scaled(rarity)
    # One more column for each target language, so that words need not say it.
    known, code = np.unique([standard(language) for language in fitted_on.languages], return_inverse=True)
    row, column = np.append(entries.row, np.arange(len(train))), np.append(entries.column, COLUMNS + code)
    value = np.append(entries.value, np.ones(len(train)))
    first = COLUMNS + len(known)  # of the columns of vectors
    x = csr_matrix((value, (row, column)), shape=(len(train), first))
    vectors = np.empty((0, 0))
    if embeddings is not None:
        shares = _shares(fitted_on.prompts, len(embeddings))
        vectors = _scaled(embeddings, shares @ embeddings)
        x = hstack([x, csr_matrix(shares @ vectors)], format="csr")
    whole = np.isfinite(head)
    if not whole.any():
        return None, {"stop_normalized_area": {}}
    held, output, true = sources.take(stop[whole]), head[whole], gain[stop[whole]].astype(np.float64)

    def table(weights: np.ndarray) -> WordTable:
        languages = dict(zip(known.tolist(), weights[COLUMNS:first].tolist()))
        return WordTable(rarity, weights[:COLUMNS], languages, (vectors @ weights[first:]).astype(np.float32))

    fits = [Ridge(p, solver="sparse_cg", tol=1e-3).fit(x, gain[train]).coef_.astype(np.float32) for p in PENALTIES]
    scores = [table(weights)(*held) for weights in fits]
    errors = [np.mean((score - score.mean() - true + true.mean()) ** 2) for score in scores]
    best = int(np.argmin(errors))
    scale = _scale(output, scores[best], true)
    compared = {"head": output, "words": scores[best], "sum": output + scale * scores[best]}
    area = {name: round(float(np.nan_to_num(normalized_area(score, true))), 4) for name, score in compared.items()}
    facts = {"penalty": PENALTIES[best], "scale": round(scale, 4), "stop_normalized_area": area}
    return (None if scale == 0 else table(np.float32(scale) * fits[best])), facts


def _shares(prompts: list[list[int]], vocabulary: int) -> Any:
    """Computes the share of each token in each prompt, a sparse matrix ``(prompts, vocabulary)``: times vectors, their mean."""
    from scipy.sparse import csr_matrix

    row, token, share = prompt_tokens(prompts, vocabulary)
    return csr_matrix((share, (row, token)), shape=(len(prompts), vocabulary))


def _scaled(embeddings: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Centres and scales vectors, shape ``(vocabulary, width)``, so that each number of the mean of a prompt has the same spread.
    `means` are those of the vectors as they are, shape ``(prompts, width)``."""
    spread = means.std(0)
    unit = np.divide(_VECTOR_LENGTH / np.sqrt(len(spread)), spread, out=np.zeros_like(spread), where=spread > 0)
    return np.asarray((embeddings - means.mean(0)) * unit)


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
