"""Steps of an epoch."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.router.lora import epoch_steps, steps_per_epoch


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 3))
def test_every_row_comes_once_an_epoch(lengths: list[int], rows_per_step: int, epoch: int) -> None:
    steps = epoch_steps(np.array(lengths), rows_per_step, 5, epoch)
    assert len(steps) == steps_per_epoch(len(lengths), rows_per_step)
    assert max(map(len, steps)) <= rows_per_step
    assert sorted(np.concatenate(steps)) == list(range(len(lengths)))


def test_like_lengths_share_a_step_and_epochs_differ() -> None:
    lengths = np.random.default_rng(0).integers(5, 200, 640)
    steps = epoch_steps(lengths, 32, 1, 0)
    padding = sum(len(s) * lengths[s].max() for s in steps) / lengths.sum()
    assert padding < 1.1  # rows in random order would be padded to 1.9 times their length
    assert [s.tolist() for s in steps] == [s.tolist() for s in epoch_steps(lengths, 32, 1, 0)]
    assert [s.tolist() for s in steps] != [s.tolist() for s in epoch_steps(lengths, 32, 1, 1)]
