"""Rows of one optimizer step: like lengths together, in an order that follows from the seed and the epoch."""

import numpy as np

_POOL_STEPS = 32
"""Rows of this many steps are sorted by length together: padding stays small, steps stay mixed."""


def steps_per_epoch(rows: int, rows_per_step: int) -> int:
    """Optimizer steps that visit every row once."""
    return -(-rows // rows_per_step)


def epoch_steps(lengths: np.ndarray, rows_per_step: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Row numbers of each step of an epoch; every row comes once.

    Args:
        lengths: prompt tokens of each row, shape ``(rows,)``.
        rows_per_step: rows of a step; one step of the epoch may have fewer.
        seed: of the training.
        epoch: its ordinal.
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
