"""Keeps segments with their translations by one model across runs: a folder of immutable Parquet parts.

A part is sorted by key, and its name has the range of its keys. So a lookup opens only parts whose range meets the keys it wants,
and reads only row groups that may hold one. The name ends with a hash of the content: two runs that make the same part at once
leave one file, and a run that is killed and goes on leaves no second one. Parts may be deleted at any time. A part that
cannot be read counts as not there, and what it had is added again.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray import storage
from routelmt_ray.corpus.repeats import Ints, Keys

log = logging.getLogger(__name__)

GROUP_ROWS = 1 << 13
"""Entries of a row group."""
KEY_COLUMNS = ("high", "low", "size")
_TEXT = ("translation", pa.large_string())  # of many entries together, more than 2 GiB
_COLUMNS = pa.schema([("high", pa.uint64()), ("low", pa.uint64()), ("size", pa.int64()), _TEXT])
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
        """Looks up segments by different keys, in ascending order of `high`. Returns the numbers of the keys that are
        known, ascending, and the translation of each. Of several, that of the first part by name."""
        found: dict[int, str] = {}
        for part in self._parts(keys):
            for number, text in _hits(part, keys):
                found.setdefault(number, text)
        numbers = sorted(found)
        return np.array(numbers, np.int64), [found[number] for number in numbers]

    def add(self, keys: Keys, translations: Sequence[str]) -> int:
        """Adds segments as a new part, by different keys, in ascending order of `high`; at least one. Returns the bytes
        of the part; 0 where the same part is there already."""
        table = pa.table([*keys, pa.array(translations, _TEXT[1])], schema=_COLUMNS)
        digest = hashlib.blake2b(digest_size=16)
        for column in (*keys, np.array([len(text) for text in translations])):
            digest.update(np.ascontiguousarray(column).tobytes())
        for text in translations:
            digest.update(text.encode(errors="surrogatepass"))
        first, last = (f"{int(keys.high[end] >> _TOP):08x}" for end in (0, -1))
        storage.create(self.folder / "identity.json", self.identity)
        options: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "row_group_size": GROUP_ROWS}
        while True:
            path = self.folder / f"{first}-{last}-{digest.hexdigest()}.parquet"
            if storage.publish_table(path, table, {"entries": table.num_rows}, **options):
                there = storage.entry(path)
                return there.size_bytes if there is not None else 0
            if _is_whole(path):
                return 0
            digest.update(b"again")  # the part with that name is damaged, and no part is ever changed

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
    """Opens the memory of one model in the folder of all memories, which need not exist. Its identity is all that
    shapes a translation, as values for JSON: the model, its prompt and its limits."""
    content = json.dumps({"format": FORMAT, **identity}, sort_keys=True, indent=1).encode()
    return Memory(storage.path(path) / hashlib.blake2b(content, digest_size=16).hexdigest(), content)


@contextmanager
def _opened(part: storage.Location) -> Iterator[pq.ParquetFile]:
    """Opens a part. Raises storage.Damaged if it is no part, or a checksum does not match; also raised while the body
    reads."""
    with storage.open_table(part) as file:
        if not file.schema_arrow.equals(_COLUMNS):
            raise storage.Damaged(f"it has the columns {file.schema_arrow.names}, or other types than a memory has")
        yield file


def _is_whole(part: storage.Location) -> bool:
    try:
        with _opened(part) as file:
            table = file.read()
            table.validate(full=True)
            return not any(column.null_count for column in table.columns)
    except (FileNotFoundError, storage.Damaged):
        return False


def _hits(part: storage.Location, keys: Keys) -> Iterator[tuple[int, str]]:
    """Finds wanted keys in a part, by their numbers. It goes on after a row group that is damaged."""
    group = 0
    while True:
        before = group
        try:
            with _opened(part) as file:
                while group < file.num_row_groups:
                    group += 1
                    yield from _hits_of_group(file, group - 1, keys)
            return
        except (FileNotFoundError, storage.Damaged) as error:
            closed = group == before  # it cannot be opened
            log.warning("memory: %s%s is left out: %s", "" if closed else f"row group {group} of ", part, error)
            if closed:
                return


def _hits_of_group(file: pq.ParquetFile, group: int, keys: Keys) -> list[tuple[int, str]]:
    """Finds wanted keys in a row group; its statistics may show without reading that it has none."""
    ends = file.metadata.row_group(group).column(0).statistics
    if ends is not None and ends.has_min_max:
        low, high = np.uint64(ends.min), np.uint64(ends.max)
        if np.searchsorted(keys.high, low) >= np.searchsorted(keys.high, high, "right"):
            return []
    there = Keys(*(column.to_numpy() for column in _columns(file, group, KEY_COLUMNS)))
    # Two wanted keys with the same half of a hash: only the first can be found, and the other is translated again.
    at = np.searchsorted(keys.high, there.high).clip(max=len(keys.high) - 1)
    rows = np.flatnonzero(np.logical_and.reduce([mine[at] == theirs for mine, theirs in zip(keys, there)]))
    if not len(rows):
        return []
    (texts,) = _columns(file, group, [_TEXT[0]])
    return list(zip(at[rows].tolist(), texts.take(rows).to_pylist()))


def _columns(file: pq.ParquetFile, group: int, names: Sequence[str]) -> list[pa.ChunkedArray]:
    """Reads columns of a row group, none of which has nulls."""
    columns: list[pa.ChunkedArray] = file.read_row_group(group, list(names)).select(list(names)).columns
    if any(column.null_count for column in columns):
        raise storage.Damaged(f"one of the columns {', '.join(names)} has nulls")
    return columns
