"""Checks that escalate with a budget in hours or money, on real runs with simulated device clocks: within the budget, also after a crash."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.plan.closed_loop import ClosedLoop
from routelmt_ray.reports.run_facts import spent_and_limit
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.stages import translate
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end import virtual
from tests.end_to_end.runs import ECHO, output, run

pytestmark = pytest.mark.usefixtures("without_ray")
ROWS, SHARDS, FAULTY = 480, 4, 5
COPIED = "seven words that are copied as they are"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of a run whose engines answer with the source, which the check finds in every fifth row, of a low gain."""
    monkeypatch.setattr(translate, "Translate", virtual.Translate)
    texts = [COPIED if i % FAULTY == 3 else f"row {i} {'x' * (i % 7)}" for i in range(ROWS)]
    gains = [(i * 37 % 101) / (1000 if i % FAULTY == 3 else 100) for i in range(ROWS)]
    pq.write_table(pa.table({"source": texts, "mine": gains}), tmp_path / "in.parquet")
    words = [
        *ECHO, "router.kind=column", "router.column=mine", "router.scale=1", f"input.shard_rows={ROWS // SHARDS}",
        "models.small.batch_rows=4", "models.large.batch_rows=4", f"cost.path={tmp_path / 'cost.json'}",
        f"run_dir={tmp_path / 'run'}", f"input.path={tmp_path / 'in.parquet'}", "checks.copy.action=escalate",
        "budget.gpu_hours=0.25",  # 900 s; all-small takes 270, all-large 1,470
        "checks.reserve=0.4",
    ]  # fmt: skip
    virtual.write_costs(tmp_path / "cost.json", words, (1.0, 1.0))
    return words


def start(tmp_path: Path, words: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    report = run(tmp_path / "run", tmp_path / "in.parquet", *words)
    rows, (spent, budget, _) = output(tmp_path / "run").to_pylist(), spent_and_limit(report["spend"])
    assert [row["translation"] for row in rows] == [row["source"] for row in rows], "a whole output, in order"
    assert budget is not None and 0.6 * budget <= spent <= budget and report["spend"]["overspent"] is None
    faulty = [row for row in rows if row["source"] == COPIED]
    taken_back = [row for row in rows if row["route_reason"] == "check"]
    assert taken_back and all(row in faulty for row in taken_back), "only rows that fail are routed for it"
    left = [row["mine"] for row in faulty if row["route"] == "small"]
    assert 0 < max(left) <= min(row["mine"] for row in taken_back), "the highest predicted gain first"
    assert report["route_reasons"]["check"] == len(taken_back)
    return report, rows


def test_what_was_held_goes_to_rows_that_fail_and_then_to_the_best(tmp_path: Path, words: list[str]) -> None:
    report, rows = start(tmp_path, words)
    loads = Counter(reading.kind for reading in meter_readings.readings(RunDir(tmp_path / "run")))
    assert loads == {"small": 1, "large": 2}, "the large model is loaded once more"
    assert report["budget"]["routed"] == sum(row["route"] == "large" for row in rows)
    entries = RunDir(tmp_path / "run").plans()
    assert [entry["kind"] for entry in entries[-2:]] == ["escalated", "escalated"] and entries[0]["held_s"] > 100
    page = (tmp_path / "run" / "report.html").read_text()
    assert "rows that fail a check</td>" in page and "the next best</td>" in page
    before = output(tmp_path / "run")
    run(tmp_path / "run", tmp_path / "in.parquet", *words)
    assert output(tmp_path / "run").equals(before) and RunDir(tmp_path / "run").plans() == entries


def test_a_driver_that_dies_while_rows_are_taken_back_goes_on_within_a_budget_in_money(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dead(BaseException):
        pass

    words.remove("budget.gpu_hours=0.25")
    words += ["budget.money=0.25", "price.small.gpu_hour=1", "price.large.gpu_hour=1"]

    commit, died = ClosedLoop._commit, list[str]()

    def die(self: ClosedLoop, stage: str, shard: int, *rest: Any, **more: Any) -> None:
        if len(self.planner.series.of("escalated")) == 2 and shard == 1:
            died.append(stage)
            raise Dead
        commit(self, stage, shard, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ClosedLoop, "_commit", die)
        with pytest.raises(Dead):
            run(tmp_path / "run", tmp_path / "in.parquet", *words)
        cluster.end_pipelines()
    entries = RunDir(tmp_path / "run").plans()
    start(tmp_path, words)
    assert died and RunDir(tmp_path / "run").plans() == entries, "nothing is decided again"
