"""Seconds spent beyond a budget are reported with their reasons."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt_ray.budget.rule import Rule
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.plan.plan import OPENING, TRANCHE, Series
from routelmt_ray.reports.collect_budget import spend
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.readings import BUSY, ENDED, MeterReading
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end.runs import ECHO

HOURS = [*ECHO, "run_dir=x", "input.path=x", "router.kind=length", "router.scale=1", "budget.gpu_hours=0.1"]  # 360 s
STARTS = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"


def reading(actor: str, device_s: float, state: str = ENDED, start: int = 1, second: int = 0) -> MeterReading:
    at = f"2026-01-0{start + 1}T00:00:{second:02d}+00:00"
    return MeterReading(
        "large", "cpu_s", "h", 1, 0.0, at, at, device_s, 20.0, 0.0, 0.0, 3, state, start=STARTS[start], actor=actor
    )


def spent(tmp_path: Path, found: list[MeterReading], large_s: float = 0.0, **position: float) -> dict[str, Any] | None:
    """Sums up a run of one tranche that was to take 50 s on the large model."""
    (tmp_path / meter_readings.FOLDER).mkdir()
    for number, one in enumerate(found):
        (tmp_path / meter_readings.FOLDER / f"large-{number}.json").write_text(json.dumps(asdict(one)))
    run = RunDir(tmp_path)
    if large_s:
        run.commit("large/001", 0, pa.table({"place": [1]}), {"device_s": large_s})
    at = {"budget_s": 360.0, "spent_s": 100.0, "fixed_s": 20.0, "small_todo_s": 50.0, "large_todo_s": 0.0} | position
    tranche = {
        "entry": 1, "kind": TRANCHE, "tranche": 0, "position": at, "scale_small": 2.0, "scale_large": 1.0,
        "routed": {"cut": {"k": 9, "n_eligible": 99, "threshold": 0.1}}, "capacity_s": 60.0,
        "tally": {"owed": [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 50.0, 0.0]]},
    }  # fmt: skip
    series = Series(Rule(), 0, {}, ({"entry": 0, "kind": OPENING}, tranche))
    sums = spend(run, configlib.load(TranslateConfig, [], HOURS), series)
    assert sums is not None
    over: dict[str, Any] | None = sums["overspent"]
    return over


def test_nothing_is_said_of_a_budget_that_was_kept(tmp_path: Path) -> None:
    assert spent(tmp_path, [reading("a", 360.0)], large_s=70.0) is None


def test_rows_that_were_dearer_than_planned_are_named(tmp_path: Path) -> None:
    over = spent(tmp_path, [reading("a", 370.0)], large_s=70.0)
    assert over == {"seconds": 10.0, "reasons": ["the last rows took 70.0 s on the large model, not 50.0 s"]}


def test_a_budget_that_no_longer_sufficed_for_the_small_model_is_named(tmp_path: Path) -> None:
    over = spent(tmp_path, [reading("a", 400.0)], large_s=30.0, spent_s=250.0)
    assert over is not None and over["seconds"] == 40.0
    (reason,) = over["reasons"]
    assert "all that was left to do took 10 s more than the budget even without them: 250 s were spent" in reason
    assert reason.endswith("the small model took 2.00 times what was profiled")


def test_engines_that_died_are_counted_also_those_of_a_start_that_was_cut_off(tmp_path: Path) -> None:
    again = [reading("a", 100.0, BUSY), reading("a", 100.0, second=30)]  # Ray started it again under its old name
    cut_off = [reading("b", 100.0, BUSY, start=0), reading("c", 30.0, start=0)]
    over = spent(tmp_path, [*again, *cut_off, reading("d", 50.0)], large_s=50.0)
    assert over is not None
    assert over["reasons"] == ["2 engines died; to load them again took about 40 s, besides the work that was lost"]


def test_a_reason_is_given_where_none_is_known(tmp_path: Path) -> None:
    over = spent(tmp_path, [reading("a", 361.0)], large_s=50.0)
    assert over == {"seconds": 1.0, "reasons": ["rows and loads took longer than those before them"]}
