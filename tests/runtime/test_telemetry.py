"""Figures: which label a commit counts under, and how often the meters are read."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from routelmt_ray.budget.price import ModelPrice, Prices
from routelmt_ray.runtime import telemetry
from routelmt_ray.storage.rundir import RunDir
from tests.runtime.noted import figures_of_this_process, noted


@pytest.fixture
def figures() -> Iterator[telemetry.Figures]:
    """Figures that note what they are told."""
    with figures_of_this_process() as found:
        yield found


def test_a_commit_counts_under_its_stage_and_model(figures: telemetry.Figures) -> None:
    figures.committed("scores", {"rows": 9, "prompt_tokens": 80, "device_s": 0.5, "shard": 1})
    figures.committed("large/000", {"rows": 4, "output_tokens": 0, "device_s": 1.5})
    figures.committed("judge/000-both", {"rows": 2})
    figures.committed("new/000", {"rows": 1})
    figures.pending("small/001", 0)
    assert noted(figures) == {
        "routelmt_rows_total": [
            (9, "score", "small"), (4, "translate", "large"), (2, "judge", ""), (1, "new", ""),
        ],
        "routelmt_prompt_tokens_total": [(80, "score", "small")],
        "routelmt_device_seconds_total": [(0.5, "score", "small"), (1.5, "translate", "large")],
        "routelmt_pending_shards": [(0, "translate", "small")],
    }  # fmt: skip


def test_meters_are_read_now_and_then_and_never_end_a_job(
    figures: telemetry.Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, answers = [1000.0], [5.0, OSError("the store is away"), 8.0, 9.0]

    def total_s(run: RunDir, now: float, prices: Prices | None = None) -> float:
        if prices is not None:
            return 0.25
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(telemetry.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(telemetry.meter_readings, "total_s", total_s)
    for seconds in (0, 29, 2, 40, 1):
        clock[0] += seconds
        figures.spent(RunDir(tmp_path))
    assert noted(figures) == {"routelmt_spent_device_seconds": [(5.0,), (8.0,)]}
    figures.spent(RunDir(tmp_path), at_once=True)
    assert noted(figures) == {"routelmt_spent_device_seconds": [(5.0,), (8.0,), (9.0,)]}, (
        "at the end of a stage, however short it was"
    )
    assert "the figures for Prometheus are not up to date: the store is away" in caplog.text
    figures.planned(100.0, 90.0, "gpu_s")
    assert noted(figures)["routelmt_budget_device_seconds"] == [(100.0,)]
    assert noted(figures)["routelmt_predicted_device_seconds"] == [(90.0,)]
    figures.account(400.0, 20.0, 100.0)
    assert noted(figures)["routelmt_account_allowance"] == [(400.0,)]
    assert [noted(figures)[f"routelmt_account_{name}"] for name in ("granted", "left")] == [[(20.0,)], [(100.0,)]]


def test_money_promises_and_routed_rows_are_exported(
    figures: telemetry.Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry.meter_readings, "total_s", lambda run, now, prices=None: 0.25 if prices else 9.0)
    figures.spent(RunDir(tmp_path), at_once=True)
    figures.prices = Prices("EUR", ModelPrice(1.0), ModelPrice(2.0))
    figures.spent(RunDir(tmp_path), at_once=True)
    figures.planned(500.0, 450.0, "EUR")
    figures.routed(30, 100)
    figures.promised(None)
    held, none = {"bound": 0.09, "threshold": 0.3}, {"bound": 0.8, "threshold": None}
    figures.promised({"rate": 0.1, "groups": {"en→de": held, "en→fr": none}})
    found = noted(figures)
    bounds = found.pop("routelmt_promise_bound"), found.pop("routelmt_promise_threshold")
    assert found == {
        "routelmt_spent_device_seconds": [(9.0,), (9.0,)], "routelmt_spent_money": [(0.25, "EUR")],
        "routelmt_budget_money": [(500.0, "EUR")], "routelmt_predicted_money": [(450.0, "EUR")],
        "routelmt_routed_rows": [(30,)], "routelmt_eligible_rows": [(100,)],
        "routelmt_promise_rate": [(0.1, "en->de"), (0.1, "en->fr")],
    }  # fmt: skip
    for values, first in zip(bounds, (0.09, 0.3)):
        assert values[0] == (first, "en->de") and math.isnan(values[1][0]) and values[1][1] == "en->fr"
