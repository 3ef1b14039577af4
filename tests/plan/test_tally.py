"""Tallies of disjoint shards add up, and say what both models still take."""

from dataclasses import fields

import pytest

from routelmt_ray.plan.allocate import PlanTally

ONE = PlanTally(1, 2, 4, 0.5, ((1.0, 2.0, 4.0, 8.0), (16.0, 32.0, 64.0, 128.0)), 0.25, 0.125, 0.0625)
OTHER = PlanTally(8, 16, 32, 2.0, ((0.5, 0.25, 0.125, 1.0), (3.0, 5.0, 7.0, 9.0)), 10.0, 20.0, 40.0)


def test_every_field_is_a_sum() -> None:
    both = ONE + OTHER
    for field in fields(PlanTally):
        if field.name != "owed":
            assert getattr(both, field.name) == getattr(ONE, field.name) + getattr(OTHER, field.name)
    assert both.owed == ((1.5, 2.25, 4.125, 9.0), (19.0, 37.0, 71.0, 137.0))
    assert PlanTally() + ONE == ONE
    assert sum([ONE, OTHER], PlanTally()) == both


@pytest.mark.parametrize(("both", "small_s"), [(False, 0.375 + 17), (True, 0.375 + 17 + 34)])
def test_the_small_model_also_takes_routed_rows_where_it_translates_both(both: bool, small_s: float) -> None:
    assert ONE.seconds(both) == (small_s, 0.0625 + 68)
    assert sum(ONE.settled_small_s(both)) == small_s - 0.375


def test_a_tally_is_equal_after_json() -> None:
    assert PlanTally.from_dict(ONE.to_dict()) == ONE
