"""The checks in the reports."""

import io
from typing import Any

import pytest
from rich.console import Console

from routelmt_ray.reports import summary
from routelmt_ray.reports.pages import run_page
from tests.evaluation import run_reports
from tests.evaluation.run_reports import Page

EVIL = "<script>alert(1)</script>"


def check(name: str, failed: int, example: str = "x") -> dict[str, Any]:
    """The findings of a check: a thousand rows of the small model, and two hundred of the large one."""
    row = {"pair": "en→de", "model": "small", "source": example, "translation": example, "error": f"{name}: {example}"}
    return {
        "name": name, "status": f"bad_{name}", "help": f"a bad {name}", "measure": "a share", "action": "flag",
        "models": {"small": {"failed": failed, "judged": 1000}, "large": {"failed": 0, "judged": 200}},
        "pairs": [{"pair": "en→de", "model": "small", "failed": failed, "judged": 500}] if failed else [],
        "examples": [row] if failed else [],
    }  # fmt: skip


@pytest.fixture
def report() -> dict[str, Any]:
    return run_reports.finished() | {"checks": [check("copy", 0), check("length", 25), check("leak", 4, EVIL)]}


def printed(report: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=80)
    summary.print_summary(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_page_shows_rates_pairs_and_examples(report: dict[str, Any]) -> None:
    page = Page(run_page(report))
    assert "bad_length a bad length flag 25 of 1,000 (2.5 %) 0 of 200 (0.0 %)" in page.text
    assert "bad_copy a bad copy flag 0 of 1,000 (0.0 %)" in page.text
    assert "en→de small 25 500 5.0 %" in page.text
    assert "en→de small x x length: x" in page.text
    assert page.text.count("by language pair, and examples") == 2


def test_examples_are_text_and_nothing_else(report: dict[str, Any]) -> None:
    html = run_page(report)
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html


def test_the_summary_names_the_checks_that_some_row_failed(report: dict[str, Any]) -> None:
    assert "checks       length small 2.5 %, large 0.0 %; leak small 0.4 %, large 0.0 %" in printed(report)
    assert "checks       no translation failed one" in printed(report | {"checks": [check("copy", 0)]})
    assert "checks" not in printed(report | {"checks": []})


def test_a_report_of_a_version_without_checks_has_no_section(report: dict[str, Any]) -> None:
    del report["checks"]
    assert "Checks of the translations" not in run_page(report)
