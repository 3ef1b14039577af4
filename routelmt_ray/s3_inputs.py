"""Which objects an address on S3 means: one, all below it, or those that match a glob. Listings are all that is read."""

import glob
import os
import re
from collections.abc import Sequence

from fsspec.utils import glob_translate

from routelmt_ray import storage

_MAGIC = re.compile(r"[*?\[]")
Found = tuple[str, str, storage.Entry]
"""Address, name inside the corpus, and what the listing says."""


def find(path: str, known: Sequence[str]) -> list[Found]:
    """Objects of a corpus, in no particular order.

    Args:
        path: an object, an address above objects (hidden names and names that begin with ``_`` are left out) or a glob.
        known: endings of the names that are looked for below an address.

    Raises:
        ValueError: nothing is there.
        StorageError: it cannot be listed.
    """
    found = _matching(path) if glob.has_magic(path) else _below(path, known)
    if not (found := found or _at(path)):
        raise ValueError(f"input.path {path}: no such object, none below it, and nothing matches it as a glob")
    return found


def _below(path: str, known: Sequence[str]) -> list[Found]:
    folder = storage.path(path)
    there = storage.entries(folder)
    seen = [file for file in there if not any(part.startswith((".", "_")) for part in file.name.split("/"))]
    found = [(f"{folder}/{file.name}", file.name, file) for file in seen if file.name.endswith(tuple(known))]
    if there and not found:
        raise ValueError(f"input.path {path}: the folder has no file that ends in {', '.join(known)}")
    return found


def _at(path: str) -> list[Found]:
    wanted = storage.path(path)
    file = storage.entry(wanted) if wanted.name else None
    return [] if file is None else [(str(wanted), wanted.name, file)]


def _matching(path: str) -> list[Found]:
    plain = path[: _MAGIC.search(path).start()].rpartition("/")[0]  # type: ignore[union-attr]
    if not storage.is_s3(plain):
        raise ValueError(f"input.path {path}: the name of a bucket cannot be a glob")
    top, pattern = storage.path(plain), re.compile(glob_translate(path))
    found = [(f"{top}/{file.name}", file) for file in storage.entries(top)]
    found = [(address, file) for address, file in found if pattern.match(address)]
    if "/." not in path:  # as in a shell, a star is no hidden name
        found = [(address, file) for address, file in found if "/." not in address]
    root = os.path.commonpath([os.path.dirname(address.removeprefix(f"{top}/")) for address, _ in found] or [""])
    root = f"{top}/{root}/" if root else f"{top}/"
    return [(address, address.removeprefix(root), file) for address, file in found]
