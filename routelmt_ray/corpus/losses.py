"""Counts the rows that are missing in the output: those of files that are not read, and those in quarantine."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routelmt_ray.corpus import jsonl
from routelmt_ray.corpus.corpus import Corpus
from routelmt_ray.corpus.input_files import InputFile, Unread, is_json_lines

log = logging.getLogger(__name__)

_NAMED, _LOGGED = 100, 5


def summary(unread: Sequence[Unread]) -> dict[str, Any]:
    """Summarizes the files that are not read, for the manifest and the reports. Returns the number of such files, the
    number of those that may hold rows, and the first names with their reasons; names of files that may hold rows come
    first."""
    order = sorted(unread, key=lambda other: not other.counts)
    return {
        "files": len(unread),
        "counted": sum(other.counts for other in unread),
        "named": [f"{other.name}: {other.reason}" for other in order[:_NAMED]],
    }


def log_unread(path: str, found: Mapping[str, Any]) -> None:
    """Logs a summary of files that are not read; as a warning where rows may be missing."""
    if found["files"]:
        named = found["named"][:_LOGGED]
        more = f"; and {found['files'] - len(named)} more" if found["files"] > len(named) else ""
        level = logging.WARNING if found["counted"] else logging.INFO
        log.log(level, "not read of input.path %s: %d, of which %d may hold rows: %s%s",
                path, found["files"], found["counted"], "; ".join(named), more)  # fmt: skip


def lost_files(files: Sequence[InputFile], corpus: Corpus) -> int:
    """Counts the damaged files of a corpus in which no row could be read."""
    empty = {part.path for part in corpus.parts if not part.rows}
    damaged = [file for file in files if any(text.startswith(f"{file.path}: ") for text in corpus.damage)]
    return sum(_is_lost(file, empty) for file in damaged)


def _is_lost(file: InputFile, empty: set[str]) -> bool:
    if is_json_lines(file):
        return next(jsonl.lines(file.path, []), None) is None
    return file.path in empty


@dataclass(frozen=True)
class Losses:
    """Rows that have no translation, known or estimated."""

    quarantined: int
    files: int
    """Files that are not read, or in which no row could be read; each counts as a file with the average number of
    rows."""
    cut_files: int
    """Files that could not be read to the end; each counts as one row, because the number of lost rows is unknown."""
    rows: int
    """Rows that were read."""
    share: float
    """Lost rows divided by all rows, read or not."""


def count(manifest: Mapping[str, Any], quarantined: int) -> Losses:
    """Counts the rows and files that a run lost."""
    rows, files = manifest.get("rows", 0), manifest["identity"]["corpus"]["files"]
    unreadable, damaged = manifest.get("lost_files", 0), len(manifest.get("damaged_files", ()))
    lost, cut = manifest.get("unread", {}).get("counted", 0) + unreadable, max(damaged - unreadable, 0)
    unseen = lost * max(rows / max(files - unreadable, 1), 1) + cut
    return Losses(quarantined, lost, cut, rows, (quarantined + unseen) / max(rows + unseen, 1))
