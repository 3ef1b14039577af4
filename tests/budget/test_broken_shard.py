"""A piece of work that fails whenever it is tried: the others are done leg by leg, as long as the budget holds the loads."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from routelmt_ray.plan.tranches import Tranches
from tests.budget.simulated_machine import Machine, Truth
from tests.budget.simulation import simulate

TRUTH = Truth(
    rows=1200, shards=6, actors=(1, 1), batch_rows=(8, 8), gpus=0.0, together=True, row_s=(0.2, 1.0), wrong=(1.0, 1.0),
    load_s=(8.0, 16.0), load_error=0.0, unfilled=0.5, drift=0.02, share=0.5, reserve=0.0,
)  # fmt: skip
"""A load of both models takes a thirtieth of the budget, and nothing is kept back for deaths."""
PLACES = [(True, 0.0), (True, 1.0), (False, 0.0), (False, 1.0)]
"""Whether both pools fit side by side, and GPUs of an engine."""


@pytest.mark.parametrize("broken", [("small/000", 2), ("large/001", 1), ("large/002", 3)])
def test_the_other_pieces_are_done_leg_by_leg_and_their_loads_are_kept_back(
    monkeypatch: pytest.MonkeyPatch, broken: tuple[str, int]
) -> None:
    outcome = simulate(replace(TRUTH, broken=broken), monkeypatch)
    failed = outcome.failed
    assert failed is not None and failed.undone == {broken[1]}, "nothing but the piece that fails is left"
    assert failed.loads[0] > 2 and failed.loads[1] > 2, "each leg loads its model"
    assert outcome.loads[0] + outcome.loads[1] <= sum(failed.loads) + 2, "a later start loads each once"
    assert outcome.spent_s <= outcome.budget_s
    assert outcome.rows_left and outcome.used >= 0.88, "a further tranche costs two loads here"


@pytest.mark.parametrize(("together", "gpus"), PLACES)
@pytest.mark.parametrize("loads_s", [(8.0, 16.0), (20.0, 40.0)])
def test_a_later_start_ends_within_the_budget_whichever_piece_failed(
    monkeypatch: pytest.MonkeyPatch, together: bool, gpus: float, loads_s: tuple[float, float]
) -> None:
    truth = replace(TRUTH, together=together, gpus=gpus, load_s=loads_s, reserve=1.0)
    tried = 0
    for stage in ("small/000", "large/001", "large/002", "large/003", "large/004"):
        outcome = simulate(replace(truth, broken=(stage, 0)), monkeypatch)
        assert outcome.spent_s <= outcome.budget_s, (stage, outcome)
        assert outcome.failed is None or outcome.routed > 0, "what was left was routed by the later start"
        tried += outcome.failed is not None
    assert tried >= 3, "pieces without rows cannot fail"


def test_where_the_budget_holds_no_further_load_the_start_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dear = replace(TRUTH, load_s=(20.0, 40.0), reserve=1.0)
    late = simulate(replace(dear, broken=("large/004", 0)), monkeypatch).failed
    assert late is not None and late.loads == (1, 1), "it is not tried again in the same start"
    early = simulate(replace(TRUTH, reserve=1.0, broken=("large/001", 0)), monkeypatch).failed
    assert early is not None and early.loads[1] > 1


def test_the_rows_that_are_left_to_the_small_model_are_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = replace(TRUTH, together=False, reserve=1.0)
    plain = simulate(truth, monkeypatch)
    failing = simulate(replace(truth, broken=("small/005", 0)), monkeypatch)
    assert failing.failed is not None and failing.failed.undone == {0}
    assert failing.failed.loads == (plain.loads[0] + 1, plain.loads[1])
    assert failing.spent_s <= failing.budget_s


@pytest.mark.parametrize(("together", "gpus"), PLACES)
@pytest.mark.parametrize("stage", ["small/000", "large/001", "large/002"])
def test_each_load_that_follows_a_failure_is_foreseen_when_a_tranche_is_planned(
    monkeypatch: pytest.MonkeyPatch, together: bool, gpus: float, stage: str
) -> None:
    loaded, foreseen, machines = list[str](), list[tuple[Counter[str], int]](), list[Machine]()
    load, add = Machine.actor, Tranches.add

    def note_load(machine: Machine, size: str, *rest: Any) -> Any:
        machines[:] = [machine]
        loaded.append(size)
        return load(machine, size, *rest)

    def note_plan(plans: Tranches) -> None:
        if machines and machines[0].failures:
            foreseen.append((Counter(plans.loads), len(loaded)))
        add(plans)

    monkeypatch.setattr(Machine, "actor", note_load)
    monkeypatch.setattr(Tranches, "add", note_plan)
    truth = replace(TRUTH, together=together, gpus=gpus, reserve=1.0, broken=(stage, 0), fails=1)
    outcome = simulate(truth, monkeypatch)
    assert outcome.failed is None, "a piece that fails once is done in the same start"
    assert outcome.spent_s <= outcome.budget_s
    assert len(foreseen) >= 3
    assert all(loads >= Counter(loaded[at:]) for loads, at in foreseen), foreseen
    last, at = foreseen[-1]
    assert last == Counter(loaded[at:]), "and none besides"
