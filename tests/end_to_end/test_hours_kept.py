"""A budget in device-hours on whole jobs, with device clocks that are simulated: kept, used, and never without an output.

Those in which engines are killed run on Ray.
"""

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.plan.closed_loop import ClosedLoop
from routelmt_ray.plan.plan import TOPPED
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import translate
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end import virtual
from tests.end_to_end.runs import ECHO, output, run

ROWS, SHARDS = 480, 4


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of a run with simulated clocks, but its budget; the large model would fail on a row that is not routed."""
    monkeypatch.setattr(translate, "Translate", virtual.Translate)
    texts = [f"row {i} {'x' * (i % 7)}" for i in range(ROWS)]
    texts[77] = virtual.FAILS
    gains = [(i * 37 % 101) / 100 for i in range(ROWS)]
    pq.write_table(pa.table({"source": texts, "mine": gains}), tmp_path / "in.parquet")
    return [
        *ECHO, "router.kind=column", "router.column=mine", "router.scale=1", f"input.shard_rows={ROWS // SHARDS}",
        "models.small.batch_rows=4", "models.large.batch_rows=4", f"cost.path={tmp_path / 'cost.json'}",
        f"run_dir={tmp_path / 'run'}", f"input.path={tmp_path / 'in.parquet'}",
    ]  # fmt: skip


def loads(run_dir: Path) -> Counter[str]:
    return Counter(reading.kind for reading in meter_readings.readings(RunDir(run_dir)))


def start(tmp_path: Path, words: list[str]) -> dict[str, Any]:
    report = run(tmp_path / "run", tmp_path / "in.parquet", *words)
    spend, rows = report["spend"], output(tmp_path / "run").to_pylist()
    assert [row["translation"] for row in rows] == [row["source"] for row in rows], "a whole output, in order"
    assert rows[77]["model"] == "small"
    assert spend["spent_s"] <= spend["budget_s"] and spend["overspent"] is None
    return report


def mortal(dies: Callable[[RunContext, str], bool]) -> type[virtual.Translate]:
    """Makes engines that get SIGKILL at the first beat at which `dies(run, size of the model)` is true."""
    tests = os.getpid()

    class Mortal(virtual.Translate):
        def __init__(self, context: RunContext, size: str) -> None:
            super().__init__(context, size)
            beat = self._host.engine._beat

            def beat_and_die() -> None:
                beat()
                if dies(context, size):
                    assert os.getpid() != tests, "the tests would be killed, and not an actor"
                    os.kill(os.getpid(), signal.SIGKILL)

            self._host.engine._beat = beat_and_die

    return Mortal


def test_side_by_side_and_cut_off_in_the_middle_of_a_tranche(
    without_ray: None, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*words, "budget.gpu_hours=0.25"]  # 900 s; all-small takes 270, all-large 1,470
    virtual.write_costs(tmp_path / "cost.json", words, (0.5, 2.0))

    class Dead(BaseException):
        pass

    commit = ClosedLoop._commit

    def die(self: ClosedLoop, stage: str, shard: int, *rest: Any, **more: Any) -> None:
        if stage == "large/002" and shard == 1:
            raise Dead
        commit(self, stage, shard, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ClosedLoop, "_commit", die)
        with pytest.raises(Dead):
            run(tmp_path / "run", tmp_path / "in.parquet", *words)
    report = start(tmp_path, words)
    print(report["spend"])
    assert loads(tmp_path / "run") == {"small": 2, "large": 2}, "each once a start"
    assert report["spend"]["spent_s"] >= 0.85 * report["spend"]["budget_s"]


def test_engines_of_both_models_are_killed_after_the_last_tranche_is_planned(
    local_ray: None, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(context: RunContext, size: str) -> bool:  # in the middle of a shard, when nothing can be planned any more
        entries = context.run.plans()
        if not any(entry["final"] for entry in entries) or (tmp_path / size).exists():
            return False
        # Its last tranche may be empty; over rows that were taken back it would not be loaded again.
        if size == "large" and any(entry["kind"] == TOPPED for entry in entries):
            return False
        (tmp_path / size).touch()
        return True

    monkeypatch.setattr(translate, "Translate", mortal(dies))
    words = [*words, "budget.gpu_hours=0.25", "budget.tranches=2"]  # 900 s; all-small takes 270, all-large 1,470
    virtual.write_costs(tmp_path / "cost.json", words, (2.0, 0.5))
    report = start(tmp_path, words)
    print(json.dumps(report["spend"]), report["deaths"])
    died = {size for size in ("small", "large") if (tmp_path / size).exists()}
    assert "small" in died
    assert loads(tmp_path / "run") == {"small": 2, "large": 1 + ("large" in died)}, "each model that died once more"
    deaths = {death["shard"].partition("/")[0]: death["deaths"] for death in report["deaths"]}
    assert deaths == dict.fromkeys(died, 1) and not any(death["convicted"] for death in report["deaths"])
    assert 0 < report["budget"]["routed"] < ROWS - 1, "the budget does not suffice for all rows"
    assert report["spend"]["spent_s"] >= 0.85 * report["spend"]["budget_s"]


def test_an_engine_that_dies_over_rows_that_were_taken_back_leaves_them_their_small_translation(
    local_ray: None, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(context: RunContext, size: str) -> bool:  # as soon as it is asked for rows that have a translation
        return size == "large" and any(entry["kind"] == TOPPED for entry in context.run.plans())

    monkeypatch.setattr(translate, "Translate", mortal(dies))
    words = [*words, "budget.gpu_hours=0.25", "budget.tranches=2"]  # 900 s; all-small takes 270, all-large 1,470
    virtual.write_costs(tmp_path / "cost.json", words, (1.0, 1.0))
    report = start(tmp_path, words)
    print(json.dumps(report["spend"]), report["plan"])
    assert loads(tmp_path / "run") == {"small": 1, "large": 1}, "nothing is loaded again"
    rows = output(tmp_path / "run").to_pylist()
    taken_back = report["plan"][-1]["rows"]
    assert taken_back > 0 and sum(row["route"] == "large" for row in rows) < sum(
        line["rows"] for line in report["plan"]
    )
    assert report["spend"]["spent_s"] >= 0.7 * report["spend"]["budget_s"]


def test_in_turn_with_a_routed_row_that_fails(without_ray: None, tmp_path: Path, words: list[str]) -> None:
    table = pq.read_table(tmp_path / "in.parquet").to_pydict()
    table["mine"][77] = 2.0
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    words = [*words, "budget.gpu_hours=0.25", "models.small.pool.cpus=2", "models.large.pool.cpus=2"]
    virtual.write_costs(tmp_path / "cost.json", words, (2.0, 0.5))
    report = start(tmp_path, words)
    print(json.dumps(report["spend"]))
    assert report["spend"]["spent_s"] >= 0.85 * report["spend"]["budget_s"]
    found = loads(tmp_path / "run")  # the row that failed is done with the remainder
    assert found["large"] <= 2 and found["small"] == found["large"] + 1


def test_what_was_spent_beyond_the_budget_and_why_is_in_manifest_report_and_log(
    without_ray: None, tmp_path: Path, words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    words = [*words, "budget.gpu_hours=0.04"]  # 144 s; as profiled all-small takes 133, and really 270
    virtual.write_costs(tmp_path / "cost.json", words, (0.4, 1.0))
    report = run(tmp_path / "run", tmp_path / "in.parquet", *words)
    spend, rows = report["spend"], output(tmp_path / "run").to_pylist()
    assert [row["translation"] for row in rows] == [row["source"] for row in rows], "a whole output, in order"
    over = spend["overspent"]
    assert over["seconds"] == pytest.approx(spend["spent_s"] - 144) and over["seconds"] > 100
    reason = over["reasons"][0]
    assert re.search(
        r"even without them: \d+ s were spent, and the small model took 2\.\d\d times what was profiled", reason
    )
    manifest, written = (storage.read_json(tmp_path / "run" / name) for name in ("manifest.json", "report.json"))
    assert manifest["overspent"] == written["spend"]["overspent"] == over
    assert f"exceeded by {over['seconds']:.3g}: {'; '.join(over['reasons'])}" in caplog.text
    assert reason[:60] in (tmp_path / "run" / "report.html").read_text()
