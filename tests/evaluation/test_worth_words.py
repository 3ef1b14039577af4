"""What the words on an audit and on the reasons of routes promise, and what they do not."""

import io
from typing import Any

import pytest
from rich.console import Console

from routelmt_ray.reports import run_facts, summary
from routelmt_ray.reports.templates import say
from tests.evaluation import run_reports


def printed(report: dict[str, Any]) -> str:
    """The summary in a terminal, on one line."""
    file = io.StringIO()
    summary.print_summary(report, Console(file=file, width=200))
    return " ".join(file.getvalue().split())


def cell(value: float | None, half: float = 0.01) -> dict[str, Any]:
    ends = {"ci_low": None, "ci_high": None} if value is None else {"ci_low": value - half, "ci_high": value + half}
    return {"rows": 100, "value": value, **ends}


@pytest.mark.parametrize(
    ("routed", "random", "left", "expected"),
    [
        (
            cell(0.08),
            cell(0.03),
            cell(0.01),
            ["The router is useful: a routed row gains +8.00 [+7.00, +9.00] points"],
        ),
        (
            cell(0.05),
            cell(0.04),
            cell(0.02),
            ["The router is useful"],
        ),  # surely above the rows left, and so above all
        (cell(0.05), cell(0.04), None, ["cannot show", "The intervals overlap"]),
        (cell(0.04), cell(0.04), cell(0.04), ["cannot show"]),
        (cell(0.01), cell(0.05), cell(0.07), ["The router is harmful", "at random would have gained more"]),
        (cell(0.005), cell(-0.04), cell(-0.06), ["router is useful", "not sure that the large model is better at all"]),
        (cell(-0.03), cell(-0.08), cell(-0.09), ["router is useful", "worse than the small one"]),
        (
            None,
            cell(0.04),
            cell(0.04),
            ["No row of the audit was routed", "+4.00 [+3.00, +5.00] points on a random row"],
        ),
        (cell(0.05), cell(None), None, ["The audit measured no row"]),
        (
            {**cell(0.05), "ci_low": None, "ci_high": None},
            cell(0.01),
            None,
            ["cannot show", "a routed row gains +5.00 points"],
        ),
    ],
)
def test_verdict_promises_no_more_than_the_intervals(
    routed: dict[str, Any] | None, random: dict[str, Any], left: dict[str, Any] | None, expected: list[str]
) -> None:
    audit = {"measured": 200, "routed": routed, "not_routed": left, "mean_gain": random}
    words = say("verdict", audit)
    for part in expected:
        assert part in words


@pytest.mark.parametrize(
    ("low", "value", "high", "expected"),
    [
        (0.44, 0.51, 0.57, "0.51 [0.44, 0.57]: the order is better than chance"),
        (-0.04, 0.05, 0.14, "0.05 [−0.04, 0.14]: the order is not surely better than chance"),
        (-0.3, -0.2, -0.1, "the order is worse than chance"),
        (None, 0.2, None, "is 0.20"),
        (None, None, None, "is undefined"),
    ],
)
def test_order_is_judged_by_its_interval(
    low: float | None, value: float | None, high: float | None, expected: str
) -> None:
    audit = {"spearman": {"value": value, "ci_low": low, "ci_high": high}}
    assert say("ranking", audit).endswith(expected)


def test_every_reason_has_words_and_none_is_left_out() -> None:
    reasons = run_reports.finished_in_hours()["route_reasons"]
    assert set(reasons) == set(run_facts.reasons())
    rows = run_facts.reason_rows(reasons | {"new reason": 3, "cap": 0})
    assert sum(row[-1] for row in rows) == sum(reasons.values()) - reasons["cap"] + 3
    assert [row[0] for row in rows][:3] == ["gain", "floor", "memory"]
    assert rows[-1] == ("new reason", "", "", 3)
    assert run_facts.reason_rows(None) == []


def test_the_terminal_says_that_guards_leave_a_budget_unspent() -> None:
    report = run_reports.finished()
    report["budget"] |= {"routed": 3_000, "k": 3_703}
    report["route_reasons"] = {"gain": 3_000, "quality_predict": 8_000, "below_cut": 1_343}
    assert run_facts.guarded(report["route_reasons"]) == 8_000
    assert "guards keep back 8,000 rows" in printed(report)
    assert "guards" not in printed(report | {"budget": report["budget"] | {"routed": 3_703}})


@pytest.mark.parametrize(
    ("kept", "rest", "expected"),
    [
        (["en→de", "en→ja"], "route", "of the routed rows of en→de, en→ja lose"),
        (
            [],
            "route",
            "Nothing is promised about losses: the audit of runs/audit is too small, or shows too many; all rows may be routed",
        ),
        ([], "small", "too many; all rows stay with the small model"),
    ],
)
def test_a_promise_says_what_it_covers(kept: list[str], rest: str, expected: str) -> None:
    given = run_reports.promise() | {"rest": rest}
    for name, found in given["groups"].items():
        found["threshold"] = 0.1 if name in kept else None
    assert expected in say("promise", given)


def test_a_promise_for_all_rows_or_for_many_pairs_names_none() -> None:
    given = run_reports.promise()
    one = given["groups"]["en→de"]
    many = say("promise", given | {"groups": {f"en→{code}": one for code in ("de", "fr", "ja", "nl")}})
    assert "of the routed rows of each of 4 language pairs lose" in many and "other rows" not in many
    alone = say("promise", given | {"groups": {"all": one | {"losses": 1}}})
    assert "3.0 % of the routed rows lose more than 5 points of chrf, with 95 % confidence: of 260 rows" in alone
    assert "that test it 1 does; of 251 rows held out 4 (1.6 %)" in alone


def test_severe_losses_need_figures() -> None:
    loss = {"tau": 0.05, "routed": 0.04, "all": 0.08}
    assert say("severe", {"severe_loss": loss}).startswith("On 8.0 % of all rows the large model loses more than 5")
    assert "routed" not in say("severe", {"severe_loss": loss | {"routed": None}})
    assert say("severe", {"severe_loss": None}) == ""
