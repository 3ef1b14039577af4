"""Rows to read in both reports: which ones are drawn, and that any text in them is safe."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routelmt_ray.evaluation.samples import spread
from routelmt_ray.reports import pages
from routelmt_ray.reports.evaluation_tables import print_summary
from tests.evaluation import run_reports
from tests.evaluation.run_reports import Page
from tests.evaluation.test_evaluate import NAMED, columns, run, write


def test_one_row_of_each_part_of_the_order_is_drawn() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.3, 0.7, 0.2])
    draws = np.array([5, 1, 9, 2, 0, 7], np.uint64)
    assert spread(scores, draws, 3) == [4, 3, 0]  # of (1, 4), (2, 3), (5, 0) the one with the least draw
    assert spread(scores, draws, 10) == [1, 4, 2, 3, 5, 0]
    assert spread(scores, draws, 0) == spread(scores[:0], draws[:0], 3) == []


def test_labelled_rows_are_shown_with_both_translations_and_the_true_gain(tmp_path: Path) -> None:
    table = columns()
    n = len(table["source"])
    table["small_translation"] = [f"<b>small</b> {i}" for i in range(n)]
    table["large_translation"] = [f"large {i}" if i % 2 else None for i in range(n)]
    path = write(tmp_path, table)
    found = run(path, *NAMED)
    samples = found["samples"]
    assert len(samples) == 10 and run(path, *NAMED)["samples"] == samples != run(path, *NAMED, "seed=1")["samples"]
    ranks = np.argsort(np.argsort(-table["mine"].astype(np.float32), kind="stable")) // (n // 10)
    for part, row in enumerate(samples):
        i = table["source"].index(row["source"])
        assert ranks[i] == part
        assert row["score"] == np.float32(table["mine"][i])
        assert row["gain"] == pytest.approx(table["quality_large_chrf"][i] - table["quality_small_chrf"][i])
        assert row["small"] == {"translation": f"<b>small</b> {i}", "quality": table["quality_small_chrf"][i]}
        assert row["large"]["translation"] == (f"large {i}" if i % 2 else None)
    html = pages.evaluation_page(found)
    assert "&lt;b&gt;small&lt;/b&gt;" in html and "<b>small" not in html
    assert f"true gain {samples[0]['gain']:+.2f}" in Page(html).text
    none = run(path, *NAMED, "report.samples=0")
    assert none["samples"] == [] and "Rows to read" not in Page(pages.evaluation_page(none)).text


def test_the_same_time_is_said_for_each_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = columns()
    found = run(write(tmp_path, table), *NAMED)
    print_summary(found)
    said = " ".join(capsys.readouterr().out.split())
    small, large = table["small_s"].sum(), table["large_s"].sum()
    spent = small + 0.3 * (large - small)
    assert f"For the same time, {spent:.3g} s (all-small {small:.3g}, all-large {large:.3g}): random " in said
    quality = found["systems"]["all_small"] + found["curves"]["seconds"]["gain_oracle"]["quality"][15]
    assert f"oracle {quality:.3f}".replace("0.", ".") in said


@pytest.fixture
def row() -> dict[str, Any]:
    return {
        "pair": "en→de", "source": "<script>alert(1)</script>", "reference": "Der Hund.", "score": 0.25, "route": "large",
        "route_reason": "gain", "model": "large", "status": "ok",
        "small": {"translation": None, "quality": None}, "large": {"translation": "Der <i>Hund</i>", "quality": 0.5},
    }  # fmt: skip


def test_a_run_shows_what_was_delivered_and_why(row: dict[str, Any]) -> None:
    kept = row | {
        "route": "small", "route_reason": "below_cut", "model": "small", "status": "output_limit",
        "small": {"translation": "Hund", "quality": 0.25},
    }  # fmt: skip
    html = pages.run_page(run_reports.finished() | {"samples": [row, kept]})
    assert "<script" not in html and "<i>Hund" not in html
    assert html.count('class="delivered"') == 2
    text = Page(html).text
    assert "Rows to read" in text and "0.25 en→de among the best rows that the budget covers Source <script>" in text
    assert "Large chrF 0.50 Der <i>Hund</i> Reference Der Hund." in text
    assert "the budget went to better rows output_limit" in text and "Small chrF 0.25 Hund" in text


def test_a_report_without_samples_has_no_such_part() -> None:
    report = run_reports.finished()
    report.pop("samples", None)
    assert "Rows to read" not in Page(pages.run_page(report)).text
