"""Finds the objects that an address on S3 names: one, all below it, or those that match a glob. Only listings are read."""

import glob
import re
from collections.abc import Iterable, Iterator, Sequence

from fsspec.utils import glob_translate

from routelmt_ray import storage
from routelmt_ray.corpus import input_kinds
from routelmt_ray.corpus.input_kinds import ICEBERG, IN_RUN, RUN_MARKS, Unread

Found = tuple[str, str, storage.Entry]
"""An object's address, its name inside the corpus, and its entry in the listing."""


def find(path: str) -> tuple[list[Found], list[Unread]]:
    """Finds the objects of a corpus, in no particular order, and other objects that are not read; see
    :func:`routelmt_ray.corpus.input_files.find`."""
    patterns = input_kinds.expand_braces(path)
    if patterns != [path] or glob.has_magic(path):
        found, unread = _matching(path, patterns)
    else:
        found, unread = _below(path)
    if not (found or unread):
        found, unread = _at(path)
    if not (found or unread):
        raise ValueError(f"input.path {path}: no such object, none below it, and nothing matches it as a glob")
    return found, unread


def _below(path: str) -> tuple[list[Found], list[Unread]]:
    folder = storage.path(path)
    there = storage.entries(folder)
    taken, unread = _sorted_out(str(folder), [file.name for file in there], underscores=False)
    return [(f"{folder}/{file.name}", file.name, file) for file in there if file.name in taken], unread


def _at(path: str) -> tuple[list[Found], list[Unread]]:
    wanted = storage.path(path)
    if (file := storage.entry(wanted) if wanted.name else None) is None:
        return [], []
    why = input_kinds.why_unread(wanted.name)
    return ([(str(wanted), wanted.name, file)], []) if why is None else ([], [why])


def _matching(path: str, patterns: Sequence[str]) -> tuple[list[Found], list[Unread]]:
    plain = input_kinds.fixed_part(path)
    if not storage.is_s3(plain):
        raise ValueError(f"input.path {path}: the name of a bucket cannot be a glob")
    top, wanted = storage.path(plain), [re.compile(glob_translate(pattern)) for pattern in patterns]
    asked = [part for pattern in patterns for part in pattern.removeprefix(plain).split("/")]
    there = storage.entries(top)
    matching = {
        file.name for file in there if any(_matches(pattern, f"{top}/{file.name}", asked) for pattern in wanted)
    }
    if "/." not in path:  # as in a shell, a star does not match a hidden name
        matching = {name for name in matching if not any(part.startswith(".") for part in name.split("/"))}
    underscores = any(part.startswith("_") for part in asked)
    taken, unread = _sorted_out(str(top), [file.name for file in there], underscores, matching, "output" in asked)
    return [(f"{top}/{file.name}", file.name, file) for file in there if file.name in taken], unread


def _matches(pattern: re.Pattern[str], address: str, asked: Sequence[str]) -> bool:
    """True for an object, or a folder above it, that matches a glob."""
    if pattern.match(address):
        return True
    above = address
    while asked[-1] not in ("", "**") and (above := above.rpartition("/")[0]).count("/") > 2:
        if pattern.match(above):
            return True
    return False


def _sorted_out(
    top: str, names: Sequence[str], underscores: bool, matching: Iterable[str] | None = None, output: bool = False
) -> tuple[set[str], list[Unread]]:
    """Names of the objects that are files of the corpus, and the others that are not read.

    Args:
        top: the address above all objects.
        underscores: whether the glob names parts that begin with ``_``.
        matching: the names that a glob matches; None without a glob.
        output: whether the glob names the outputs of run directories.
    """
    is_glob, chosen = matching is not None, set(names if matching is None else matching)
    runs = {name.removesuffix(RUN_MARKS[0]) for name in names if f"/{name}".endswith(f"/{RUN_MARKS[0]}")}
    runs &= {name.removesuffix(RUN_MARKS[1]) for name in names if f"/{name}".endswith(f"/{RUN_MARKS[1]}")}
    if "" in runs and not output:
        input_kinds.refuse_run(top)
    tables = {folder: mark for name in names for folder, mark in _table_marks(name)}
    taken, unread = set[str](), dict[Unread, None]()
    for name in sorted(chosen):
        parts = name.split("/")
        run = next((folder for folder in _above(name) if folder in runs), None)
        hidden = next(
            (
                n
                for n, part in enumerate(parts)
                if part.startswith((".", "_")) and not (is_glob and n == len(parts) - 1)
            ),
            None,
        )
        if run is not None and not (output and name.startswith(f"{run}output/")):
            unread[Unread(run, IN_RUN, False)] = None
        elif hidden is not None and not underscores:
            left = "/".join(parts[: hidden + 1]) + "/" * (hidden < len(parts) - 1)
            unread |= dict.fromkeys(input_kinds.hidden(left))
        elif (why := input_kinds.why_unread(name)) is not None:
            unread[why] = None
        else:
            for folder in tables.keys() & set(_above(name)):
                input_kinds.refuse_table(f"{top}/{folder}".rstrip("/"), [tables[folder]], [ICEBERG])
            taken.add(name)
    return taken, list(unread)


def _table_marks(name: str) -> Iterator[tuple[str, str]]:
    """Folders that are tables of another system because this object is in them, with the name that shows it."""
    parts = name.split("/")
    for n, part in enumerate(parts[:-1]):
        if part in ("_delta_log", ".hoodie") or (part == "metadata" and n == len(parts) - 2 and name.endswith(ICEBERG)):
            yield "".join(f"{above}/" for above in parts[:n]), part


def _above(name: str) -> Iterator[str]:
    """The folders above a name, each with its slash, from the top, which is the empty string."""
    yield ""
    for n, character in enumerate(name):
        if character == "/":
            yield name[: n + 1]
