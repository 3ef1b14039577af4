"""Makes the items of work on a worker when a pipeline needs them. The driver keeps one row for :data:`_RUN` of them."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import ray
from ray.data import Dataset, TaskPoolStrategy

_RUN = 512
"""Most items for which the driver keeps one row. A task that makes them takes a second."""
_POLL_S = 0.25

Task = tuple[str, int]
"""A stage and the number of a shard."""


def dataset(
    tasks: Iterable[Task], item: Callable[[str, int], dict[str, Any]], ready: Callable[[pa.Table], bool] | None = None
) -> Dataset:
    """Makes a dataset with one item of work in each block, in order.

    One task at a time makes items. It hands over each as a block, and continues when that block is taken. It reserves
    no CPU, so that the work it waits for can use the whole machine. `item` runs on a worker. `ready` tells whether an
    item may start yet; the items after it in the same stage wait for it too.
    """
    runs = list(_runs(tasks))
    source = ray.data.from_items(runs, override_num_blocks=len(runs))
    made = source.map_batches(
        _Make(item, ready), batch_format="pyarrow", batch_size=1, num_cpus=0, max_retries=2,
        compute=TaskPoolStrategy(size=1),
    )  # fmt: skip
    split = made.repartition(target_num_rows_per_block=1)
    # The public method accepts neither option. As both steps have the same, Ray Data makes one streaming task of them.
    operator: Any = split._logical_plan.dag
    operator.ray_remote_args["num_cpus"], operator.compute.size = 0, 1
    return split


def _runs(tasks: Iterable[Task]) -> Iterator[dict[str, Any]]:
    """The rows that the driver keeps: neighbouring shards of one stage."""
    for stage, group in itertools.groupby(tasks, key=lambda task: task[0]):
        while shards := [shard for _, shard in itertools.islice(group, _RUN)]:
            yield {"stage": stage, "shards": shards}


class _Make:
    """Makes the items of one row of the driver, as soon as the first of them is ready."""

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
