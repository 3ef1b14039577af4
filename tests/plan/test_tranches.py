"""When a budget in hours is too small to begin with, and when the job goes on although it is."""

from types import SimpleNamespace
from typing import Any

import pytest

from routelmt_ray.budget.closed_loop import Position
from routelmt_ray.plan.tranches import BudgetTooSmall, Tranches


def tranches(monkeypatch: pytest.MonkeyPatch, spent_s: float, candidates: list[dict[str, Any]]) -> Tranches:
    """A budget of 100 seconds, of which the small model alone takes 20 or, if its profile is wrong by as much as it may, 22."""
    monkeypatch.setattr(Tranches, "position", lambda self, tally: Position(100.0, spent_s, 0.0, 20.0, 0.0))
    planner: Any = SimpleNamespace(
        outlook=lambda: None,
        rule=SimpleNamespace(cost=SimpleNamespace(small=SimpleNamespace(relative_error=0.1))),
        series=SimpleNamespace(of=lambda *kinds: candidates),
    )
    ledger: Any = SimpleNamespace(meters=SimpleNamespace(read_again=lambda: None), unit="cpu_s")
    return Tranches(planner, ledger, None, True, [])  # type: ignore[arg-type]


def test_a_budget_that_does_not_hold_the_small_model_is_refused_before_it_translates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tranches(monkeypatch, 78.0, []).check()[1] == 100.0
    with pytest.raises(BudgetTooSmall, match=r"needs up to 0\.02806 hours of cpu_s.*set budget.gpu_hours to at least"):
        tranches(monkeypatch, 79.0, []).check()


def test_once_candidates_are_translated_and_judged_the_job_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    position, need_s = tranches(monkeypatch, 79.0, [{"kind": "candidates"}]).check()
    assert (position.spent_s, need_s) == (79.0, 101.0)
