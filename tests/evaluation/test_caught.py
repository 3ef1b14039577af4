"""The rows whose small translation fails a check: what share of them each scorer routes, in figures and words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routelmt_ray.evaluation.bootstrap import Axis, Order, Settings, measure_weighted
from routelmt_ray.metrics.ties import in_top
from routelmt_ray.reports.evaluation_tables import print_summary, write_tables
from routelmt_ray.reports.pages import evaluation_page
from tests.evaluation.test_evaluate import NAMED, N, columns, run, write

SCORES = {"rising": np.arange(10.0), "tied": np.array([1.0] * 6 + [0.0] * 4), "constant": np.zeros(10)}
FAILING = np.array([0, 0, 0, 0, 0, 1.0, 0, 1, 0, 1])


def caught_weighted(weights: np.ndarray, fractions: tuple[float, ...]) -> dict[str, dict[str, np.ndarray]]:
    ones, none = np.ones(10), np.zeros(10)
    orders = {name: Order(score, ones, none) for name, score in SCORES.items()}
    axes = {"calls": Axis(orders, Order(SCORES["rising"], ones, none))}
    settings = Settings(fractions, 0.05, ())
    found = measure_weighted(SCORES, SCORES["rising"], axes, weights, settings, FAILING)
    return {name: samples.measures for name, samples in found.items()}


def test_caught_is_the_expected_share_of_the_failing_rows_among_the_routed() -> None:
    found = caught_weighted(np.ones((1, 10)), (0.2, 0.3))
    for name, score in SCORES.items():
        for p, k in ((0.2, 2), (0.3, 3)):
            assert found[name][f"caught@{p}"] == pytest.approx(FAILING @ in_top(score, k) / 3)
    assert found["constant"]["caught@0.3"] == pytest.approx(0.3)


def test_a_resample_counts_rows_as_often_as_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routelmt_ray.evaluation.bootstrap.BLOCK", 10)  # a block for each resample
    weights = np.array([[0, 0, 0, 0, 0, 3, 0, 1, 6, 0], [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]], float)
    found = caught_weighted(weights, (0.7,))["rising"]["caught@0.7"]
    assert found[0] == pytest.approx(1 / 4), "the six copies of row 8 come first, then the one of row 7"
    assert np.isnan(found[1]), "no failing row was drawn"


@pytest.fixture(scope="module")
def labels() -> dict[str, Any]:
    table = columns()
    failing = np.random.default_rng(3).random(N) < 0.2
    small = ["copy,length" if bad and i % 2 else "copy" if bad else "" for i, bad in enumerate(failing)]
    return table | {"check_small": small, "check_large": ["leak" if i < 12 else "" for i in range(N)]}


def test_labels_with_checks_show_what_routers_and_rivals_catch(
    labels: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(write(tmp_path, labels), *NAMED)
    failing = np.array([bool(value) for value in labels["check_small"]], float)
    assert result["checks"]["small"]["share"] == pytest.approx(failing.mean())
    assert list(result["checks"]["small"]["by_check"]) == ["copy", "length"]
    for budget, k in ((0.1, 24), (0.3, 72)):
        mine = result["overall"]["column:mine"][f"caught@{budget}"]
        wanted = failing @ in_top(labels["mine"].astype(np.float32).astype(float), k) / failing.sum()
        assert mine["value"] == pytest.approx(wanted) and mine["low"] <= mine["value"] <= mine["high"]
        assert result["overall"]["random"][f"caught@{budget}"]["value"] == pytest.approx(k / N)
    page = evaluation_page(result)
    print_summary(result)
    said = " ".join(capsys.readouterr().out.split())
    share = f"{100 * failing.mean():.1f}"
    assert f"{share} % (copy" in said and "of the large ones. Of the failing small translations, 30 %" in said
    assert "fail %" in said and "Caught@0.3" in page and "percent of the rows whose small translation fails" in page
    write_tables(tmp_path, result)
    assert "caught@0.3_low" in (tmp_path / "headline.csv").read_text()


@pytest.mark.parametrize("checked", [False, True])
def test_labels_without_failing_rows_have_no_such_measure(
    labels: dict[str, Any], checked: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {name: values for name, values in labels.items() if not name.startswith("check_")}
    if checked:
        table["check_small"] = [""] * N
    result = run(write(tmp_path, table), *NAMED)
    assert not any(key.startswith("caught") for key in result["overall"]["random"])
    page = evaluation_page(result)
    print_summary(result)
    said = capsys.readouterr().out
    assert ("0 % of the small translations fail a check." in " ".join(said.split())) == checked
    assert "fail %" not in said and "Caught" not in page.replace("Caught: percent", "" if checked else "Caught")
