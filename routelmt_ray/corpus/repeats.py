"""Finds segments that occur more than once: keys, and groups of rows with the same key.

Rows are one segment if the models see the same: the same text (:mod:`routelmt_ray.stages.validate` removes NUL
characters) and the same standard codes of both languages, which give the names in a prompt. All else that shapes a
translation is the same for all rows of a run. The key is a BLAKE2b hash of 128 bits; the length of the text is compared
too. Among 10¹⁰ different segments two have the same hash with a probability of 1.5 · 10⁻¹⁹.

Pure NumPy: importing this module imports neither Ray nor torch.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from routelmt_ray.corpus.shards import Shard, ShardPlan

SECTION_ROWS = 1 << 20
"""Rows of a section, about: few enough for the memory of one task, many enough for few small reads. These numbers
decide where a corpus is cut. If they change, a new version cannot resume older runs."""
MOST_SECTIONS = 1 << 10
"""Largest number of sections. Every reader of an exchange opens as many files, so larger corpora get larger sections."""
_FEW_SECTIONS, _LEAST_ROWS = 16, 1 << 16
"""Number of sections that a small corpus is cut into, to be worked on side by side, and least rows of each."""

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


class Keys(NamedTuple):
    """Keys of some rows; all arrays have shape ``(rows,)``."""

    high: Words
    """High 64 bits of the hash."""
    low: Words
    """Low 64 bits of the hash."""
    size: Ints
    """Bytes of the text in UTF-8."""


def keys_of(texts: Sequence[str], pairs: Sequence[str]) -> Keys:
    """Computes the key of each row from its text without NUL characters and its language pair in standard codes."""
    encoded = [text.encode(errors="surrogatepass") for text in texts]
    hashes = b"".join(
        hashlib.blake2b(pair.encode() + b"\0" + text, digest_size=16).digest() for pair, text in zip(pairs, encoded)
    )
    words = np.frombuffer(hashes, ">u8").reshape(-1, 2).astype(np.uint64)
    return Keys(words[:, 0].copy(), words[:, 1].copy(), np.array([len(text) for text in encoded], np.int64))


def first_of(keys: Keys) -> Ints:
    """Finds for each row the number of the first row with the same key; its own where there is none before it."""
    rows = len(keys.high)
    order = np.argsort(keys.high, kind="stable")
    differs = _differs(keys, order)
    if not np.array_equal(differs, _changes(keys.high[order])):  # half a hash is equal by chance: compare all of it
        order = np.lexsort((keys.size, keys.low, keys.high))
        differs = _differs(keys, order)
    starts = np.flatnonzero(differs)
    first = np.empty(rows, np.int64)
    first[order] = np.repeat(order[starts], np.diff(starts, append=rows))
    return first


def rows_at(places: Ints, wanted: Ints) -> Ints:
    """Finds the row of each wanted place. The place of each row is ascending. Raises LookupError if no row has a wanted
    place: any other row would be another segment."""
    rows = np.searchsorted(places, wanted)
    if not np.array_equal(places[rows.clip(max=len(places) - 1)] if len(places) else places, wanted):
        raise LookupError(f"{len(wanted)} places are wanted, and some are not among the {len(places)} known ones")
    return rows.astype(np.int64)


def _differs(keys: Keys, order: Ints) -> npt.NDArray[np.bool_]:
    """True for each row, in the given order, whose key differs from that of the row before it."""
    return np.logical_or.reduce([_changes(part[order]) for part in keys])


def _changes(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    changes = np.ones(len(values), np.bool_)
    changes[1:] = values[1:] != values[:-1]
    return changes


@dataclass(frozen=True)
class Sections:
    """Cuts a corpus into sections, runs of neighbouring shards, and keys into as many partitions.

    Both are determined by the rows of the corpus and of a shard. Small, and sent to workers.
    """

    shard_rows: int
    shards: int
    """Shards of a section; the last may have fewer."""
    count: int
    """Number of sections, and of partitions of the keys."""

    @classmethod
    def of(cls, plan: ShardPlan) -> "Sections":
        """Cuts a corpus."""
        few = min(_FEW_SECTIONS, -(-plan.rows // _LEAST_ROWS))
        wanted = max(1, few, min(MOST_SECTIONS, -(-plan.rows // SECTION_ROWS)))
        shards = max(1, -(-len(plan) // wanted))
        return cls(plan.shard_rows, shards, -(-len(plan) // shards))

    def section(self, plan: ShardPlan, number: int) -> Shard:
        """Builds one shard with all rows of a section."""
        rows = self.shards * self.shard_rows
        return plan.stretch(number * rows, min((number + 1) * rows, plan.rows), number)

    def shards_of(self, section: Shard) -> Iterator[Shard]:
        """Gives the shards of a section, as the plan has them."""
        return section.cut(self.shard_rows)

    def group_of(self, shard: int) -> tuple[int, int]:
        """Finds the section that a shard belongs to, and its number there."""
        return divmod(shard, self.shards)

    def of_places(self, places: Ints) -> Ints:
        """Finds the section of each place."""
        return places // (self.shards * self.shard_rows)

    def of_keys(self, keys: Keys) -> Ints:
        """Finds the partition of each key."""
        parts = ((keys.high >> np.uint64(32)) * np.uint64(self.count)) >> np.uint64(32)
        return parts.astype(np.int64)
