"""A router's part without a model: a number for a source text from its words, pairs of words and runs of characters, and from
the tokens of its prompt.

Words and characters are hashed to the columns of one table; a token has a weight, and a prompt the mean of those of its tokens.
Everything is NumPy over many texts at once: a text of a line takes about 50 microseconds of a CPU.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load, save

from routelmt_ray.corpus.languages import standard_code

FILE = "words.safetensors"
"""Name of the table's file in a router's folder."""
COLUMNS = 2**17
"""Columns that features are hashed to: words and pairs of words to the first half, characters to the second."""
_HALF_BITS = 16
_RUNS = range(2, 6)
"""Lengths of the runs of characters, the boundaries of a word included."""
_BASE, _PAIR, _SPREAD = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93))


class Sources(NamedTuple):
    """Facts on rows that are known before anything is translated: the arguments of a table of words."""

    texts: list[str]
    languages: list[str | None]
    """Codes of the target languages."""
    prompts: list[list[int]]
    """Token ids of the small model's prompts; empty where there are none."""

    def take(self, rows: Iterable[int]) -> "Sources":
        """Selects rows by their numbers."""
        kept = list(rows)
        prompts = [self.prompts[i] for i in kept] if self.prompts else []
        return Sources([self.texts[i] for i in kept], [self.languages[i] for i in kept], prompts)


class SourceFeatures(NamedTuple):
    """Sparse features: one entry for each column that occurs in a text, ascending by text and column."""

    row: np.ndarray
    """Number of the text, shape ``(entries,)``, int64."""
    column: np.ndarray
    """Column, shape ``(entries,)``, int64."""
    value: np.ndarray
    """1 + log(occurrences), shape ``(entries,)``, float64."""

    def scaled(self, rarity: np.ndarray) -> "SourceFeatures":
        """Multiplies the values by the rarity of their column, and gives each half of each text the length 1."""
        value = self.value * rarity[self.column]
        half = 2 * self.row + (self.column >> _HALF_BITS)
        return self._replace(value=value / np.sqrt(np.bincount(half, value * value))[half])


@dataclass(frozen=True)
class WordTable:
    """Weights of hashed words."""

    rarity: np.ndarray
    """Inverse document frequency of each column, shape ``(COLUMNS,)``, float32, above 0."""
    weight: np.ndarray
    """Weight of each column, shape ``(COLUMNS,)``, float32."""
    languages: Mapping[str, float] = field(default_factory=dict)
    """Weights of the target languages, by standard code; a language that is not listed adds 0."""
    tokens: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    """Weight of each token of the small model, shape ``(vocabulary,)``, float32; empty for a table that reads no prompts."""

    def __call__(
        self, texts: Sequence[str], languages: Sequence[str | None], prompts: Sequence[Sequence[int]] = ()
    ) -> np.ndarray:
        """Computes what is added to the output of the gain head.

        Args:
            texts: source texts. One without words has the number of its language and its prompt alone.
            languages: codes of their target languages, None where one is not known.
            prompts: token ids of the small model's prompts, for a table that reads them. An empty prompt, and a token that
                the table does not know, add 0.

        Returns:
            Shape ``(texts,)``, float32.

        Raises:
            ValueError: the table reads prompts, and there are none.
        """
        found = source_features(texts).scaled(self.rarity)
        said = np.bincount(found.row, found.value * self.weight[found.column], len(texts))
        said = said + np.array([self.languages.get(standard(code), 0.0) for code in languages])
        if len(self.tokens):
            if len(prompts) != len(texts):
                raise ValueError(
                    f"{len(prompts)} prompts for {len(texts)} texts, but this table of words reads the prompt of each"
                )
            asked = prompt_tokens(prompts, len(self.tokens))
            said = said + np.bincount(asked.row, asked.share * np.append(self.tokens, 0)[asked.token], len(texts))
        return said.astype(np.float32)

    def to_bytes(self) -> bytes:
        """Returns the content of :data:`FILE`."""
        codes = np.frombuffer("\n".join(self.languages).encode(), np.uint8)
        added = np.array(list(self.languages.values()), np.float32)
        tokens = {"tokens": self.tokens} if len(self.tokens) else {}
        return save({"rarity": self.rarity, "weight": self.weight, "languages": codes, "added": added, **tokens})

    @classmethod
    def read(cls, folder: Path, digest: str) -> "WordTable":
        """Reads the table of a router's folder. Its SHA-256, hex, is in router.json, so that an identity of the folder
        that has router.json also has the whole table. Raises ValueError if the file is missing, is another one, or this
        version cannot use its form."""
        try:
            content = (folder / FILE).read_bytes()
        except OSError as error:
            raise ValueError(f"router.path {folder}: router.json names a table of words, but {error}") from None
        if (found := hashlib.sha256(content).hexdigest()) != digest:
            raise ValueError(
                f"router.path {folder}: {FILE} has the SHA-256 {found[:12]}, but router.json belongs to {digest[:12]}; "
                "copy the whole folder of the router again"
            )
        table = load(content)
        if any(name not in table or table[name].shape != (COLUMNS,) for name in ("rarity", "weight")):
            raise ValueError(
                f"router.path {folder}: {FILE} is not a table of {COLUMNS} hashed words; train the router again"
            )
        if not all(np.isfinite(values).all() for values in table.values()) or (table["rarity"] <= 0).any():
            raise ValueError(
                f"router.path {folder}: {FILE} has weights that are not finite, or a rarity that is not above 0; train the router again"
            )
        codes = table.get("languages", np.empty(0, np.uint8)).tobytes().decode().split("\n")
        languages = dict(zip(codes, map(float, table.get("added", np.empty(0)))))
        tokens = table.get("tokens", np.empty(0)).astype(np.float32).reshape(-1)
        return cls(table["rarity"].astype(np.float32), table["weight"].astype(np.float32), languages, tokens)


def standard(language: str | None) -> str:
    """Finds the standard form of a language code, so that ``deu_Latn`` and ``de`` are one language; empty for none."""
    return (standard_code(language) or language) if language else ""


class PromptTokens(NamedTuple):
    """The tokens of prompts, one entry for each."""

    row: np.ndarray
    """Number of the prompt, shape ``(entries,)``, int64."""
    token: np.ndarray
    """Token id, or the size of the vocabulary for one that is not in it, shape ``(entries,)``, int64."""
    share: np.ndarray
    """1 / tokens of the prompt, shape ``(entries,)``, float64."""


def prompt_tokens(prompts: Sequence[Sequence[int]], vocabulary: int) -> PromptTokens:
    """Lists the tokens of prompts."""
    lengths = np.array([len(ids) for ids in prompts], np.int64)
    token = np.fromiter(chain.from_iterable(prompts), np.int64, int(lengths.sum()))
    row = np.repeat(np.arange(len(lengths)), lengths)
    return PromptTokens(row, np.minimum(token, vocabulary), 1 / lengths[row])


def source_features(texts: Sequence[str]) -> SourceFeatures:
    """Counts the hashed words, pairs of words and runs of characters of texts, without regard to case."""
    letters, owner = _letters(texts)
    keys = [np.empty(0, np.uint64)]
    for half, rows, hashes in (*_words(letters, owner), *_runs(letters, owner)):
        column = (hashes * _SPREAD >> np.uint64(64 - _HALF_BITS)) + np.uint64(half << _HALF_BITS)
        keys.append(rows.astype(np.uint64) * np.uint64(COLUMNS) + column)
    key, count = np.unique(np.concatenate(keys), return_counts=True)
    row, column = np.divmod(key.astype(np.int64), COLUMNS)
    return SourceFeatures(row, column, 1 + np.log(count))


def _letters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Joins the words of all texts: code points, with one 0 before each word and at the end, and the text of each."""
    folded = [text.casefold() for text in texts]
    joined = " ".join(["", *folded, ""])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    # Each text with the blank before it; the last blank belongs to none.
    owner = np.append(np.repeat(np.arange(len(folded)), [len(text) + 1 for text in folded]), -1)
    known, at = np.unique(codes, return_inverse=True)
    inside = np.array([chr(int(code)).isalnum() or chr(int(code)) in "'’-" for code in known], bool)[at]
    kept = np.flatnonzero(inside | np.append(inside[1:], False))
    owner = owner[np.where(inside[kept], kept, kept + 1)]
    codes = np.where(inside, codes, np.uint64(0))[kept]
    return np.append(codes, np.uint64(0)), np.append(owner, -1)


def _words(letters: np.ndarray, owner: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Hashes words and pairs of neighbouring words; returns their half of the columns, and the text and hash of each."""
    starts = np.flatnonzero(letters == 0)[:-1]
    if not len(starts):
        return []
    letters = letters[:-1]
    place = np.arange(len(letters)) - np.repeat(starts, np.diff(np.append(starts, len(letters))))
    powers = np.multiply.accumulate(np.full(int(place.max()) + 1, _BASE))
    word, rows = np.add.reduceat(letters * powers[place], starts), owner[starts]
    same = rows[1:] == rows[:-1]
    return [(0, rows, word), (0, rows[1:][same], (word[:-1] * _PAIR + word[1:])[same])]


def _runs(letters: np.ndarray, owner: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Hashes the runs of characters within each word and its boundaries; returns the same as :func:`_words`."""
    found, hashes, whole = [], letters + np.uint64(1), np.ones(len(letters), bool)
    for length in _RUNS:
        hashes = hashes[:-1] * _BASE + letters[length - 1 :] + np.uint64(1)
        whole = whole[:-1]
        if length > 2:  # no boundary between the first character and the last
            whole = whole & (letters[length - 2 : -1] != 0)
        found.append((1, owner[: len(hashes)][whole], (hashes * _PAIR)[whole]))
    return found
