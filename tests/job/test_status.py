"""The status of a run is what its directory says."""

import io
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from jobs import status as status_job
from routelmt_ray import storage
from routelmt_ray.job.status import SILENT_S, status
from routelmt_ray.reports.status_table import print_status
from routelmt_ray.runtime.readings import MeterReading
from routelmt_ray.runtime.suspects import Attempt
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import ROOT

NOW = 1_800_000_000.0


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat(timespec="milliseconds")


def commit(run: RunDir, stage: str, shard: int, rows: int, seconds: float) -> None:
    run.commit(stage, shard, pa.table({"a": range(rows)}), {"rows": rows})
    os.utime(run.shard_path(stage, shard), (NOW + seconds, NOW + seconds))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A translate run under way: scored, and half translated, under a budget of half an hour."""
    run = RunDir(tmp_path / "run")
    run.write_manifest(
        {
            "identity": {"job": "translate"}, "state": "running", "created": at(-9000), "started": at(-100),
            "rows": 1000, "shards": 10, "damaged_files": ["b.parquet: broken"], "error": None,
            "unread": {"files": 3, "counted": 2, "named": ["c.csv: not of a known kind", "d", "e"]},
            "config": {"budget": {"gpu_hours": 0.5}},
        }
    )  # fmt: skip
    for shard in range(10):
        commit(run, "scores", shard, 100, -5000 + shard)
    for shard in range(4):
        commit(run, "large/001", shard, 30, -80 + 20 * shard)
    commit(run, "quarantine", 3, 7, -10)
    asked = {"fraction": None, "rows": None, "gpu_hours": 0.5, "objective": "gain"}
    cut = {"k": 120, "threshold": 0.25}
    run.write_plan({"entry": 0, "kind": "opening", "final": False, "asked": asked, "routed": None})
    run.write_plan(
        {"entry": 1, "kind": "tranche", "final": True, "asked": asked, "routed": {"cut": cut}, "capacity_s": 900.0}
    )
    reading = MeterReading("large", "gpu_s", "host", 1, 2.0, at(-90), at(-1), 178.0, 10.0, 168.0, 4.0, 3, "busy")
    for number, other in enumerate((reading, replace(reading, kind="probe", updated=at(-4000), state="ended"))):
        storage.write_json(run.root / "meter" / f"{other.kind}-{number}.json", asdict(other))
    attempt = Attempt(run, "large/001", 4, 30)
    attempt.enter(range(30))
    Attempt(run, "large/001", 4, 30).enter(range(30))
    return run


def test_shards_rows_rate_budget_plan_and_errors(run: RunDir) -> None:
    found = status(str(run.root), NOW)
    assert (found["job"], found["state"], found["rows"], found["shards"]) == ("translate", "running", 1000, 10)
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert list(stages) == ["scores", "large/001", "output"]
    assert [(s["shards_done"], s["shards"], s["rows"]) for s in stages.values()] == [
        (10, 10, 1000), (4, 10, 120), (0, 10, 0)
    ]  # fmt: skip
    assert stages["scores"]["shards_per_s"] is None, "an earlier start did it"
    assert stages["large/001"]["shards_per_s"] == pytest.approx(4 / 100)
    assert found["eta_s"] == stages["large/001"]["eta_s"] == pytest.approx(6 * 25)
    spend = found["spend"]
    assert spend["by_kind"] == {"large": 178.0, "probe": 178.0}
    assert (spend["unit"], spend["actors_alive"]) == ("gpu_s", 1)
    assert (spend["budget_device_s"], spend["remaining_device_s"]) == (1800.0, 1800.0 - 356.0)
    assert [entry["routed_rows"] for entry in found["plan"]] == [None, 120]
    assert found["plan"][1]["asked"] == {"gpu_hours": 0.5}
    assert found["errors"] == {
        "last": None,
        "quarantined_rows": 7,
        "deaths": [{"shard": "large/001/shard-000004", "deaths": 1, "convicted": 0}],
        "damaged_files": ["b.parquet: broken"],
        "unread": {"files": 3, "counted": 2, "named": ["c.csv: not of a known kind", "d", "e"]},
    }
    json.dumps(found)


def test_a_budget_in_money_shows_what_is_paid_and_left_for_device_time_and_tokens(run: RunDir) -> None:
    manifest = run.manifest()
    assert manifest is not None
    price = {"currency": "EUR", "small": {"gpu_hour": 36.0}, "large": {"input_tokens": 1.0, "output_tokens": 2.0}}
    none = dict.fromkeys(("gpu_hour", "input_tokens", "output_tokens"))
    price |= {size: none | price[size] for size in ("small", "large")}  # type: ignore[dict-item]
    run.write_manifest(manifest | {"config": {"budget": {"money": 9.0}, "price": price}})
    usage = {"requests": 9.0, "answers": 9.0, "prompt_tokens": 1e6, "completion_tokens": 2e6}
    reading = MeterReading(
        "large", "cpu_s", "host", 1, 0.0, at(-90), at(-1), 9.0, 1.0, 8.0, 4.0, 3, "busy", usage=usage
    )
    storage.write_json(run.root / "meter" / "large-0.json", asdict(reading))
    spend = status(str(run.root), NOW)["spend"]
    assert spend["money"] == {
        "currency": "EUR", "spent": pytest.approx(6.78), "by_kind": {"large": 5.0, "probe": pytest.approx(1.78)},
        "budget": 9.0, "remaining": pytest.approx(2.22),
    }  # fmt: skip
    assert spend["budget_device_s"] is None and spend["spent_device_s"] == 178.0
    shown = StringIO()
    print_status(status(str(run.root), NOW), Console(file=shown, width=100))
    assert "money          EUR 6.78; EUR 2.22 left of EUR 9.00" in shown.getvalue()


def test_a_run_without_a_sign_of_life_is_called_silent(run: RunDir) -> None:
    assert status(str(run.root), NOW + SILENT_S - 2)["state"] == "running"
    silent = status(str(run.root), NOW + SILENT_S)
    assert (silent["state"], silent["eta_s"], silent["spend"]["actors_alive"]) == ("silent", None, 0)
    lease = run.root / "lease.json"
    lease.write_text("{}")
    os.utime(lease, (NOW + SILENT_S - 5, NOW + SILENT_S - 5))
    assert status(str(run.root), NOW + SILENT_S)["state"] == "running", "its driver is at work"
    manifest = run.manifest()
    assert manifest is not None
    run.write_manifest(manifest | {"state": "failed", "finished": at(0), "error": "a disk is full"})
    failed = status(str(run.root), NOW + 9000)
    assert (failed["state"], failed["eta_s"], failed["errors"]["last"]) == ("failed", None, "a disk is full")


def test_a_run_that_has_just_begun_has_a_status(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    started = datetime.fromtimestamp(time.time(), UTC).isoformat()
    run.write_manifest({"identity": {}, "state": "running", "created": started, "started": started, "config": {}})
    found = status(str(tmp_path))
    assert (found["state"], found["shards"], found["eta_s"]) == ("running", None, None)
    assert [stage["shards_done"] for stage in found["stages"]] == [0, 0]
    print_status(found, Console(file=StringIO()))


def test_people_are_shown_the_same(run: RunDir) -> None:
    shown = StringIO()
    print_status(status(str(run.root), NOW), Console(file=shown, width=100))
    lines = shown.getvalue()
    assert "translate run  " + str(run.root) in lines
    assert "2 min 30 s left of what is under way" in lines
    assert "5 min 56 s (gpu_s), 1 actor at work; 24 min 04 s left of 30 min 00 s" in lines
    assert [line.split() for line in lines.splitlines() if line.startswith("large/001")] == [
        ["large/001", "4", "of", "10", "120", "0.04", "2", "min", "30", "s"]
    ]
    assert "quarantine     7 rows" in lines
    assert "not read       2 files that may hold rows; first: c.csv: not of a known kind" in lines
    assert "deaths         large/001/shard-000004: 1, 0 rows convicted" in lines


def test_it_runs_without_ray_and_refuses_what_is_no_run(run: RunDir, tmp_path: Path) -> None:
    code = (
        "import sys; from jobs import status; s = status.main(sys.argv[1:]); sys.exit(9 if 'ray' in sys.modules else s)"
    )
    for words, wanted in (([f"run_dir={run.root}", "--json"], 0), ([f"run_dir={tmp_path}"], 2), (["run_dir="], 2)):
        done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == wanted, done.stderr
        assert "Traceback" not in done.stderr
        if wanted == 0:
            assert json.loads(done.stdout)["job"] == "translate"


def test_a_terminal_that_knows_only_ascii_is_shown_the_rest(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = run.manifest()
    assert manifest is not None
    run.write_manifest(manifest | {"error": "données – 日本"})
    entry = run.plan(0)
    run.write_plan(entry | {"kind": "[ö]"})
    found = status(str(run.root), NOW)
    console = Console(file=io.TextIOWrapper(raw := io.BytesIO(), encoding="ascii", write_through=True), width=100)
    print_status(found, console)
    shown = raw.getvalue()
    assert b"donn?es - ??" in shown and b"[?]" in shown and b"4 of 10" in shown

    for form, encoding, expected in (("table", "latin-1", b"donn\xe9es - ??"), ("json", "ascii", b"donn\\u00e9es")):
        stdout = io.TextIOWrapper(raw := io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stdout)
        assert status_job.main([f"run_dir={run.root}", f"format={form}"]) == 0
        stdout.flush()
        assert expected in raw.getvalue()
    assert json.loads(raw.getvalue())["errors"]["last"] == "données – 日本"
