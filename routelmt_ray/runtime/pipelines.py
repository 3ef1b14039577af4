"""Runs pipelines over shards, in rounds until every shard is committed.

Stages run on tasks or on actors, and items can wait until they are ready. A shard stays one block from the first stage
to the last, and the number of retries is limited; ``tests/runtime/test_pipelines.py`` asserts both.
"""

import logging
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.data.exceptions import SystemException

from routelmt_ray.config.common import PoolConfig
from routelmt_ray.runtime import work_items
from routelmt_ray.runtime.cluster import WITH_TORCH
from routelmt_ray.runtime.placement import TASK_CPUS
from routelmt_ray.runtime.suspects import MOST_DEATHS
from routelmt_ray.runtime.telemetry import figures
from routelmt_ray.runtime.work_items import Task
from routelmt_ray.storage.rundir import RunDir

if TYPE_CHECKING:  # rich, which no worker needs
    from routelmt_ray.runtime.progress import Progress

log = logging.getLogger(__name__)

_RAY_WRAPS = "\n\nThe above exception was the direct cause"
_EXCEPTION = re.compile(r"(?:\w+\.)*(\w+: .+)")
"""The last line of a traceback; the group leaves out the module of the exception."""


class StageFailed(RuntimeError):
    """Shards of a stage did not commit in any round. A new start of the job tries them again."""


def on_tasks(dataset: Dataset, stage: Callable[[pa.Table], pa.Table], *, first: bool = False) -> Dataset:
    """Adds a stage that runs as plain tasks. The first stage of a pipeline gets one item of work in each block."""
    size = 1 if first else None  # any other batch size would merge shards
    return dataset.map_batches(
        _Task(stage), batch_format="pyarrow", batch_size=size, zero_copy_batch=True, num_cpus=TASK_CPUS, max_retries=2
    )


def on_actors(
    dataset: Dataset,
    stage: type,
    arguments: tuple[Any, ...],
    pool: PoolConfig,
    python: str | None = None,
    calls: int = 1,
    torch: bool = True,
) -> Dataset:
    """Adds a stage whose instances live in a pool of actors, each loaded once.

    With ``python`` they run under that interpreter. Its environment must have this project, and the same versions of
    Python and Ray. Its NumPy may differ, so the arguments must be plain Python objects; Arrow tables are safe. With
    ``calls`` above 1, that number of threads call an instance at once, each with another shard. With ``torch`` false,
    the stage does not need torch and may live in any worker. Otherwise Ray starts separate processes for it.
    """
    environment: dict[str, Any] = {"env_vars": WITH_TORCH} if torch else {}
    if python:
        environment["py_executable"] = python
    options: dict[str, Any] = {"runtime_env": environment} if environment else {}
    strategy: dict[str, Any] = {}
    if calls > 1:
        strategy = {"max_concurrent_calls_per_actor": calls, "enable_true_multi_threading": True}
    if pool.accelerator_type:
        options["accelerator_type"] = pool.accelerator_type
    if pool.resources:
        options["resources"] = dict(pool.resources)
    # The public method refuses GPUs without a batch size, and any batch size would merge shards.
    return dataset.map_batches_internal(
        stage,
        fn_constructor_args=arguments,
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        max_restarts=-1,  # still finite: a task is retried max_task_retries times, and starts no actor after that
        max_task_retries=MOST_DEATHS,  # enough to find the row that kills an engine
        compute=ActorPoolStrategy(size=pool.actors, max_tasks_in_flight_per_actor=calls + 2, **strategy),
        **options,
    )


class _Task:
    """Wraps a stage instance as the function that Ray Data needs: with a name, and plain data until it runs."""

    def __init__(self, stage: Callable[[pa.Table], pa.Table]) -> None:
        self._stage = stage
        self.__name__ = type(stage).__name__

    def __call__(self, block: pa.Table) -> pa.Table:
        return self._stage(block)


@dataclass(frozen=True)
class Work:
    """Shards of one or more stages and the pipeline that commits them."""

    title: str
    """Title for messages and the progress bar."""
    rows: Mapping[Task, int]
    """Rows to handle by (stage, shard), in the order of the work, finished shards included. 0 where it is not known."""
    item: Callable[[str, int], dict[str, Any]]
    """Makes the item of work for a stage and a shard; called on workers."""
    pipeline: Callable[[Dataset], Dataset]
    """Adds the stages to a dataset with one item in each block. The last one writes a row with the column ``shard``
    and, where there are several stages, ``stage``."""
    expected: Callable[[], int] | None = None
    """Gives the rows in all that are known so far, where `rows` does not have them."""
    ready: Callable[[pa.Table], bool] | None = None
    """Tells whether an item may start yet. Workers call it for the first item of a row; those after it wait too."""

    @classmethod
    def of_stage(
        cls,
        title: str,
        stage: str,
        rows: Mapping[int, int],
        item: Callable[[int], dict[str, Any]],
        pipeline: Callable[[Dataset], Dataset],
    ) -> "Work":
        """Builds the work of a single stage, with rows and items by shard."""
        return cls(title, {(stage, shard): n for shard, n in rows.items()}, lambda _, shard: item(shard), pipeline)

    def part(self, wanted: Callable[[str], bool]) -> "Work":
        """Selects stages of the work."""
        return replace(self, rows={task: n for task, n in self.rows.items() if wanted(task[0])})

    def pending(self, run_dir: RunDir) -> list[Task]:
        """Finds the shards that are not committed, in the order of the work."""
        committed = {stage: run_dir.committed(stage) for stage in dict.fromkeys(stage for stage, _ in self.rows)}
        return [(stage, shard) for stage, shard in self.rows if shard not in committed[stage]]


def run(
    run_dir: RunDir,
    works: Sequence[Work],
    rounds: int,
    progress: "Progress",
    on_commit: Callable[[str, int, Mapping[str, Any]], None] | None = None,
    *,
    in_order: bool = False,
) -> int:
    """Runs works at the same time over the shards that are not committed, until all are or no round is left.

    All works are branches of one execution. Two executions at once would each get half of every node, even if one needs
    little, and would wait for resources.

    Args:
        rounds: how many times shards that did not commit are tried.
        on_commit: called in this process with (stage, shard, row of the last stage) for each shard that commits.
        in_order: True where later items wait for earlier ones (`Work.ready`). A shard that fails then ends the round,
            as the others would wait for it forever.

    Returns:
        The number of rounds; 0 where nothing was left to do.

    Raises:
        StageFailed: shards did not commit; the message names them and the last error.
    """
    works = [work for work in works if work.rows]
    error: BaseException | None = None
    with ExitStack() as stack:
        skipped = stack.enter_context(_errors_skipped())
        bars = []
        for work in works:
            done = sum(work.rows.values()) - sum(work.rows[task] for task in work.pending(run_dir))
            bars.append(stack.enter_context(progress.stage(work.title, sum(work.rows.values()), done)))
        for number in range(rounds + 1):
            pending = [work.pending(run_dir) for work in works]
            if not any(pending):
                return number
            if number == rounds:
                break
            if number:
                log.warning("%d shards did not commit; round %d of %d", sum(map(len, pending)), number + 1, rounds)
            left = Counter(stage for tasks in pending for stage, _ in tasks)
            for stage, shards in left.items():
                figures().pending(stage, shards)
            try:
                for branch, stage, commit in _committed_shards(works, pending, in_order):
                    left[stage] -= 1
                    figures().pending(stage, left[stage])
                    figures().committed(stage, commit)
                    figures().spent(run_dir)
                    if expected := works[branch].expected:
                        bars[branch].expect(expected())
                    bars[branch].advance(works[branch].rows[stage, commit["shard"]] or commit.get("rows", 0))
                    if on_commit:
                        on_commit(stage, commit["shard"], commit)
                figures().spent(run_dir, at_once=True)
            except ray.exceptions.RayError as failure:
                error = failure
                log.warning("%s: %s", ", ".join(work.title for work in works), _brief(failure))
    error = error or next(reversed(skipped), None)
    because = f"; last error: {_brief(error)}" if error else ""
    missing = [_missing(work, tasks) for work, tasks in zip(works, pending) if tasks]
    raise StageFailed(f"{'; '.join(missing)} did not commit in {rounds} rounds{because}")


@contextmanager
def _errors_skipped() -> Iterator[deque[BaseException]]:
    """Collects the newest errors of skipped shards, which Ray Data writes only to its log."""
    found: deque[BaseException] = deque(maxlen=3)

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                found.append(record.exc_info[1])

    listener, logger = Listener(), logging.getLogger("ray.data._internal.execution.streaming_executor_state")
    logger.addHandler(listener)
    try:
        yield found
    finally:
        logger.removeHandler(listener)


def _missing(work: Work, tasks: list[Task]) -> str:
    stages = {stage for stage, _ in work.rows}
    names = [str(shard) if len(stages) == 1 else f"{stage} {shard}" for stage, shard in tasks[:10]]
    shown = ", ".join(names) + (" …" if len(tasks) > 10 else "")
    return f"{work.title}: {len(tasks)} of {len(work.rows)} shards ({shown})"


def _committed_shards(
    works: Sequence[Work], pending: list[list[Task]], in_order: bool
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    # One bad shard never ends the others: it is skipped here and found by its missing commit.
    DataContext.get_current().max_errored_blocks = 0 if in_order else sum(map(len, pending)) - 1
    branches = []
    for number, (work, tasks) in enumerate(zip(works, pending)):
        if tasks:
            items = work_items.dataset(tasks, work.item, work.ready)
            branches.append(on_tasks(work.pipeline(items), _Tag(number, tasks[0][0])))
    dataset = branches[0].union(*branches[1:]) if len(branches) > 1 else branches[0]
    for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in block.to_pylist():
            yield row.pop("branch"), row.pop("stage"), {key: value for key, value in row.items() if value is not None}


class _Tag:
    """Adds the branch of a committed shard, and its stage where the branch has only one."""

    def __init__(self, branch: int, stage: str) -> None:
        self._branch, self._stage = branch, stage

    def __call__(self, block: pa.Table) -> pa.Table:
        block = block.append_column("branch", pa.array([self._branch] * block.num_rows))
        if "stage" not in block.column_names:
            block = block.append_column("stage", pa.array([self._stage] * block.num_rows))
        return block


def _brief(error: BaseException) -> str:
    """The innermost cause, without the remote traceback before it and the words of Ray on retries after it."""
    # A SystemException gives no information.
    while error.__cause__ is not None and not isinstance(error.__cause__, SystemException):
        error = error.__cause__
    lines = [line for line in str(error).partition(_RAY_WRAPS)[0].strip().splitlines() if line.strip()]
    last = lines[-1].strip() if lines else ""
    if isinstance(error, ray.exceptions.RayError) and (remote := _EXCEPTION.fullmatch(last)):
        return remote[1][:800]
    return f"{type(error).__name__}: {last}"[:800]
