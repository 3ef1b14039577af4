"""Keeps segments with their translations by one model across runs: a folder of immutable Parquet parts.

A part is sorted by key, and its name has the range of its keys. So a lookup opens only parts whose range meets the keys it wants,
and reads only row groups that may hold one. The name ends with a hash of the content: two runs that make the same part at once
leave one file, and a run that is killed and goes on leaves no second one. Parts may be deleted at any time. What a lookup
cannot read counts as not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray import storage
from routelmt_ray.corpus.repeats import Ints, Keys

log = logging.getLogger(__name__)

GROUP_ROWS = 1 << 13
"""Entries of a row group."""
KEY_COLUMNS = ("high", "low", "size")
_PART = re.compile(r"([0-9a-f]{8})-([0-9a-f]{8})-[0-9a-f]{32}\.parquet")
_TOP = np.uint64(32)


FORMAT = 1
"""Version of keys and parts. Another version looks in other folders."""


@dataclass(frozen=True)
class Memory:
    """The segments of one model with one prompt and one setting of its limits. Small, and sent to workers."""

    folder: storage.Location
    """The folder, which need not exist."""
    identity: bytes
    """All that its translations have in common, as JSON; kept beside the parts, for people."""

    def find(self, keys: Keys) -> tuple[Ints, list[str]]:
        """Looks up segments.

        Args:
            keys: different keys, in ascending order of `high`.

        Returns:
            Numbers of the keys that are known, ascending, and the translation of each. Of several, that of the first part by name.
        """
        found: dict[int, str] = {}
        for at, texts in self._hits(keys, ["translation"]):
            for number, text in zip(at.tolist(), texts["translation"].to_pylist()):
                found.setdefault(number, text)
        numbers = sorted(found)
        return np.array(numbers, np.int64), [found[number] for number in numbers]

    def known(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Finds which of the keys it has, shape ``(keys,)``; takes keys as :meth:`find` does. No translation is read."""
        known = np.zeros(len(keys.high), bool)
        for at, _ in self._hits(keys, []):
            known[at] = True
        return known

    def add(self, keys: Keys, translations: Sequence[str]) -> int:
        """Adds segments as a new part.

        Args:
            keys: different keys, in ascending order of `high`; at least one.
            translations: the translation of each.

        Returns:
            Bytes of the part; 0 where the same part is there already.
        """
        texts = pa.array(translations, pa.large_string())
        table = pa.table({**dict(zip(KEY_COLUMNS, keys)), "translation": texts})
        digest = hashlib.blake2b(digest_size=16)
        for column in (*keys, np.array([len(text) for text in translations])):
            digest.update(np.ascontiguousarray(column).tobytes())
        for text in translations:
            digest.update(text.encode(errors="surrogatepass"))
        first, last = (f"{int(keys.high[end] >> _TOP):08x}" for end in (0, -1))
        path = self.folder / f"{first}-{last}-{digest.hexdigest()}.parquet"
        storage.create(self.folder / "identity.json", self.identity)
        options: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "row_group_size": GROUP_ROWS}
        new = storage.publish_table(path, table, {"entries": table.num_rows}, **options)
        there = storage.entry(path) if new else None
        return there.size_bytes if there is not None else 0

    def _hits(self, keys: Keys, columns: Sequence[str]) -> Iterator[tuple[Ints, pa.Table]]:
        """Yields the numbers of the wanted keys of each part, and the named columns of their rows."""
        for part in self._parts(keys):
            try:
                with storage.open_table(part) as file:
                    hits = [hit for group in range(file.num_row_groups) if (hit := _hit(file, group, keys, columns))]
            except (FileNotFoundError, storage.Damaged, KeyError) as error:
                log.warning("memory: %s is left out: %s", part, error)
                continue
            yield from hits

    def _parts(self, keys: Keys) -> list[storage.Location]:
        """Lists the parts whose range meets the keys, by name."""
        tops = keys.high >> _TOP
        found = []
        for name in sorted(storage.list_names(self.folder)):
            if match := _PART.fullmatch(name):
                first, last = (np.uint64(int(end, 16)) for end in match.groups())
                if np.searchsorted(tops, first) < np.searchsorted(tops, last, "right"):
                    found.append(self.folder / name)
        return found


def open_memory(path: str, identity: Mapping[str, Any]) -> Memory:
    """Opens the memory of one model.

    Args:
        path: the folder of all memories, which need not exist.
        identity: all that shapes a translation: the model, its prompt and its limits; values for JSON.
    """
    content = json.dumps({"format": FORMAT, **identity}, sort_keys=True, indent=1).encode()
    return Memory(storage.path(path) / hashlib.blake2b(content, digest_size=16).hexdigest(), content)


def _hit(file: pq.ParquetFile, group: int, keys: Keys, columns: Sequence[str]) -> tuple[Ints, pa.Table] | None:
    """Finds wanted keys in a row group; None where it has none, which its statistics may show without reading it."""
    ends = file.metadata.row_group(group).column(0).statistics
    if ends is not None and ends.has_min_max:
        low, high = np.uint64(ends.min), np.uint64(ends.max)
        if np.searchsorted(keys.high, low) >= np.searchsorted(keys.high, high, "right"):
            return None
    table = file.read_row_group(group, list(KEY_COLUMNS))
    there = Keys(*(table[name].to_numpy() for name in KEY_COLUMNS))
    # Two wanted keys with the same half of a hash: only the first can be found, and the other is translated again.
    at = np.searchsorted(keys.high, there.high).clip(max=len(keys.high) - 1)
    rows = np.flatnonzero(np.logical_and.reduce([mine[at] == theirs for mine, theirs in zip(keys, there)]))
    return (at[rows], file.read_row_group(group, list(columns)).select(columns).take(rows)) if len(rows) else None
