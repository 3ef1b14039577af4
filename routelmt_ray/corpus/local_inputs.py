"""Finds the files of this machine that a path names: one file, all files below a folder, or those that match a glob.

Other files and folders, which are not read, are listed with the reason.
"""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fsspec.utils import glob_translate

from routelmt_ray.corpus import input_kinds
from routelmt_ray.corpus.input_kinds import IN_RUN, RUN_MARKS, Unread

_DEEP = ("", "**")
"""Ends of globs that match what is in a folder, not the folder itself."""
Found = tuple[str, str]
"""A file's path, and its name inside the corpus."""


def find(path: str) -> tuple[list[Found], list[Unread]]:
    """Finds the files of a corpus, in no particular order, and other files and folders that are not read; see
    :func:`routelmt_ray.corpus.input_files.find`. Linked folders are read too, each once. A folder that matches a glob
    is read as if it were named."""
    if os.path.isdir(path):
        search = _Search(path)
        search.folder(path)
    elif os.path.isfile(path):
        search = _Search(os.path.dirname(path))
        search.take(path)
    else:
        search = _Search(input_kinds.fixed_part(path))
        search.matches(input_kinds.expand_braces(path))
        if not (search.files or search.unread):
            raise ValueError(f"input.path {path}: no such file or folder, and nothing matches it as a glob")
    return [(file, search.name(file)) for file in search.files], list(dict.fromkeys(search.unread))


@dataclass
class _Search:
    """A search for files, with what it has found so far."""

    root: str
    files: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)
    """Files that were looked at, by their paths without links to folders."""
    _real_folders: dict[str, str] = field(default_factory=dict)
    _folders: dict[str, str | None] = field(default_factory=dict)
    """Reason why a folder is not read, or None, for each folder that was looked at."""

    def name(self, path: str) -> str:
        """Computes the name of a file or folder inside the corpus."""
        return os.path.relpath(path, self.root or ".")

    def folder(self, path: str, wanted: re.Pattern[str] | None = None, asked: Sequence[str] = ()) -> None:
        """Adds all files below a folder; real folders before linked ones, so that a file keeps its plain name. The path
        of a file, or of a folder above it, must match `wanted`, if there is one; `asked` has the parts of the glob
        between its slashes."""
        seen, waiting, linked = set[str](), [(path, wanted is None)], list[tuple[str, bool]]()
        above, underscores = os.path.realpath(self.root or "."), any(part.startswith("_") for part in asked)
        while waiting or linked:
            at, whole = waiting.pop() if waiting else linked.pop()
            if (real := os.path.realpath(at or ".")) in seen:
                continue  # linked from elsewhere, or a loop
            seen.add(real)
            if at != path and above.startswith(os.path.join(real, "")):
                self._leave(at, "a link to a folder that this one is in", True)
                continue
            try:
                with os.scandir(at or ".") as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if at == path:
                    raise ValueError(f"input.path: {path} cannot be listed: {error.strerror}") from None
                self._leave(at, f"cannot be listed: {error.strerror}", True)
                continue
            reason = self._why_not(at, [entry.name for entry in found])
            if reason is not None and "output" not in asked:
                self._leave(at, reason)
                continue
            for entry in found:
                inner, is_folder = os.path.join(at, entry.name), _is_folder(entry)
                chosen = whole or (wanted is not None and wanted.match(inner) is not None)
                if reason is not None and entry.name != "output":
                    continue
                if entry.name.startswith(".") or (entry.name.startswith("_") and not underscores):
                    self.unread += input_kinds.hidden(self.name(inner) + "/") if is_folder else []
                    self.unread += input_kinds.hidden(self.name(inner)) if chosen and not is_folder else []
                elif is_folder:
                    whole_folder = whole or (chosen and asked[-1] not in _DEEP)
                    (linked if entry.is_symlink() else waiting).append((inner, whole_folder))
                elif chosen:
                    self.take(inner)

    def matches(self, patterns: Sequence[str]) -> None:
        """Adds the files and folders that match globs."""
        for pattern in patterns:
            asked = pattern.removeprefix(self.root).split("/")
            if "**" in asked:  # glob would go around in linked folders
                self.folder(input_kinds.fixed_part(pattern), re.compile(glob_translate(pattern)), asked)
            else:
                for path in sorted(glob.glob(pattern)):
                    self._match(path, asked)

    def _match(self, path: str, asked: Sequence[str]) -> None:
        is_folder = os.path.isdir(path)
        parts = self.name(path).split("/")
        folders = parts if is_folder else parts[:-1]
        below = next((n for n, part in enumerate(folders) if part.startswith("_")), None)
        # A star does not match a name that begins with "_", as in a shell it does not match a hidden name.
        if below is not None and not any(part.startswith("_") for part in asked):
            self.unread += input_kinds.hidden("/".join(folders[: below + 1]) + "/")
        elif self._is_outside_runs(path if is_folder else os.path.dirname(path), "output" in asked):
            if is_folder:
                self.folder(path)
            else:
                self.take(path)

    def take(self, path: str) -> None:
        """Adds a file, or records why it is not read; each file once."""
        real = os.path.join(self._real(os.path.dirname(path)), os.path.basename(path))
        if real in self._taken:
            return
        self._taken.add(real)
        unread = input_kinds.why_unread(self.name(path))
        if unread is None:
            self.files.append(path)
        else:
            self.unread.append(unread)

    def _leave(self, folder: str, reason: str, counts: bool = False) -> None:
        self.unread.append(Unread(self.name(folder) + "/", reason, counts))

    def _real(self, folder: str) -> str:
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder or ".")
        return self._real_folders[folder]

    def _is_outside_runs(self, folder: str, output: bool) -> bool:
        """False for a folder in a run directory; its output counts as outside where a glob names ``output`` itself."""
        parts = self.name(folder).split("/")
        for n in range(len(parts) + 1):
            at = os.path.join(self.root, *parts[:n]) if parts != ["."] else self.root
            if at not in self._folders and (reason := self._why_not(at, _names(at))):
                self._leave(at, reason)
            if self._folders[at] and not (output and parts[n : n + 1] == ["output"]):
                return False
        return True

    def _why_not(self, folder: str, names: Sequence[str]) -> str | None:
        """Explains why a folder is not read. Raises ValueError if it is a table of another system, or a run directory
        that the path itself names."""
        input_kinds.refuse_table(folder, names, _names(os.path.join(folder, "metadata")) if "metadata" in names else ())
        reason = None
        if RUN_MARKS[0] in names and os.path.isfile(os.path.join(folder, RUN_MARKS[1])):
            if os.path.abspath(folder) == os.path.abspath(self.root or "."):
                input_kinds.refuse_run(folder)
            reason = IN_RUN
        self._folders[folder] = reason
        return reason


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder or ".")
    except OSError:
        return []
