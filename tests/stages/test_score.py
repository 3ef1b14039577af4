"""Scores of a shard: a row the model overflows on is no fault of the model, all of them are."""

import numpy as np
import pytest

from routelmt_ray.engines import EveryRowFailed
from routelmt_ray.stages.score import check_numbers


def test_a_model_that_overflows_on_every_row_fails_the_shard() -> None:
    bad, good = np.array([np.nan, np.inf], np.float32), np.array([0.1, 0.2], np.float32)
    with pytest.raises(EveryRowFailed, match=r"of all 8 rows are no finite numbers; try another models.small.dtype"):
        check_numbers([bad] * 8 + [None])
    check_numbers([bad] * 7)
    check_numbers([bad] * 8 + [good])
    check_numbers([None] * 9)
