"""Which rows a profile times."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.job.profiling import pick_batches


@given(st.integers(0, 400), st.integers(1, 40), st.integers(4, 8))
def test_whole_batches_are_picked_in_order_and_evenly(rows: int, batch_rows: int, batches: int) -> None:
    picked = pick_batches(rows, batch_rows, batches)
    assert (np.diff(picked) > 0).all()
    if rows < (batches + 1) * batch_rows:
        assert len(picked) == rows
        return
    assert len(picked) == batches * batch_rows
    firsts = picked[::batch_rows]
    assert ((rows - firsts) % batch_rows == 0).all(), "batches begin with the longest row"
    assert np.ptp(np.diff(firsts)) <= batch_rows, "evenly spaced"
    ends = firsts[0], rows - (firsts[-1] + batch_rows)
    assert max(ends) <= max(np.diff(firsts)) + batch_rows, "and from end to end"


def test_the_middle_of_each_stretch_is_taken() -> None:
    assert pick_batches(16, 2, 4).tolist() == [0, 1, 4, 5, 8, 9, 12, 13]
    assert pick_batches(12, 2, 2).tolist() == [2, 3, 8, 9]
