"""Forms batches of rows of similar length, and limits a failure to the row that causes it."""

import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from routelmt_ray.engines import EngineDead, EveryRowFailed

log = logging.getLogger(__name__)

T = TypeVar("T")

MANY = 8
"""If at least this number of rows of a batch or a shard fail, and all with one exception, the engine is the cause."""
_FIGURES = re.compile(r"[0-9]+")


def length_batches(lengths: Sequence[int], rooms: Sequence[int], max_rows: int, max_tokens: int) -> list[list[int]]:
    """Groups rows of similar length into batches, longest first.

    Args:
        rooms: most tokens that each row may generate in addition.
        max_tokens: most padded tokens in a batch: rows times (longest prompt plus largest room). A longer row is alone.

    Returns:
        Row numbers by batch. Ties keep their order, so the batches depend only on the lengths and rooms. The longest
        batch comes first, so one that does not fit into memory is found at once.
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
    """Runs batches one after the other. Distinguishes rows that fail from an engine that fails on every row.

    Args:
        run: gives one result for each row.
        failed: gives the result of a row that fails alone.
        fatal: exceptions after which the engine cannot continue.
        harmless: asks the engine a prompt that does not depend on any row; see :func:`blame_engine`.
        halved: called for each batch that fails and is halved.

    Returns:
        The rows of each batch with their results.

    Raises:
        EngineDead: one of `fatal` was raised.
        EveryRowFailed: the engine fails, and no row is the cause.
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


def _release(error: BaseException | None) -> None:
    """Releases what the frames of an exception hold.

    Otherwise the tensors of a batch that was too large would take the memory that its halves need, and those of a row
    that fails would stay until the end of its shard.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def blame_engine(errors: Sequence[Exception], harmless: Callable[[], object]) -> None:
    """Raises EveryRowFailed if all rows of a batch or a shard failed one by one, and the engine is the cause.

    A few rows may all be too difficult for a model. The engine is the cause if many rows failed with one exception, or
    if it fails on a harmless prompt, which does not depend on any row, too.
    """
    cause = errors[-1]
    # Numbers in messages, such as bytes of memory, make no difference.
    if len(errors) < MANY or len({(type(error), _FIGURES.sub("0", str(error))) for error in errors}) > 1:
        try:
            harmless()
        except Exception as error:
            cause = error
        else:
            return
    message = f"the engine fails on every row alike, so no row is to blame: {type(cause).__name__}: {cause}"
    log.error("%s", message, exc_info=cause)
    raise EveryRowFailed(message[:2000]) from None  # else Ray would show the cause instead of this message


def run_isolating(
    run: Callable[[list[int]], Sequence[T]],
    rows: list[int],
    failed: Callable[[Exception], T],
    fatal: tuple[type[BaseException], ...],
    halved: Callable[[], None] = lambda: None,
) -> list[T]:
    """Runs a batch. If it fails, halves it again and again until only the rows that fail alone are left.

    Arguments as for :func:`run_batches`. Raises EngineDead if one of `fatal` was raised.
    """
    try:
        return list(run(rows))
    except fatal as error:
        raise EngineDead(f"{type(error).__name__}: {error}"[:2000]) from error
    except Exception as error:  # any exception of a model on a batch is traced to its rows
        _release(error)
        if len(rows) == 1:
            log.warning("a row failed: %s: %s", type(error).__name__, error)
            return [failed(error)]
        log.warning("a batch of %d rows failed and is halved: %s: %s", len(rows), type(error).__name__, error)
        halved()
        half = len(rows) // 2
        return [r for part in (rows[:half], rows[half:]) for r in run_isolating(run, part, failed, fatal, halved)]
