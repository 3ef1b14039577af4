"""Finds edits that change neither the size of an input file nor its beginning and end.

JSON Lines are read whole when they are staged, so that a digest of the whole file costs little then. A later start
compares it where the time of modification is another one. Parquet is not read whole: its footer, which is at the end,
has sizes and statistics of every column, and a file that was only touched or copied has the same footer.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from routelmt_ray import storage
from routelmt_ray.config.errors import first_of_many
from routelmt_ray.corpus.input_files import InputFile, is_json_lines

log = logging.getLogger(__name__)

CORPUS = "corpus.json"
"""File in the run directory's ``input/`` with what was found in the corpus; `digests` has those of staged files by
name."""


def digest(path: str) -> str | None:
    """Computes the SHA-256 of the whole file, in hexadecimal; None on S3, where its tag changes with the content."""
    if storage.is_s3(path):
        return None
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def find(folder: storage.Location, listed: Mapping[str, InputFile], files: Sequence[InputFile]) -> list[str]:
    """Finds the files that were edited since a run staged them; warns about Parquet files that may have been. `folder`
    is the run directory's ``input/``, `listed` has the files as the run listed them, by name, and `files` has them as
    they are now."""
    again = [file for file in files if file.name in listed and _written_again(listed[file.name], file)]
    kept: dict[str, Any] = {}
    if again and storage.exists(folder / CORPUS):
        kept = storage.read_json(folder / CORPUS).get("digests", {})
    staged = [file for file in again if kept.get(file.name)]
    found = storage.in_threads(lambda file: digest(file.path), staged)
    if unknown := [file.path for file in again if not is_json_lines(file)]:
        log.warning(
            "%d files were written again, or copied, since %s listed them: %s; as their size, beginning and end are the same, the "
            "job assumes that all of their content is", len(unknown), folder.parent, first_of_many(unknown),
        )  # fmt: skip
    return [file.path for file, now in zip(staged, found) if now != kept[file.name]]


def _written_again(before: InputFile, now: InputFile) -> bool:
    same = (before.size_bytes, before.edge_digest) == (now.size_bytes, now.edge_digest)
    return same and before.modified_s != now.modified_s
