"""Batches formed inside a shard: rows of like length together, and failures kept to the row that fails, if it is one's."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from routelmt_ray.engines import EngineDead, EveryRowFailed

log = logging.getLogger(__name__)

T = TypeVar("T")

MANY = 8
"""Rows of a batch or a shard: where so many fail, and all with one exception, the engine is to blame."""
_FIGURES = re.compile(r"[0-9]+")


def length_batches(lengths: Sequence[int], rooms: Sequence[int], max_rows: int, max_tokens: int) -> list[list[int]]:
    """Cuts rows into batches of like length, longest first.

    Args:
        lengths: prompt tokens of each row.
        rooms: tokens each row may generate on top.
        max_rows: most rows a batch.
        max_tokens: most padded tokens a batch, rows times the longest prompt plus the largest room; a row longer than
            that goes alone.

    Returns:
        Row numbers by batch. Ties keep their order, so that the batches are a function of the lengths alone. The
        longest batch comes first: one that does not fit in memory shows at once.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = room = 0
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i] - rooms[i], i)):
        new_longest, new_room = max(longest, lengths[row]), max(room, rooms[row])
        if batch and (len(batch) == max_rows or (len(batch) + 1) * (new_longest + new_room) > max_tokens):
            batches.append(batch)
            batch, new_longest, new_room = [], lengths[row], rooms[row]
        batch.append(row)
        longest, room = new_longest, new_room
    return [*batches, batch] if batch else batches


def run_batches(
    run: Callable[[list[int]], Sequence[T]],
    batches: Iterable[list[int]],
    failed: Callable[[Exception], T],
    fatal: tuple[type[BaseException], ...],
    harmless: Callable[[], object],
    halved: Callable[[], None] = lambda: None,
) -> Iterator[tuple[list[int], list[T]]]:
    """Runs batches one after the other, and tells rows that fail from an engine that fails on any row.

    Args:
        run: gives one result a row.
        batches: rows by batch.
        failed: gives the result of a row that fails by itself.
        fatal: exceptions after which the engine cannot go on.
        harmless: asks the engine something that does not depend on any row; see :func:`blame_engine`.
        halved: is called for each batch that fails and is halved.

    Returns:
        The rows of each batch with their results.

    Raises:
        EngineDead: one of `fatal` was raised.
        EveryRowFailed: no row is to blame.
    """
    rows_in_all, errors_in_all = 0, []
    for rows in batches:
        errors: list[Exception] = []

        def note(error: Exception, errors: list[Exception] = errors) -> T:
            errors.append(error)
            return failed(error)

        results = run_isolating(run, rows, note, fatal, halved)
        if len(errors) == len(rows):
            blame_engine(errors, harmless)
        rows_in_all += len(rows)
        errors_in_all += errors
        yield rows, results
    if errors_in_all and len(errors_in_all) == rows_in_all:
        blame_engine(errors_in_all, harmless)


def blame_engine(errors: Sequence[Exception], harmless: Callable[[], object]) -> None:
    """Raises where rows that have all failed, each by itself, are not to blame.

    A few rows may all be beyond what a model takes. The engine is to blame where many of them failed with one exception, or
    where it fails on a harmless prompt as well.

    Args:
        errors: what each row of a batch, or of a shard, failed with; not empty.
        harmless: asks the engine something that does not depend on any row.

    Raises:
        EveryRowFailed: the engine is to blame.
    """
    cause = errors[-1]
    if len(errors) < MANY or _kinds(errors) > 1:
        try:
            harmless()
        except Exception as error:
            cause = error
        else:
            return
    message = f"the engine fails on every row alike, so no row is to blame: {type(cause).__name__}: {cause}"
    log.error("%s", message, exc_info=cause)
    raise EveryRowFailed(message[:2000]) from None  # or Ray would show its cause in its place


def _kinds(errors: Iterable[Exception]) -> int:
    """Number of different exceptions; figures in their messages, such as bytes of memory, make no difference."""
    return len({(type(error), _FIGURES.sub("0", str(error))) for error in errors})


def run_isolating(
    run: Callable[[list[int]], Sequence[T]],
    rows: list[int],
    failed: Callable[[Exception], T],
    fatal: tuple[type[BaseException], ...],
    halved: Callable[[], None] = lambda: None,
) -> list[T]:
    """Runs a batch; if it fails, halves it until only the rows that fail by themselves are left.

    Args:
        run: gives one result a row.
        rows: the batch.
        failed: the result of a row that fails by itself.
        fatal: exceptions after which the engine cannot go on.
        halved: is called for each batch that fails and is halved.

    Raises:
        EngineDead: one of `fatal` was raised.
    """
    try:
        return list(run(rows))
    except fatal as error:
        raise EngineDead(f"{type(error).__name__}: {error}"[:2000]) from error
    except Exception as error:  # whatever a model raises on a batch is narrowed down to its rows
        if len(rows) == 1:
            log.warning("a row failed: %s: %s", type(error).__name__, error)
            return [failed(error)]
        log.warning("a batch of %d rows failed and is halved: %s: %s", len(rows), type(error).__name__, error)
        halved()
        half = len(rows) // 2
        return [r for part in (rows[:half], rows[half:]) for r in run_isolating(run, part, failed, fatal, halved)]
