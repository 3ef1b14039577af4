"""What the report of a translate run says of budget, forecast and audit, and that it can do without each."""

import copy
import io
import json
from typing import Any

import pytest
from rich.console import Console

from routelmt_ray.reports import audit_plots, budget_plots, summary
from routelmt_ray.reports.pages import run_page
from tests.evaluation import run_reports
from tests.evaluation.run_reports import Page

NEW_KEYS = ("spend", "plan", "forecast", "route_reasons", "audit")


@pytest.fixture
def report() -> dict[str, Any]:
    return run_reports.finished_in_hours()


@pytest.fixture
def dry() -> dict[str, Any]:
    return run_reports.dry_run()


def printed(report: dict[str, Any]) -> str:
    file = io.StringIO()
    summary.print_summary(report, Console(file=file, width=80))
    return file.getvalue()


def assert_in_order(text: str, expected: list[str]) -> None:
    at = 0
    for words in expected:
        found = text.find(words, at)
        assert found >= 0, f"{words!r} is not in the text after {text[max(0, at - 80) : at]!r}"
        at = found


def test_says_what_servers_were_asked_for(report: dict[str, Any]) -> None:
    assert "At servers" not in Page(run_page(report)).text and "served" not in printed(report)
    usage = {
        "requests": 1310,
        "answers": 1250,
        "faults": 60,
        "prompt_tokens": 65_000.0,
        "completion_tokens": 40_000,
        "in_flight_s": 130.0,
    }
    report["spend"]["stages"][3]["usage"] = usage
    assert_in_order(Page(run_page(report)).text, ["At servers", "large 1,310 1,250 65,000 40,000 2 min 10 s"])
    said = " ".join(printed(report).split())
    assert (
        "served large 1,310 requests, 65,000 prompt tokens and 40,000 completion tokens, 60 without a usable answer"
        in said
    )
    assert "2 min 10 s in flight" in said


def test_says_what_device_time_went_into_in_order(report: dict[str, Any]) -> None:
    assert_in_order(Page(run_page(report)).text, [
        "Routed to the large model 3,703 30.0 % of the eligible rows",
        "Budget, GPU time 1 h 00 min 98.4 % of it spent: 59 min 01 s",
        "Device time 59 min 01 s of 1 h 00 min GPU time spent (98.4 %); 58.8 s left: no eligible row above min_gain is left.",
        "profile 55.0 s (1.5 %)", "probe 2 min 54 s", "small 12 min 45 s", "large 35 min 06 s (58.5 %)", "judge 1 min 28 s",
        "model loads 5 min 52 s (9.8 %)", "not spent 58.8 s (1.6 %)",
        "large 38 min 38 s 65.5 % 3 min 32 s 33 min 31 s 1 min 35 s 5 2",
        "13 engines were started, 3 were lost with unfinished work",
        "What is promised about losses",
        "At most 3.0 % of the routed rows of en→de, en→ja lose more than 5 points of chrf, with 95 % confidence for each pair: of 520 rows "
        "of the audit of runs/audit that test it 6 do; of 502 rows held out 8 (1.6 %); all other rows stay with the small model.",
        "The audit has 1,998 measured rows", "en→de 0.11 260 3 2.9 % 251 4", "en→zu no promise 60 9 24.6 % 60 11",
        "The router is useful: a routed row gains +16.36 [+13.73, +19.00] points, a random row +8.22 [+6.94, +9.50]",
        "498 of 500 random rows, translated by both models and measured by chrf. Spearman of predicted and realised gain is "
        "0.51 [0.44, 0.57]: the order is better than chance.",
        "On 18.5 % of all rows the large model loses more than 5 points; among routed rows on 7.5 %.",
        "Routed 133 +16.36 +13.73 to +19.00", "Left to the small model 365", "Any row 498",
        "a cheap row may go before a dear one",
        "How the budget was planned", "The rows of entry 1 took 17.6 % more than predicted, those of entry 3 took 2.1 % less.",
        "1 1 1,850 0.2411 5 min 52 s 19 min 10 s 16 min 52 s 19 min 50 s – –",
        "2 2 1,203 0.179 26 min 51 s 11 min 30 s 10 min 55 s 11 min 30 s ×1.02 ×1.18",
        "Why rows were routed", "routed among the best rows that the budget covers 3,480",
        "floor (budget.floors) 143", "costs nothing (memory.path) 20", "its small translation fails a check (checks.action) 20",
        "not routed the budget went to better rows 7,801", "(guard.quality_hypo) 89", "no score it cannot be translated",
        "What another budget would buy", "1.00 (asked) 1 h 00 min 4,003 32.4 % +6.76",
        "The whole job 1 h 00 min 52 min 48 s to 1 h 07 min 20 min 40 s",
        "pools configured (2 engines for the small model and 3 engines for the large model)",
        "The whole job really took 59 min 01 s.", "en→de 7,999 3,103 38.8 % +8.54",
        "Set-up", "gpu_hours 1.0",
    ])  # fmt: skip


def test_summary_says_what_was_spent_and_what_the_audit_found(report: dict[str, Any]) -> None:
    text = printed(report)
    assert_in_order(text, [
        "routed       3,703, 30.0 % of the eligible rows, threshold 0.1102 (gain a\n",
        "GPU time     59 min 01 s of 1 h 00 min GPU time spent (98.4 %): profile 55.0 s,\n",
        "not spent    58.8 s left: no eligible row above min_gain is left\n",
        "engines      13 engines were started, 3 were lost",
        "promise      At most 3.0 % of the routed rows of en→de, en→ja lose more than 5\n",
        "audit        The router is useful: a routed row gains +16.36",
    ])  # fmt: skip
    assert max(map(len, text.splitlines())) <= 80


def test_dry_run_says_what_budgets_would_buy_and_that_nothing_is_translated(dry: dict[str, Any]) -> None:
    page = Page(run_page(dry))
    assert_in_order(page.text, [
        "Dry run: nothing has been translated; 1 h 00 min of GPU time would buy a predicted +6.76 points; 4,003 rows (32.4 % of "
        "12,343 eligible) to the large model.",
        "Would go to the large model 4,003", "Predicted rise, points +6.76", "GPU time 1 h 00 min the whole job ± 12 %",
        "Wall time 20 min 40 s", "This was a dry run",
        "What a budget would buy", "The highest predicted rise is +11.20 points, at 2 h 54 min of GPU time; half of it takes "
        "49 min 12 s (25.0 % of the rows)", "0.353 21 min 10 s 0 0.0 % 0.00", "3.10 3 h 05 min 12,343 100.0 % +11.12",
        "large 42 min 56 s 36 min 55 s to 48 min 57 s 14 min 19 s", "Device time 5 min 08 s of 1 h 00 min GPU time spent",
        "Set-up", "corpus/", "gpu_hours: 1.0",
    ])  # fmt: skip
    for absent in ("What became of the rows", "Quality by model", "Routed share", "not finished", "Audit", "threshold"):
        assert absent not in page.text
    assert len(page.all("svg")) == 1


def test_summary_of_a_dry_run_lets_choose_a_budget(dry: dict[str, Any]) -> None:
    text = printed(dry)
    head, _, rest = text.partition("\n")
    assert head.startswith(
        "Dry run: nothing has been translated; 1 h 00 min of GPU time would buy a predicted +6.76 points"
    )
    assert (
        "budget.gpu_hours   rows to large     share   predicted rise\n"
        "           0.353               0     0.0 %      0.00 points\n"
        "           0.507           1,234    10.0 %     +2.77 points\n"
        "           0.820           3,086    25.0 %     +5.62 points\n"
        "            1.00           4,003    32.4 %     +6.76 points   <- asked\n"
        "            1.47           6,172    50.0 %     +8.85 points\n"
        "            2.26           9,257    75.0 %    +10.72 points\n"
        "            3.10          12,343   100.0 %    +11.12 points\n"
        "To go on: the same command with budget.dry_run=false; all scores are used again.\n"
    ) in rest
    assert "would take   1 h 00 min ± 12 % of GPU time: probe 3 min 32 s, small 8 min 34 s," in rest
    assert "output" not in rest
    assert max(map(len, rest.splitlines())) <= 80


@pytest.mark.parametrize("value", ["absent", None])
def test_reports_without_the_new_keys_are_what_they_were(report: dict[str, Any], value: str | None) -> None:
    old = run_reports.finished()
    if value is None:
        old |= dict.fromkeys(NEW_KEYS)
    page = Page(run_page(old))
    assert len(page.all("svg")) == 2
    assert page.text == Page(run_page(run_reports.finished())).text
    for absent in ("Device time", "Audit", "planned", "would buy", "Why rows"):
        assert absent not in page.text
    assert printed(old) == printed(run_reports.finished())


def test_each_section_can_be_missing(report: dict[str, Any]) -> None:
    whole = len(Page(run_page(report)).all("section"))
    for key in NEW_KEYS:
        page = Page(run_page(report | {key: None}))
        assert len(page.all("section")) == whole - 1
        assert "None" not in page.text
        printed(report | {key: None})


def budget_in_rows(report: dict[str, Any]) -> None:
    report |= run_reports.finished() | {"plan": report["plan"][:1], "forecast": None, "audit": None}
    report["plan"][0] |= dict.fromkeys(("capacity_s", "predicted_s", "spent_before_s", "measured_s"))
    report["spend"] |= {"budget_s": None, "unspent_reason": None, "unit": "cpu_s"}


def overspent(report: dict[str, Any]) -> None:
    report["spend"] |= {"spent_s": 3780.0}


def not_in_gain(report: dict[str, Any]) -> None:
    report["router"]["unit"] = "characters"
    forecast = report["forecast"]
    for part in (*forecast["frontier"], *forecast["pairs"], forecast["asked"]):
        part["gain_won"] = None
    forecast["relative_error"] = None


def nothing_measured(report: dict[str, Any]) -> None:
    for entry in report["plan"]:
        entry |= {"predicted_s": None, "measured_s": None, "threshold": None}
    nothing = {"value": None, "ci_low": None, "ci_high": None}
    for tenth in report["audit"]["deciles"]:
        tenth |= {"realised": None, "ci_low": None, "ci_high": None, "rows": 0}
    report["audit"] |= {
        "measured": 0, "routed": None, "not_routed": None, "mean_gain": nothing, "spearman": nothing,
        "severe_loss": {"tau": 0.05, "routed": None, "all": None},
    }  # fmt: skip


def nothing_to_route(report: dict[str, Any]) -> None:
    report["forecast"] |= {"frontier": [], "asked": None, "pairs": [], "stages": []}


def only_losses(report: dict[str, Any]) -> None:
    for part in (*report["forecast"]["frontier"], report["forecast"]["asked"]):
        part["gain_won"] = -part["share"]


ODD = {
    budget_in_rows: [
        "59 min 01 s of CPU time spent; the budget is in rows and does not limit it.", "Processor time", "of 3,703 allowed",
        "large 35 min 06 s", "Rows above 0.1434 go to the large model but where a guard",
    ],
    overspent: ["1 h 03 min of 1 h 00 min GPU time spent (105.0 %): 3 min 00 s too much."],
    not_in_gain: ["only how many of them a budget covers", "1.00 (asked) 1 h 00 min 4,003 32.4 % 1.47", "Score from"],
    nothing_measured: ["The audit measured no row", "is undefined", "1 1 1,850 – 5 min 52 s 19 min 10 s – 19" [:-3]],
    nothing_to_route: ["No row may be routed, so no budget buys anything."],
    only_losses: ["No budget is predicted to raise the mean quality."],
}  # fmt: skip


@pytest.mark.parametrize("change", ODD, ids=lambda change: change.__name__)
def test_odd_budgets_get_a_sensible_report(report: dict[str, Any], change: Any) -> None:
    change(report)
    page = Page(run_page(json.loads(json.dumps(report))))
    for words in ODD[change]:
        assert words in page.text
    for nonsense in ("nan", "inf ", "None", "Undefined"):
        assert nonsense not in page.text
    assert "None" not in printed(report)


def no_rows(dry: dict[str, Any]) -> None:
    dry["budget"] |= {"n_rows": 0, "n_eligible": 0}
    dry["forecast"] = None


def nothing_asked(dry: dict[str, Any]) -> None:
    dry["forecast"]["asked"] = None


def dry_without_gain(dry: dict[str, Any]) -> None:
    not_in_gain(dry)


@pytest.mark.parametrize(
    ("change", "head", "words"),
    [
        (no_rows, "Dry run: nothing has been translated; the corpus has no rows", "Rows 0"),
        (
            nothing_asked,
            "Dry run: nothing has been translated; what each budget would buy is below",
            "All-large 3 h 05 min",
        ),
        (
            dry_without_gain,
            "Dry run: nothing has been translated; 1 h 00 min of GPU time would be needed; 4,003 rows",
            "asked",
        ),
    ],
)
def test_odd_dry_runs_get_a_sensible_report(dry: dict[str, Any], change: Any, head: str, words: str) -> None:
    change(dry)
    page = Page(run_page(dry))
    assert head in page.text
    assert words in page.text
    assert "None" not in page.text
    assert printed(dry).startswith(head)


@pytest.mark.parametrize("make", [run_reports.finished_in_hours, run_reports.dry_run])
@pytest.mark.parametrize("evil", ["\"'><script>alert('x')</script>", "]]></svg><b onclick=x>{{ 1/0 }}"])
def test_user_strings_are_text_and_nothing_else(make: Any, evil: str) -> None:
    def planted(words: str) -> Page:
        report = run_reports.planted(make(), words) | {"state": make()["state"]}
        report["router"]["unit"] = "gain"
        if report["route_reasons"]:
            report["route_reasons"][words] = 5
        return Page(run_page(report))

    page = planted(evil)
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in planted(" x").tags}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    for words in ("en→de", "probe", "large"):
        assert words + evil in page.text


def test_page_loads_nothing_and_its_figures_share_no_ids(report: dict[str, Any]) -> None:
    html = run_page(report)
    page = Page(html)
    assert html.replace("http://www.w3.org/2000/svg", "").count("://") == 0
    for _, attributes in page.tags:
        assert not {"src", "srcset", "data", "action"} & set(attributes)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0


def test_readable_without_seeing(report: dict[str, Any]) -> None:
    page = Page(run_page(report))
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))
    labels = [figure["aria-label"] for figure in page.all("svg")]
    assert len(labels) == 5
    for words in (
        "Realised gain by tenth of the prediction: −0.24 realised −2.49 [−6.08, +1.09]",
        "Mean of a row: routed +16.36 [+13.73, +19.00]; random +8.22",
        "entry 1, 1,850 rows, predicted 16 min 52 s, measured 19 min 50 s",
        "21 min 10 s: 0.00 points, 0.0 % of the rows", "Asked: 1 h 00 min: +6.76 points, 32.4 % of the rows.",
    ):  # fmt: skip
        assert any(words in label for label in labels), words


def test_same_report_same_bytes(report: dict[str, Any], drawn_once: pytest.MonkeyPatch) -> None:
    drawn_once.undo()
    assert run_page(copy.deepcopy(report)) == run_page(report)


def test_frontier_of_a_whole_corpus_has_a_random_order_to_compare_with() -> None:
    forecast = run_reports.forecast()
    assert ">rows at random<" in budget_plots.frontier(forecast)
    forecast["frontier"] = forecast["frontier"][:60]
    assert ">rows at random<" not in budget_plots.frontier(forecast)
    assert budget_plots.frontier(forecast | {"frontier": forecast["frontier"][:1]}) == ""


@pytest.mark.parametrize(
    ("factor", "axis"), [(0.01, "GPU-seconds"), (0.3, "GPU-minutes"), (1, "GPU-hours"), (1e5, "GPU-hours")]
)
def test_frontier_has_an_axis_people_can_read(factor: float, axis: str) -> None:
    forecast = run_reports.forecast()
    for point in (*forecast["frontier"], forecast["asked"]):
        point["total_s"] *= factor
    assert f">device time of the whole job, {axis}<" in budget_plots.frontier(forecast)


def test_plan_without_predictions_and_audit_without_rows_draw_nothing() -> None:
    plan, audit = run_reports.finished_in_hours()["plan"], run_reports.audit()
    assert ">×1.18<" in budget_plots.plan_bars(plan)
    assert budget_plots.plan_bars([entry | {"predicted_s": None} for entry in plan]) == ""
    assert "5 min 41 s predicted" in budget_plots.plan_bars([entry | {"measured_s": None} for entry in plan])
    assert ">as predicted<" in audit_plots.realised_gain(audit, in_gain=True)
    assert ">as predicted<" not in audit_plots.realised_gain(audit, in_gain=False)
    assert audit_plots.realised_gain(audit | {"deciles": []}, in_gain=True) == ""
