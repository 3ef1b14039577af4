"""Jobs without Ray: their pipelines run in this process, one shard after another, each stage as Ray Data would call it.

A job on a cluster costs five CPU-seconds, most of them for processes and messages, and one here a few tenths. It is for
tests of what a job computes. Where Ray is the point, or how stages, actors and clusters go together, a test takes
`local_ray`. Stages and their arguments are copied by pickle, as on their way to a worker.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
import ray.exceptions
from ray import cloudpickle
from ray.data import DataContext

from routelmt_ray.reports import audit_plots, budget_plots, plots
from routelmt_ray.runtime import cluster, placement, work_items

NODE = {"CPU": 4.0}
"""Resources of a machine, for which pools are chosen."""
PICTURES = (plots, budget_plots, audit_plots)
"""Modules that draw the pictures of a report. They take half the time of a small job here; `tests/evaluation` tests them."""
SKIPPED = logging.getLogger("ray.data._internal.execution.streaming_executor_state")
"""Logger to which Ray Data writes the error of a shard that it skips."""

Item = tuple[str, int]
Stage = Callable[[pa.Table], pa.Table]


class Plain:
    """The part of a dataset of items of work that `routelmt_ray.runtime.pipelines` uses."""

    def __init__(self, tasks: Sequence[Item], item: Callable[..., dict[str, Any]], ready: Any = None) -> None:
        self._tasks, self._item, self._ready = list(tasks), item, ready
        self._makers: list[Callable[[], Stage]] = []
        self._branches = [self]

    def map_batches(self, stage: Stage, **_: Any) -> "Plain":
        """Adds a stage that runs as tasks."""
        self._makers.append(lambda: _sent(stage))
        return self

    def map_batches_internal(self, stage: type, *, fn_constructor_args: tuple[Any, ...], **_: Any) -> "Plain":
        """Adds a stage that runs on actors; one instance is made, when the first shard comes to it."""
        self._makers.append(lambda: _sent(stage)(*_sent(fn_constructor_args)))
        return self

    def union(self, *others: "Plain") -> "Plain":
        """Runs several works by turns."""
        self._branches = [self, *others]
        return self

    def iter_batches(self, **_: Any) -> Iterator[pa.Table]:
        """Runs all shards; gives what the last stages give."""
        room = DataContext.get_current().max_errored_blocks
        turns = [branch._run() for branch in self._branches]
        while turns:
            waiting = 0
            for turn in list(turns):
                found = next(turn, None)
                if found is None:
                    turns.remove(turn)
                elif isinstance(found, Exception):
                    room -= 1
                    if room < 0:
                        raise ray.exceptions.RayError(str(found)) from found
                    SKIPPED.error("a shard is skipped", exc_info=found)
                elif isinstance(found, pa.Table):
                    yield found
                else:
                    waiting += 1
            assert not turns or waiting < len(turns), "every work waits for another"

    def _run(self) -> Iterator[pa.Table | Exception | bool]:
        """Gives a table or an error for each shard, and True while the next one is not ready."""
        stages: list[Any] = []
        try:
            for stage, shard in self._tasks:
                table = pa.Table.from_pylist([self._item(stage, shard)])
                while self._ready is not None and not self._ready(table):
                    yield True
                try:
                    for number, make in enumerate(self._makers):
                        if not table.num_rows:
                            break
                        if number == len(stages):
                            stages.append(make())
                        table = stages[number](table)
                except Exception as error:
                    yield error
                else:
                    yield table
        finally:
            for held in stages:  # an actor writes no more once its pool has ended
                if hasattr(held, "_host"):
                    held._host.meter.close()


def _sent(value: Any) -> Any:
    return cloudpickle.loads(cloudpickle.dumps(value))


@contextmanager
def without_ray(pictures: bool = False) -> Iterator[None]:
    """Has the jobs in this process run their pipelines and tasks here, and write reports with pictures or without them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work_items, "dataset", Plain)
        patch.setattr(cluster, "start", lambda config: None)
        patch.setattr(cluster, "check_pools", lambda pools, address: None)
        patch.setattr(cluster, "pools_fit_together", lambda pools: placement.fit(pools, [NODE]))
        patch.setattr(cluster, "each", lambda function, arguments: [function(*words) for words in arguments])
        patch.setattr(cluster, "stream", lambda function, arguments: (function(*words) for words in arguments))
        for module in () if pictures else PICTURES:
            for name in [name for name, value in vars(module).items() if hasattr(value, "__wrapped__")]:
                patch.setattr(module, name, lambda *_, **__: "")
        yield
