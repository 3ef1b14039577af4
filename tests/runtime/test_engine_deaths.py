"""Deaths of engines in real actors: one that Ray replaced has crashed, one that the end of an execution killed has not."""

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from routelmt_ray.config.common import PoolConfig
from routelmt_ray.runtime import pipelines, suspects
from routelmt_ray.runtime.engine_host import EngineHost
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.runtime.readings import BUSY, LOADING, crashed, failed_loads, readings
from routelmt_ray.storage.rundir import RunDir
from tests.runtime.counted import Commit

pytestmark = pytest.mark.usefixtures("local_ray")


def happens_first(note: Path) -> bool:
    """Tells whether this is the first of all processes to do a thing."""
    try:
        note.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Mortal:
    """Holds an engine. Its first process dies while it loads, the second one over shard 1."""

    def __init__(self, run: RunDir, notes: Path) -> None:
        self._notes = notes

        def load() -> None:
            if happens_first(notes / "loads"):
                os.kill(os.getpid(), signal.SIGKILL)

        self._host = EngineHost(run, "small", PoolConfig(), load)

    def __call__(self, table: pa.Table) -> pa.Table:
        shard = table["shard"][0].as_py()

        def ask(rows: Any) -> Any:
            if shard == 1 and happens_first(self._notes / "works"):
                os.kill(os.getpid(), signal.SIGKILL)
            return rows

        self._host.answers("work", shard, [1, 2], ask)
        return table


class Slow(Mortal):
    """Of two that start together one never finishes to load."""

    def __init__(self, run: RunDir, notes: Path) -> None:
        (notes / "loads").touch()
        if happens_first(notes / "slow"):
            EngineHost(run, "small", PoolConfig(), lambda: time.sleep(600))
        super().__init__(run, notes)


def go(run: RunDir, stage: type, shards: range, notes: Path, actors: int) -> None:
    def pipeline(items: Any) -> Any:
        rows = pipelines.on_actors(items, stage, (run, notes), PoolConfig(actors=actors, cpus=0.1), torch=False)
        return pipelines.on_tasks(rows, Commit(run))

    rows = dict.fromkeys(shards, 1)
    work = pipelines.Work.of_stage("work", "work", rows, lambda shard: {"shard": shard}, pipeline)
    with Progress() as progress:
        pipelines.run(run, [work], 1, progress)


def test_deaths_that_nobody_ordered_are_counted_each_once(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    go(run, Mortal, range(3), tmp_path, 1)
    found = readings(run)
    assert len(found) == 3 and len({reading.pid for reading in found}) == 3
    assert len({reading.actor for reading in found}) == 1, "Ray starts an actor again under its id"
    assert [reading.state for reading in crashed(found)] == [LOADING, BUSY]
    assert failed_loads(found, "small", socket.gethostname(), "") == [], "an engine has loaded since"
    assert [(name, mark.deaths_in_all) for name, mark in suspects.deaths(run)] == [("work/shard-000001", 1)]

    go(run, Slow, range(3, 5), tmp_path, 2)
    both = readings(run)
    assert len({reading.actor for reading in both}) == 3, "another execution has other actors"
    assert [reading.state for reading in both].count(LOADING) == 2, "one of them did not load before the end"
    assert crashed(both) == crashed(found), "it ended by order of the job"
