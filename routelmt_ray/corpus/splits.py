"""Splits a labelled set into parts by document, so that training has seen nothing of a held-out document.

A part depends only on the document, the seed and the shares. Any job that knows these (``router.json`` has seed and
shares) finds the same test rows again.
"""

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np

PARTS = ("train", "stop", "calibration", "test")
"""The parts that fit the router, end its training, give its prediction the unit of gain, and measure it."""
_UNIT = 2**64


def document_keys(documents: Sequence[str | None] | None, sources: Sequence[str]) -> list[str]:
    """Builds the keys of rows that stay together: the row's document, or its source text where it has none. Texts that
    differ only in case, blanks or Unicode form stay together. `documents` is None where the set has no documents."""
    if documents is None:
        documents = [None] * len(sources)
    return [f"d:{document}" if document else f"s:{_plain(text)}" for document, text in zip(documents, sources)]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def crossing(parts: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Finds the rows whose source text is also in a later part, so that no text is in two parts once they are left out;
    bool, shape ``(rows,)``. Texts are compared as in :func:`document_keys`.

    A text of several documents may be in several parts. It stays in the last of them, which is the test part if it is
    there.
    """
    ranks, last = [PARTS.index(part) for part in parts.tolist()], dict[str, int]()
    texts = [_plain(text) for text in sources]
    for text, rank in zip(texts, ranks):
        last[text] = max(rank, last.get(text, 0))
    return np.array([rank < last[text] for text, rank in zip(texts, ranks)], bool)


def split_of(documents: Sequence[str], seed: int, shares: Sequence[float]) -> np.ndarray:
    """Finds the part of :data:`PARTS` that each row belongs to, shape ``(rows,)``; rows with the same key of
    :func:`document_keys` stay together. Raises ValueError if the shares are not four numbers of at least 0 that sum to
    1."""
    if len(shares) != len(PARTS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares are {list(shares)}; they must be {len(PARTS)} numbers of at least 0 that sum to 1")
    # Whole numbers, because a sum of shares that rounding makes less than 1 must not leave a document without a part.
    edges = [round(float(edge) * _UNIT) for edge in np.cumsum(shares)[:-1]]
    key = seed.to_bytes(8, "big", signed=True)
    parts: dict[str, str] = {}
    for document in documents:
        if document not in parts:
            digest = hashlib.blake2b(document.encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest()
            at = int.from_bytes(digest, "big")
            parts[document] = PARTS[sum(at >= edge for edge in edges)]
    return np.array([parts[document] for document in documents], dtype=f"U{max(map(len, PARTS))}")
