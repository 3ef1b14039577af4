"""How far the legs of a budget in hours are: while tranches are planned, and after the last one, which may come early."""

from dataclasses import dataclass

import pytest

from routelmt_ray.budget.closed_loop import Capacity
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan import plan
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.plan.ledger import Ledger
from routelmt_ray.plan.legs import Legs
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime.readings import MeterReading
from tests.plan.planners import HOURS, Scored, start

SHARDS = 5
LAST = Capacity(4_000_000, 1.0, 1.2, final=True, limit=4_000_000)


@dataclass
class Nothing:
    """Meters of a run in which nothing was spent."""

    def readings(self) -> list[MeterReading]:
        return []

    def spent_s(self) -> float:
        return 0.0

    def read_again(self) -> None:
        """Has nothing to forget."""


def legs_of(planner: Planner) -> Legs:
    return Legs(planner, Ledger(planner.config, planner.rule, Nothing(), SHARDS))


def commit(legs: Legs, stage: str, shards: int = SHARDS) -> None:
    for shard in range(shards):
        legs.ledger.add(stage, shard, {"rows": 1, "predicted_s": 1.0, "device_s": 1.0})


def done(legs: Legs) -> set[str]:
    return {stage for stage in legs.stages() if legs.is_done(stage)}


@pytest.fixture
def planner(scored: Scored) -> Planner:
    """A budget in hours with an audit, whose opening names rows that stay with the small model."""
    planner = start(scored, HOURS, audit_rows=30)
    planner.open(Capacity(12_000_000, 1.0, 1.0))
    return planner


def test_a_leg_is_done_once_all_its_shards_are_committed_or_it_has_no_row(planner: Planner) -> None:
    legs = legs_of(planner)
    names = ["000-audit", *(f"{number:03d}" for number in range(6))]
    assert legs.stages() == [f"{size}/{name}" for name in names for size in (SMALL, LARGE)]
    assert done(legs) == {"large/000"}, "the opening routes no row; entries that are not written may still have some"
    commit(legs, "small/000", SHARDS - 1)
    assert done(legs) == {"large/000"}
    for stage in ("small/000", "large/000-audit"):
        commit(legs, stage)
    assert done(legs) == {"large/000", "small/000", "large/000-audit"}


def test_nothing_is_left_to_tranches_after_the_last(planner: Planner) -> None:
    first = Capacity(3_000_000, 1.0, 1.0, limit=3_000_000)
    planner.add_tranche(first, Capacity(9_000_000, 1.0, 1.0))
    legs = legs_of(planner)
    assert {stage for stage in legs.stages() if legs.is_written(stage)} >= {"large/001", "small/001"}
    assert done(legs) == {"large/000"} and not legs.is_written("large/002")
    planner.add_tranche(LAST, LAST)
    kinds = [entry["kind"] for entry in planner.series.entries]
    assert kinds[:3] == [plan.OPENING, plan.TRANCHE, plan.TRANCHE] and set(kinds[3:]) == {plan.CLOSED}
    later = {f"{size}/{number:03d}" for size in (SMALL, LARGE) for number in (3, 4, 5)}
    assert done(legs) == {"large/000", *later}, "their entries are written, and no row is theirs"
    commit(legs, "large/002")
    assert done(legs) == {"large/000", "large/002", *later}


def test_a_tranche_that_routes_nothing_is_done(planner: Planner) -> None:
    planner.add_tranche(Capacity(0, 1.0, 1.0), Capacity(9_000_000, 1.0, 1.0))
    legs = legs_of(planner)
    assert "large/001" in done(legs) and "small/001" not in done(legs)


def test_pieces_to_come_are_those_of_the_next_tranche_and_of_settled_rows(planner: Planner) -> None:
    legs, tally = legs_of(planner), PlanTally.from_dict(planner.series.last["tally"])
    assert legs.pieces_to_come(LARGE, tally) == SHARDS, "the next tranche"
    assert legs.pieces_to_come(SMALL, tally) == 3 * SHARDS, "the audit, the opening and the next tranche"
    for nothing in (PlanTally(), PlanTally(owed=((0.0, 0.0, 3.0, 0.0),))):
        assert legs.pieces_to_come(SMALL, nothing) == 2 * SHARDS, "no row of the small model is settled"
    commit(legs, "small/000", 2)
    assert legs.pieces_to_come(SMALL, tally) == 3 * SHARDS - 2
