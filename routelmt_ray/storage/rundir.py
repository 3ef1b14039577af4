"""The run directory: all state of a job, and its layout.

manifest.json    format of the directory, the settings of the run (a change is refused) and how far it got
input/           the list of input files, the schema, and JSON Lines staged to Parquet
repeats/         rows whose segment occurs in an earlier row, by section of the corpus and shard; see stages/repeats.py
memory/          what the memory of earlier runs had, by section, model and shard, and what it got; see stages/memory.py
scores/          predicted gain and status of every row, by shard
plan/            000.json, 001.json … one entry for every requested budget
small/ large/    translations by plan entry and shard, e.g. large/000/shard-000017.parquet
judge/           quality of translations by the judge, by plan entry and shard
quality/         of a label run: quality of both translations, by metric and shard
attempts/        marks of batches that an engine works on, to find the row that ends it
shared/          what repeats get from the first row of their segment; see stages/shared.py
lengths/         lengths of translations by language pair and shard; see checks/length.py
output/          the merged rows; `_SUCCESS` is written once they are complete
meter/           device-seconds, one file for every process that held a model; old ones are merged; see runtime/readings.py
profile/         the cost of the models, measured on a sample; see profiling.py
quarantine/      rows that no model could process, with all columns and the reason
account.json     the account that gives the budget, and the id of the run in it; see job/account_run.py
lease.json       which driver works in it; see lease.py
report.html, report.json
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pyarrow as pa

from routelmt_ray import __version__, storage
from routelmt_ray.storage.dependents import remove_dependents

log = logging.getLogger(__name__)

FORMAT = 2
"""Version of the layout of a run directory and of the content of its files. It increases with a change that another
version would read wrongly. Run directories from before version 0.2.0 have format 1."""
ACCOUNT = "account.json"
"""Name of the file that names the account of a run."""
SUCCESS = "_SUCCESS"
"""Name of the file that marks a folder as complete."""
_SHARD = re.compile(r"shard-(\d+)\.parquet")
_SETTLED_S = 2.0
"""A file may be replaced twice within one tick of its clock. One that was read so soon after a change is read again."""

T = TypeVar("T")


class RunDir:
    """Reads and writes one run directory. It is small to send to a worker, and remembers the files it has read."""

    def __init__(self, root: str | storage.Location) -> None:
        """Args: root: the folder, or `s3://bucket/prefix`; it is made by the first write."""
        self.root = storage.path(root)
        self._looks: dict[str, tuple[storage.Entry, storage.Look]] = {}
        self._parsed: dict[str, dict[str, tuple[storage.Entry, Any, float]]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return RunDir, (self.root,)  # what it remembers of files is not sent

    def folder(self, stage: str) -> storage.Location:
        """Builds the location of the folder of a stage."""
        return storage.below(self.root, stage)

    def shard_path(self, stage: str, shard: int) -> storage.Location:
        """Builds the location of the file of a shard. ``stage`` may have parts, such as ``large/000``."""
        return self.folder(stage) / f"shard-{shard:06d}.parquet"

    def committed(self, stage: str) -> set[int]:
        """Finds the finished shards of a stage."""
        matches = (_SHARD.fullmatch(name) for name in storage.list_names(self.folder(stage)))
        return {int(match[1]) for match in matches if match}

    def commit_times(self, stage: str) -> dict[int, float]:
        """Reads when each finished shard of a stage was committed, in seconds since the epoch."""
        found = ((_SHARD.fullmatch(file.name), file.modified_s) for file in storage.entries(self.folder(stage)))
        return {int(match[1]): at for match, at in found if match}

    def commit(self, stage: str, shard: int, table: pa.Table, meta: dict[str, Any], **parquet_options: Any) -> bool:
        """Publishes a new file of a shard; see :func:`routelmt_ray.storage.publish_table`."""
        return storage.publish_table(self.shard_path(stage, shard), table, meta, **parquet_options)

    def metas(self, stage: str) -> dict[int, dict[str, Any]]:
        """Reads the summary that each commit of a stage left for the driver, by shard. Raises storage.Damaged if a file
        is damaged."""
        listed = self._listed(stage)
        shards = {name: match for name in listed if (match := _SHARD.fullmatch(name, len(stage) + 1))}
        found = {}
        for name, look in self._look({name: listed[name] for name in shards}).items():
            if look.wrong:
                raise storage.Damaged(f"{self.root / name} is damaged: {look.wrong}")
            found[int(shards[name][1])] = storage.parse_meta(self.root / name, look.summary)
        return dict(sorted(found.items()))

    def _listed(self, stage: str | None) -> dict[str, storage.Entry]:
        """The files of a stage, or of the whole run directory, by their names in the run directory."""
        if stage is None:
            return {file.name: file for file in storage.entries(self.root)}
        files = storage.entries(self.folder(stage))
        return {(name := f"{stage}/{file.name}"): replace(file, name=name) for file in files}

    def _look(self, files: Mapping[str, storage.Entry]) -> dict[str, storage.Look]:
        """Checks the end of files, by name in the run directory. A known file is checked again only if it changed."""
        new = [name for name, file in files.items() if self._looks.get(name, (None,))[0] != file]
        seen = storage.in_threads(lambda name: storage.look(self.root / name, files[name].size_bytes), new)
        self._looks |= {name: (files[name], look) for name, look in zip(new, seen)}
        return {name: self._looks[name][1] for name in files}

    def parsed(self, folder: str, parse: Callable[[storage.Location], T]) -> dict[str, T]:
        """Reads the small files of a folder, by name. One that has not changed since the last call is not read again.
        Files in the folder appear whole, and `parse`, always the same function for one folder, reads one of them."""
        files = {file.name: file for file in storage.entries(self.root / folder)}
        before, now = self._parsed.get(folder, {}), time.time()
        kept = {name: known for name, file in files.items() if (known := before.get(name)) and _is_current(file, known)}

        def read(name: str) -> tuple[storage.Entry, T, float] | None:
            try:
                return files[name], parse(self.root / folder / name), now
            except FileNotFoundError:  # removed since it was listed
                return None

        new = [name for name in files if name not in kept]
        kept |= {name: found for name, found in zip(new, storage.in_threads(read, new)) if found}
        self._parsed[folder] = kept
        return {name: kept[name][1] for name in files if name in kept}

    def clear(self, stage: str) -> None:
        """Removes all files of a stage."""
        storage.remove_tree(self.folder(stage))

    def remove_leftovers(self) -> int:
        """Deletes the temporary files of killed writers; returns their number.

        Those of ``lease.json`` stay: this driver, or one that waits for the lease, may be writing one now.
        """
        found = [path for path in storage.leftovers(self.root) if not path.name.startswith(".lease.json.")]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def damaged(self, stage: str | None = None) -> dict[str, str]:
        """Finds the committed files that were altered after they were written. Files of the input are not checked here.

        It checks the end of every file, and whether a reader left a mark. It reads a file completely if that file was
        written after its folder was complete. Returns what is wrong with each file, by its name in the run directory.
        """
        found = self._listed(stage)
        tables = {name: f for name, f in found.items() if name.endswith(".parquet") and not name.startswith("input/")}
        looks = self._look({name: file for name, file in tables.items() if name + storage.DAMAGED_MARK not in found})

        def wrong(name: str) -> str | None:
            if name not in looks:
                return storage.read_bytes(self.root / (name + storage.DAMAGED_MARK)).decode()
            success = found.get(_folder(name) + SUCCESS)
            if looks[name].wrong or success is None or tables[name].modified_s < success.modified_s:
                return looks[name].wrong
            try:
                with storage.open_table(self.root / name, whole=True) as table:
                    for _ in table.iter_batches():
                        pass
            except storage.Damaged as error:
                return str(error)
            return None

        return {name: words for name, words in zip(tables, storage.in_threads(wrong, tables)) if words}

    def remove_damaged(self) -> list[str]:
        """Removes the files that :meth:`damaged` finds and those that depend on them; returns their names.

        A damaged file goes after those that depend on it, so that a start after a kill finds it again. Its mark tells of
        damage that is only looked for in a complete folder.
        """
        found = self.damaged()
        for name, wrong in found.items():
            log.warning("%s is damaged (%s); it was removed and is made again", self.root / name, wrong)
            storage.write_text(self.root / (name + storage.DAMAGED_MARK), wrong)
        dependents = remove_dependents(self, list(found))
        for name in found:
            # A shard of the output says that its quarantine is complete, a mark that a folder is: both must go.
            same_shard = "output/" + name.removeprefix("quarantine/") if name.startswith("quarantine/") else name
            for gone in (_folder(same_shard) + SUCCESS, same_shard, name, name + storage.DAMAGED_MARK):
                storage.remove(self.root / gone)
        return list(dict.fromkeys([*found, *dependents]))

    # The manifest

    def manifest(self) -> dict[str, Any] | None:
        """Reads the manifest. Returns None in a new run directory. Raises ValueError if the manifest was altered, or
        another version with another format wrote it."""
        try:
            value = storage.read_json(self.root / "manifest.json")
        except FileNotFoundError:
            return None
        if not isinstance(value, dict):
            raise ValueError(f"{self.root / 'manifest.json'} is not a manifest; put it back, or use another run_dir")
        if (found := value.get("format")) != FORMAT:
            raise ValueError(_another_format(self.root, found, value.get("versions")))
        return value

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replaces the manifest, and sets its format to that of this version."""
        storage.write_json(self.root / "manifest.json", {**manifest, "format": FORMAT})

    # Plan entries

    def plans(self) -> list[dict[str, Any]]:
        """Reads all plan entries, oldest first."""
        folder = self.root / "plan"
        return [storage.read_json(folder / name) for name in storage.list_names(folder) if name.endswith(".json")]

    def plan_path(self, number: int) -> storage.Location:
        """Builds the location of a plan entry."""
        return self.root / "plan" / f"{number:03d}.json"

    def plan(self, number: int) -> dict[str, Any]:
        """Reads one plan entry."""
        return storage.read_json(self.plan_path(number))

    def write_plan(self, entry: dict[str, Any]) -> None:
        """Writes a plan entry under its number."""
        storage.write_json(self.plan_path(entry["entry"]), entry)


def _another_format(root: storage.Location, found: Any, versions: Any) -> str:
    """The message that another version wrote a run directory: which one, if known, and what to do."""
    age = "a newer" if isinstance(found, int) and found > FORMAT else "an older"
    writer = versions.get("routelmt_ray") if isinstance(versions, dict) else None
    return (
        f"run_dir {root} has {'no format' if found is None else f'format {found!r}'}: {age} version of RouteLMT on Ray "
        f"wrote it{f' ({writer})' if writer else ''}. This one, {__version__}, reads format {FORMAT}. Go on with the "
        "version that wrote it, or start in a new run_dir"
    )


def _is_current(file: storage.Entry, known: tuple[storage.Entry, Any, float]) -> bool:
    """True where the content that was read from a file is still its content."""
    entry, _, read_at = known
    return file == entry and bool(file.tag or read_at - file.modified_s > _SETTLED_S)


def _folder(name: str) -> str:
    """The folder of a file, with its slash; empty for a file in no folder."""
    return name[: name.rfind("/") + 1]


def differences(recorded: Any, wanted: Any, at: str = "") -> list[str]:
    """Lists the differences between two nested dicts, as ``key: recorded -> wanted`` lines."""
    if isinstance(recorded, dict) and isinstance(wanted, dict):
        keys = sorted(set(recorded) | set(wanted))
        prefix = f"{at}." if at else ""
        return [line for key in keys for line in differences(recorded.get(key), wanted.get(key), f"{prefix}{key}")]
    return [] if recorded == wanted else [f"{at}: {recorded!r} -> {wanted!r}"]
