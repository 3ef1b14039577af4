"""A cut survives JSON exactly and refuses what no selection gives."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.budget import Cut
from tests.budget.selection import select_top_k

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
UINT64 = st.integers(0, 2**64 - 1)


@settings(deadline=None)
@given(k=st.integers(1, 10**12), threshold=FLOAT32, tie=st.none() | UINT64, seed=UINT64)
def test_json_round_trip(k, threshold, tie, seed):
    cut = Cut(k=k, weight=3 * k, n_eligible=k + 1, threshold=threshold, tie=tie, seed=seed)
    assert Cut.from_dict(json.loads(json.dumps(cut.to_dict()))) == cut


def test_a_cut_written_without_weight_weighs_its_rows():
    fields = {"k": 3, "n_eligible": 10, "threshold": 0.5, "tie": "0x0000000000000007", "seed": 2}
    assert Cut.from_dict(fields) == Cut(k=3, weight=3, n_eligible=10, threshold=0.5, tie=7, seed=2)


def test_json_round_trip_of_a_selection():
    gains = np.array([0.1, 0.1, 0.1, 5e-45, np.nan], dtype=np.float32)
    for k in range(6):
        cut = select_top_k([gains], k, seed=3)
        again = Cut.from_dict(json.loads(json.dumps(cut.to_dict())))
        assert again == cut
        assert again.mask(gains, 0).tolist() == cut.mask(gains, 0).tolist()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": -1}, "k is -1; it must be an integer >= 0"),
        ({"k": 11, "weight": 11}, "k is 11; it must be at most n_eligible, 10"),
        ({"n_eligible": -1}, "n_eligible is -1"),
        ({"weight": 2}, "weight is 2 with k = 3; every selected row weighs at least 1"),
        ({"k": 0, "threshold": None}, "weight is 3 with k = 0"),
        ({"threshold": None}, "threshold is None with k = 3; it must be None exactly where k is 0"),
        ({"k": 0, "weight": 0}, "threshold is 0.5 with k = 0"),
        ({"threshold": 0.1}, "threshold is 0.1; it must be finite and exact as float32"),
        ({"threshold": float("inf")}, "threshold is inf"),
        ({"threshold": 1e300}, "threshold is 1e\\+300"),
        ({"tie": 2**64}, r"tie is 18446744073709551616; it must be an integer in \[0, 2\*\*64\)"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Cut(**({"k": 3, "weight": 3, "n_eligible": 10, "threshold": 0.5, "tie": None, "seed": 0} | fields))


def test_mask_checks_its_input():
    cut = Cut(k=1, weight=1, n_eligible=1, threshold=0.5)
    with pytest.raises(ValueError, match="place 8 is inf"):
        cut.mask(np.array([0.0, np.inf], dtype=np.float32), 7)
    with pytest.raises(ValueError, match="first_place is -1"):
        cut.mask(np.zeros(1, dtype=np.float32), -1)
    with pytest.raises(TypeError, match="floating point"):
        cut.mask(np.zeros(1, dtype=np.int64), 0)
    assert cut.mask(np.array([0.5, np.nan, 0.4]), 0).tolist() == [True, False, False]
    assert cut.mask(np.empty(0, dtype=np.float32), 0).tolist() == []
