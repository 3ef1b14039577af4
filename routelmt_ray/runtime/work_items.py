"""Items of work, made on a worker as a pipeline asks for them: the driver keeps one row for every few hundred of them."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import ray
from ray.data import Dataset, TaskPoolStrategy

_RUN = 512
"""Most items of one row of the driver's: a task that makes them takes a second."""
_POLL_S = 0.25

Task = tuple[str, int]
"""A stage and the number of a shard."""


def dataset(
    tasks: Iterable[Task], item: Callable[[str, int], dict[str, Any]], ready: Callable[[pa.Table], bool] | None = None
) -> Dataset:
    """Makes a dataset with one item of work a block, in order.

    One task at a time makes items, gives each away as a block, and goes on when it is taken. It reserves no CPU, so that
    what is waited for has all of the machine.

    Args:
        tasks: what to do, in order.
        item: the item of work of a stage's shard; sent to a worker.
        ready: tells of an item whether it may go on yet, and with it the items of the same stage that follow.
    """
    runs = list(_runs(tasks))
    source = ray.data.from_items(runs, override_num_blocks=len(runs))
    made = source.map_batches(
        _Make(item, ready), batch_format="pyarrow", batch_size=1, num_cpus=0, max_retries=2,
        compute=TaskPoolStrategy(size=1),
    )  # fmt: skip
    split = made.repartition(target_num_rows_per_block=1)
    # The public method takes neither. As they are the same for both, Ray Data makes one task of the two, which streams.
    operator: Any = split._logical_plan.dag
    operator.ray_remote_args["num_cpus"], operator.compute.size = 0, 1
    return split


def _runs(tasks: Iterable[Task]) -> Iterator[dict[str, Any]]:
    """Rows of the driver: neighbouring shards of one stage."""
    for stage, group in itertools.groupby(tasks, key=lambda task: task[0]):
        while shards := [shard for _, shard in itertools.islice(group, _RUN)]:
            yield {"stage": stage, "shards": shards}


class _Make:
    """Makes the items of one row of the driver's, as soon as they are ready."""

    __name__ = "Items"

    def __init__(
        self, item: Callable[[str, int], dict[str, Any]], ready: Callable[[pa.Table], bool] | None = None
    ) -> None:
        self._item, self._ready = item, ready

    def __call__(self, run: pa.Table) -> pa.Table:
        stage, shards = run["stage"][0].as_py(), run["shards"][0].as_py()
        first = self._item(stage, shards[0])
        while self._ready is not None and not self._ready(pa.Table.from_pylist([first])):
            time.sleep(_POLL_S)
        return pa.Table.from_pylist([first, *(self._item(stage, shard) for shard in shards[1:])])
