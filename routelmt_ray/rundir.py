"""The run directory: all state of a job, and its layout.

manifest.json    what the run is made of (refused when it changes) and how far it got
input/           the list of input files, the schema, and JSON Lines staged to Parquet
scores/          predicted gain and status of every row, by shard
plan/            000.json, 001.json … one entry for every budget asked for
small/ large/    translations by plan entry and shard, e.g. large/000/shard-000017.parquet
output/          the merged rows; `_SUCCESS` stands there once it is whole
meter/           device-seconds, a file an actor that held a model; see metering.py
profile/         what models cost, measured on a sample; see profiling.py
quarantine/      rows no model could take, whole, with the reason
report.html, report.json
"""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt_ray import storage

_SHARD = re.compile(r"shard-(\d+)\.parquet")


class RunDir:
    """Names, commits and entries of one run directory. Cheap to send to a worker."""

    def __init__(self, root: str | Path) -> None:
        """Args: root: the folder; made when something is first written."""
        self.root = Path(root).absolute()

    def shard_path(self, stage: str, shard: int) -> Path:
        """Name of a shard's file; ``stage`` may have parts, such as ``large/000``."""
        return self.root / stage / f"shard-{shard:06d}.parquet"

    def committed(self, stage: str) -> set[int]:
        """Shards of a stage that are finished."""
        matches = (_SHARD.fullmatch(name) for name in storage.list_names(self.root / stage))
        return {int(match[1]) for match in matches if match}

    def commit_times(self, stage: str) -> dict[int, float]:
        """When each finished shard of a stage was committed, seconds since the epoch."""
        matches = ((_SHARD.fullmatch(name), at) for name, at in storage.modified_s(self.root / stage).items())
        return {int(match[1]): at for match, at in matches if match}

    def commit(self, stage: str, shard: int, table: pa.Table, meta: dict[str, Any], **parquet_options: Any) -> bool:
        """Publishes a shard's file once; see :func:`routelmt_ray.storage.publish_table`."""
        return storage.publish_table(self.shard_path(stage, shard), table, meta, **parquet_options)

    def metas(self, stage: str) -> dict[int, dict[str, Any]]:
        """What each commit of a stage left for the driver, by shard."""
        shards = sorted(self.committed(stage))
        with ThreadPoolExecutor(16) as threads:
            return dict(zip(shards, threads.map(lambda s: storage.read_meta(self.shard_path(stage, s)), shards)))

    def clear(self, stage: str) -> None:
        """Removes all of a stage."""
        shutil.rmtree(self.root / stage, ignore_errors=True)

    def remove_leftovers(self) -> int:
        """Deletes temporary files of killed writers; returns how many there were."""
        found = list(storage.leftovers(self.root))
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    # The manifest

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or None in a fresh run directory."""
        try:
            value = storage.read_json(self.root / "manifest.json")
        except FileNotFoundError:
            return None
        assert isinstance(value, dict)
        return value

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replaces the manifest."""
        storage.write_json(self.root / "manifest.json", manifest)

    # Plan entries

    def plans(self) -> list[dict[str, Any]]:
        """Every plan entry, oldest first."""
        folder = self.root / "plan"
        return [storage.read_json(folder / name) for name in storage.list_names(folder) if name.endswith(".json")]

    def plan_path(self, number: int) -> Path:
        """Where a plan entry stands."""
        return self.root / "plan" / f"{number:03d}.json"

    def plan(self, number: int) -> dict[str, Any]:
        """One plan entry.

        Raises:
            FileNotFoundError: it is not written yet.
        """
        entry: dict[str, Any] = storage.read_json(self.plan_path(number))
        return entry

    def write_plan(self, entry: dict[str, Any]) -> None:
        """Writes a plan entry under its number."""
        storage.write_json(self.plan_path(entry["entry"]), entry)


def differences(recorded: Any, wanted: Any, at: str = "") -> list[str]:
    """Where two nested dicts differ, as ``key: recorded -> wanted`` lines."""
    if isinstance(recorded, dict) and isinstance(wanted, dict):
        keys = sorted(set(recorded) | set(wanted))
        prefix = f"{at}." if at else ""
        return [line for key in keys for line in differences(recorded.get(key), wanted.get(key), f"{prefix}{key}")]
    return [] if recorded == wanted else [f"{at}: {recorded!r} -> {wanted!r}"]
