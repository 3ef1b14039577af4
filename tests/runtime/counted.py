"""A small pipeline on Ray: shards of very different size go through an actor, and their rows are counted."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt_ray.config.common import PoolConfig
from routelmt_ray.runtime import pipelines
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.storage.rundir import RunDir

POOL = PoolConfig(actors=1, cpus=0.1)


class Grow:
    """Makes a shard of very different size of each item."""

    def __call__(self, item: pa.Table) -> pa.Table:
        shard = item["shard"][0].as_py()
        return pa.table({"shard": [shard] * (1 + shard * 2000), "payload": ["x" * 40] * (1 + shard * 2000)})


class Pass:
    """Holds nothing; notes each shard it saw, and may fail on one."""

    def __init__(self, seen: Path, poison: int, how: str) -> None:
        self._seen, self._poison, self._how = seen, poison, how

    def __call__(self, table: pa.Table) -> pa.Table:
        shards = set(table["shard"].to_pylist())
        assert len(shards) == 1, "a block holds rows of two shards"
        shard = shards.pop()
        with (self._seen / str(shard)).open("a") as notes:
            notes.write("x")
        if shard == self._poison:
            if self._how == "raise":
                raise ValueError("poison")
            os._exit(1)
        return table


class Commit:
    """Commits the number of rows that arrived."""

    def __init__(self, run: RunDir) -> None:
        self._run = run

    def __call__(self, table: pa.Table) -> pa.Table:
        shard = table["shard"][0].as_py()
        self._run.commit("work", shard, pa.table({"n": [table.num_rows]}), {"rows": table.num_rows})
        return pa.table({"shard": [shard], "rows": [table.num_rows]})


class Opened:
    """Ready once a file of the item's stage is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, item: pa.Table) -> bool:
        return (self._folder / item["stage"][0].as_py()).exists()


def go(
    run: RunDir,
    seen: Path,
    shards: int,
    poison: int = -1,
    how: str = "raise",
    rounds: int = 2,
    on_commit: Callable[[str, int, Any], None] | None = None,
) -> int:
    seen.mkdir(exist_ok=True)

    def pipeline(items: Any) -> Any:
        rows = pipelines.on_tasks(items, Grow(), first=True)
        rows = pipelines.on_actors(rows, Pass, (seen, poison, how), POOL)
        return pipelines.on_tasks(rows, Commit(run))

    work = pipelines.Work.of_stage(
        "work", "work", dict.fromkeys(range(shards), 1), lambda shard: {"shard": shard}, pipeline
    )
    with Progress() as progress:
        return pipelines.run(run, [work], rounds, progress, on_commit)
