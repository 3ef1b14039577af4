"""A share of the rows means what its user wrote."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.budget import rows_for_fraction


@pytest.mark.parametrize(
    ("fraction", "n_eligible", "rows"),
    [
        (0.29, 100, 29),  # int(0.29 * 100) is 28
        (0.57, 100, 57),
        (np.float32(0.29), 100, 29),
        (np.float64(0.29), np.int64(100), 29),
        (0.3, 9, 2),
        (0.999, 1, 0),
        (0, 7, 0),
        (1, 7, 7),
        (1.0, 0, 0),
        (1e-9, 10**9, 1),
        (1e-300, 10, 0),
    ],
)
def test_known_values(fraction, n_eligible, rows):
    assert rows_for_fraction(fraction, n_eligible) == rows


@settings(deadline=None)
@given(per_myriad=st.integers(0, 10_000), n_eligible=st.integers(0, 10**12))
def test_equals_exact_arithmetic(per_myriad, n_eligible):
    assert rows_for_fraction(per_myriad / 10_000, n_eligible) == Fraction(per_myriad, 10_000) * n_eligible // 1


@pytest.mark.parametrize("fraction", [-0.1, 1.0001, 30, float("inf"), float("nan")])
def test_out_of_bounds(fraction):
    with pytest.raises(ValueError, match=rf"fraction is {fraction}; it must be in \[0, 1\]"):
        rows_for_fraction(fraction, 10)


def test_rows_must_be_a_count():
    with pytest.raises(ValueError, match="n_eligible is -1; it must be an integer >= 0"):
        rows_for_fraction(0.3, -1)
    with pytest.raises(TypeError, match=r"n_eligible is 2\.5"):
        rows_for_fraction(0.3, 2.5)
