"""Batches formed inside a shard: rows of like length together, and failures kept to the row that fails."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from routelmt_ray.engines import EngineDead

log = logging.getLogger(__name__)

T = TypeVar("T")


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


def run_isolating(
    run: Callable[[list[int]], Sequence[T]],
    rows: list[int],
    failed: Callable[[Exception], T],
    fatal: tuple[type[BaseException], ...],
) -> list[T]:
    """Runs a batch; if it fails, halves it until only the rows that fail by themselves are left.

    Args:
        run: gives one result a row.
        rows: the batch.
        failed: the result of a row that fails by itself.
        fatal: exceptions after which the engine cannot go on.

    Raises:
        EngineDead: one of these was raised.
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
        half = len(rows) // 2
        return [r for part in (rows[:half], rows[half:]) for r in run_isolating(run, part, failed, fatal)]
