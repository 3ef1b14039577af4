"""What the words on spend, plan and forecast say at the edges."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.reports import run_facts
from routelmt_ray.reports.templates import say
from tests.evaluation import run_reports


def test_parts_of_the_bar_are_the_whole_budget() -> None:
    spend = run_reports.finished_in_hours()["spend"]
    parts = run_facts.spend_parts(spend)
    assert sum(seconds for _, _, seconds, _ in parts) == pytest.approx(3600.0)
    assert sum(width for *_, width in parts) == pytest.approx(100.0)
    assert [key for key, *_ in parts] == ["profile", "probe", "small", "large", "judge", "loads", "unspent"]


def test_spend_of_nothing_has_no_parts_and_few_words() -> None:
    spend = {"unit": "cpu_s", "budget_s": None, "spent_s": 0.0, "unspent_reason": None, "stages": []}
    assert run_facts.spend_parts(spend) == []
    assert say("lost", spend) == ""
    assert say("unspent", spend) == ""


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(0, 12_343) | st.none())
def test_table_of_budgets_rises_and_has_both_ends_and_the_asked_one(length: int, asked_rows: int | None) -> None:
    forecast = run_reports.forecast()
    forecast["frontier"] = forecast["frontier"][: length + 1]
    last = forecast["frontier"][-1]["rows"]
    forecast["asked"] = None if asked_rows is None else forecast["asked"] | {"rows": min(asked_rows, last)}
    rows = [point["rows"] for point in run_facts.frontier_rows(forecast)]
    assert rows == sorted(set(rows)) and len(rows) <= 7
    assert rows[0] == 0 and rows[-1] == last
    asked = [point["rows"] for point in run_facts.frontier_rows(forecast) if point["asked"]]
    assert asked == ([] if asked_rows is None else [min(asked_rows, last)])


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([None, None], ""),
        ([110.0, None], "The rows of entry 1 took 10.0 % more than predicted."),
        ([110.0, 95.0], "The rows of entry 1 took 10.0 % more than predicted, those of entry 2 took 5.0 % less."),
    ],
)
def test_plan_words_speak_of_what_was_measured(measured: list[float | None], expected: str) -> None:
    plan = [{"predicted_s": 100.0, "measured_s": seconds} for seconds in measured]
    assert say("planned", plan) == expected


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"gpu_hours": 1.0}, True),
        ({"gpu_hours": 1.0, "objective": "gain"}, False),
        ({"fraction": 0.3, "gpu_hours": None, "objective": None}, False),
        ({}, False),
    ],
)
def test_rows_go_by_cost_where_the_config_says_so(budget: dict[str, Any], expected: bool) -> None:
    assert run_facts.by_cost({"budget": budget}) is expected


def test_plan_of_one_entry_or_in_rows_is_not_shown() -> None:
    plan = run_reports.finished_in_hours()["plan"]
    assert run_facts.is_replanned(plan)
    assert not run_facts.is_replanned(plan[:1])
    assert not run_facts.is_replanned([entry | {"capacity_s": None} for entry in plan])
    assert not run_facts.is_replanned(None)


def test_what_was_spent_too_much_is_said_with_its_reasons() -> None:
    spend = run_reports.finished_in_hours()["spend"] | {"spent_s": 3700.0, "unit": "gpu_s"}
    spend["overspent"] = {"seconds": 100.0, "reasons": ["2 engines died", "rows took longer"]}
    words = say("spent", spend)
    assert words.endswith("too much; 2 engines died; rows took longer")
    assert say("spent", spend | {"spent_s": 3600.0, "overspent": None}).endswith("(100.0 %)")
