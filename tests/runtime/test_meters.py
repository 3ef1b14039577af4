"""What is spent is read from workers whose clocks are not the driver's."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from routelmt_ray.runtime import metering
from routelmt_ray.runtime.meters import Meters
from routelmt_ray.runtime.readings import BUSY, ENDED, IDLE, LOADING, MeterReading
from routelmt_ray.storage.rundir import RunDir

NOW = 1_800_000_000.0


def reading(updated_s: float, state: str, host: str = "a", gpus: float = 0.0, device_s: float = 100.0) -> MeterReading:
    updated = datetime.fromtimestamp(updated_s, UTC).isoformat()
    return MeterReading("large", "cpu_s", host, 1, gpus, updated, updated, device_s, 10.0, 80.0, 2.0, 3, state)


def spent(tmp_path: Path, found: list[MeterReading]) -> float:
    (tmp_path / "meter").mkdir(exist_ok=True)
    for number, one in enumerate(found):
        (tmp_path / "meter" / f"large-{number}.json").write_text(json.dumps(asdict(one)))
    return Meters(RunDir(tmp_path), now=lambda: NOW).spent_s()


@pytest.mark.parametrize("skew_s", [-86_400.0, -600.0, 0.0, 600.0, 86_400.0])
def test_a_clock_that_is_wrong_changes_nothing(tmp_path: Path, skew_s: float) -> None:
    right = [reading(NOW - 0.1, BUSY), reading(NOW - 1.1, BUSY), reading(NOW - 50, BUSY), reading(NOW - 9, IDLE)]
    there = [replace(one, host="b", updated=reading(datetime.fromisoformat(one.updated).timestamp() + skew_s, BUSY).updated)
             for one in right]  # fmt: skip
    at_work_s = 0.05 + 1.05 + 2.0  # since the last beat, as the youngest has just beaten; at most `beat_s`
    assert spent(tmp_path, [*right, *there]) == pytest.approx(2 * (400 + at_work_s))


def test_what_was_read_a_moment_ago_is_read_again_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "meter").mkdir()
    path, meters = tmp_path / "meter" / "large-0.json", Meters(RunDir(tmp_path), now=lambda: NOW)
    path.write_text(json.dumps(asdict(reading(NOW, ENDED))))
    assert meters.spent_s() == 100.0
    path.write_text(json.dumps(asdict(reading(NOW, ENDED, device_s=1234.0))))
    assert meters.spent_s() == 100.0, "one commit asks many times"
    meters.read_again()
    assert meters.spent_s() == 1234.0


def test_nothing_is_added_for_what_does_not_spend(tmp_path: Path) -> None:
    done = [reading(NOW - age, state) for age in (0, 50) for state in (IDLE, ENDED)]
    assert spent(tmp_path, done) == 400.0
    (tmp_path / "other").mkdir()
    held = [reading(NOW, IDLE, gpus=1.0), reading(NOW - 50, IDLE, gpus=1.0), reading(NOW - 50, LOADING)]
    assert spent(tmp_path / "other", held) == pytest.approx(300 + 0.05 + 2 + 2)


def test_what_an_actor_took_before_its_meter_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering.time, "process_time", lambda: 7.0)
    assert metering.DeviceClock(0.0, whole_process=True).seconds() == pytest.approx(7.0)
    assert metering.DeviceClock(0.0).seconds() == pytest.approx(0.0)
    monkeypatch.setattr(metering.time, "process_time", lambda: 0.5)  # a process that was started ahead, and waited
    assert metering.DeviceClock(2.0, whole_process=True).seconds() == pytest.approx(1.0, abs=0.1)
