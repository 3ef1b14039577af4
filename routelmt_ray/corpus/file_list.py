"""Chooses the files that a run reads, and finds those of a growing folder that are new to it.

A run lists its files when it first starts, and reads only these. Files that are added later are for another run, which
names this one as ``input.since_run`` and reads only files that this run, and the runs it followed, did not list.
"""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from routelmt_ray import storage
from routelmt_ray.config.errors import first_of_many
from routelmt_ray.corpus import edits
from routelmt_ray.corpus.input_files import InputFile
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)


class NothingNew(Exception):
    """The folder has no file that an earlier run did not list."""


@dataclass(frozen=True)
class FileList:
    """The list of the files of a run."""

    files: tuple[InputFile, ...]
    """The files that this run reads, in order."""
    earlier: tuple[InputFile, ...] = ()
    """Files of the runs that this run follows."""

    def write(self, run: RunDir) -> None:
        """Writes the list to the run directory, unless an earlier start has written one."""
        if read(run) is None:
            lists = {key: [dataclasses.asdict(file) for file in getattr(self, key)] for key in ("files", "earlier")}
            storage.write_json(run.root / "input" / "files.json", lists)


def read(run: RunDir) -> FileList | None:
    """Reads the list that a run has written; None where it has none."""
    try:
        lists: dict[str, Any] = storage.read_json(run.root / "input" / "files.json")
    except FileNotFoundError:
        return None
    return FileList(*(tuple(InputFile(**file) for file in lists[key]) for key in ("files", "earlier")))


def choose(run: RunDir, found: Sequence[InputFile], since_run: str | None) -> FileList:
    """Chooses the files that a run reads among those that exist.

    Args:
        run: the run; a later start of it reads only what the first start listed. This function does not check whether
            those files still have the same size, beginning and end: their fingerprint does.
        since_run: run directory of the run that this run follows.

    Raises:
        ValueError: `since_run` is no such run, files it listed have changed or are gone, a file of this run was edited,
            or files were added after this run had finished.
        NothingNew: there is nothing to do for a new run.
    """
    if (listed := read(run)) is None:
        earlier = _listed_by(since_run, run, found) if since_run else ()
        known = {file.path for file in earlier}
        files = tuple(file for file in found if file.path not in known)
        if since_run and not files:
            raise NothingNew(f"input.since_run {since_run}: none of the {len(found)} files is new to it; nothing to do")
        return FileList(files, earlier)
    listed = _moved(listed, found)
    names = {file.path: file.name for file in listed.files}
    later = [file.path for file in found if file.path not in names.keys() | {file.path for file in listed.earlier}]
    if later:
        advice = f"read them in a new run_dir with input.since_run={run.root}"
        if (run.manifest() or {}).get("state") == "done":
            raise ValueError(f"run_dir {run.root} is finished and does not list {first_of_many(later)}; {advice}")
        log.warning(
            "left out, because this run had already listed its files when they came: %s; %s",
            first_of_many(later),
            advice,
        )
    # The name of a file depends on how the path is given, as a folder or as a glob; the listed names stay.
    own = [dataclasses.replace(file, name=names[file.path]) for file in found if file.path in names]
    if edited := _edited(run, listed.files, own):
        raise ValueError(
            f"input.path: {first_of_many(edited)} was edited since run_dir {run.root} read it (the size is the same, the content is "
            "not); put it back as it was, or use a new run_dir"
        )
    return FileList(tuple(sorted(own, key=lambda file: file.name)), listed.earlier)


def _edited(run: RunDir, listed: Sequence[InputFile], files: Sequence[InputFile]) -> list[str]:
    return edits.find(run.root / "input", {file.name: file for file in listed}, files)


def _listed_by(since_run: str, run: RunDir, found: Sequence[InputFile]) -> tuple[InputFile, ...]:
    before = RunDir(since_run)
    manifest, lists = before.manifest(), read(before)
    if before.root == run.root:
        raise ValueError(f"input.since_run {since_run} is run_dir itself; name an earlier run")
    if manifest is None or lists is None:
        missing = "manifest.json" if manifest is None else "input/files.json"
        raise ValueError(f"input.since_run {since_run} has no {missing}: not a run directory that lists its files")
    if manifest["state"] != "done":
        log.warning(
            "input.since_run %s is not finished; this run leaves out the files that it lists nevertheless", since_run
        )
    lists, now = _moved(lists, found), {file.path: file for file in found}
    listed = (*lists.earlier, *lists.files)
    gone = [file.path for file in listed if file.path not in now]
    changed = [
        file.path for file in listed if file.path in now and dataclasses.replace(now[file.path], name=file.name) != file
    ]
    changed += _edited(
        before, lists.files, [dataclasses.replace(now[f.path], name=f.name) for f in lists.files if f.path in now]
    )
    for paths, what in ((gone, "are not in input.path any more"), (changed, "have changed since")):
        if paths:
            raise ValueError(
                f"input.since_run {since_run} listed files that {what}: {first_of_many(paths)}; put them back as they were, or "
                "translate the whole folder in a new run without input.since_run"
            )
    return listed


def _moved(lists: FileList, found: Sequence[InputFile]) -> FileList:
    """The list with the new paths where the whole corpus was moved: no old path exists, and names are the same."""
    paths, by_name = {file.path for file in found}, {file.name: file.path for file in found}
    listed = (*lists.earlier, *lists.files)
    if any(file.path in paths for file in listed) or not any(file.name in by_name for file in listed):
        return lists
    return FileList(
        *(
            tuple(dataclasses.replace(file, path=by_name.get(file.name, file.path)) for file in files)
            for files in (lists.files, lists.earlier)
        )
    )
