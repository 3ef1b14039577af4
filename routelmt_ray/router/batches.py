"""Rows of each optimizer step: similar lengths together, in an order that depends on seed and epoch."""

import numpy as np

_POOL_STEPS = 32
"""The rows of this many steps are sorted by length together, so that padding is small and steps stay mixed."""


def steps_per_epoch(rows: int, rows_per_step: int) -> int:
    """Counts the optimizer steps that visit every row once."""
    return -(-rows // rows_per_step)


def epoch_steps(lengths: np.ndarray, rows_per_step: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Splits an epoch, counted from 0, into steps, and returns the row numbers of each; every row comes once.

    `lengths` are prompt tokens, shape ``(rows,)``; one step may have fewer than `rows_per_step`.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    pool = rows_per_step * _POOL_STEPS
    steps = []
    for first in range(0, len(order), pool):
        rows = order[first : first + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        steps += [rows[i : i + rows_per_step] for i in range(0, len(rows), rows_per_step)]
    return [steps[i] for i in rng.permutation(len(steps))]
