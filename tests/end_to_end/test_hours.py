"""A budget in device-hours on the embedded pair: predicted, refused, carried out in tranches, and raised."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs import threshold
from routelmt_ray.demo.corpus import write_corpus
from routelmt_ray.plan.tranches import BudgetTooSmall
from tests.conftest import Job
from tests.end_to_end.runs import output, run
from tests.without_ray import without_ray

pytestmark = pytest.mark.timeout(900)
CONFIG = "configs/demo.yaml"
# A profile takes four batches at least, so that small batches make it short.
WORDS = [
    "input.shard_rows=24", "models.large.batch_rows=8", "models.small.batch_rows=8", "budget.fraction=null",
    "cost.rows=32",
]  # fmt: skip
TRANCHES = "budget.tranches=2"
ROWS = 96


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hours")
    write_corpus(folder, "dev", 2 * ROWS, 5)
    (path,) = folder.iterdir()
    rows = pq.read_table(path)
    pq.write_table(rows.filter(pc.less_equal(pc.utf8_length(rows["source"]), 80)).slice(0, ROWS), path)
    assert pq.read_metadata(path).num_rows == ROWS
    return folder


@pytest.fixture(scope="module")
def predicted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A dry run: profiled and scored, nothing translated."""
    run_dir = tmp_path_factory.mktemp("dry")
    words = ["budget.gpu_hours=1", "budget.dry_run=true"]
    with without_ray():
        return run_dir, run(run_dir, corpus, *WORDS, *words, config=CONFIG)


def ample_hours(dry: tuple[Path, dict[str, Any]]) -> float:
    """More than all-large: how closely a budget is met is measured in tests/benchmarks, not on so small a corpus."""
    loads_s = sum(profile_of(dry[0])[size]["load_s"] for size in ("small", "large"))
    return (1.5 * dry[1]["forecast"]["all_large_s"] + 4 * loads_s) / 3600


def profile_of(run_dir: Path) -> dict[str, Any]:
    (path,) = run_dir.glob("profile/*/cost.json")
    costs: dict[str, Any] = json.loads(path.read_text())
    return costs


def test_a_dry_run_predicts_the_frontier_and_translates_nothing(predicted: Any) -> None:
    run_dir, report = predicted
    frontier = report["forecast"]["frontier"]
    assert report["state"] == "dry run"
    assert not (run_dir / "small").exists() and not (run_dir / "large").exists() and not (run_dir / "output").exists()
    assert [point["rows"] for point in frontier] == sorted(point["rows"] for point in frontier)
    gains = [point["gain_won"] for point in frontier]
    assert gains == sorted(gains) and gains[-1] > 0.05
    assert frontier[0]["total_s"] == pytest.approx(report["forecast"]["all_small_s"])
    assert report["forecast"]["asked"]["rows"] == frontier[-1]["rows"], "an hour is more than enough"
    scores = pa.concat_tables(pq.read_table(path) for path in sorted((run_dir / "scores").iterdir()))
    positive = [gain for gain in scores["predicted_gain"].to_pylist() if gain > 0]
    assert (frontier[-1]["rows"], gains[-1]) == (len(positive), pytest.approx(sum(positive) / ROWS, rel=1e-5))
    page = (run_dir / "report.html").read_text()
    assert "What a budget would buy" in page and "This was a dry run" in page


def test_a_threshold_for_hours_spends_them_as_the_forecast_says(
    predicted: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run_dir, report = predicted
    capsys.readouterr()
    middle = 0.5 * (report["forecast"]["all_small_s"] + report["forecast"]["all_large_s"]) / 3600
    out = tmp_path / "threshold.json"
    assert threshold.main([f"run_dir={run_dir}", f"hours={middle}", f"out={out}"]) == 0
    found, said = json.loads(out.read_text()), capsys.readouterr().out
    assert said.startswith(f"threshold {found['threshold']:.6g} (95 % interval: ") and found["hours"] == middle
    scores = pa.concat_tables(pq.read_table(path) for path in sorted((run_dir / "scores").iterdir()))
    routed = scores["predicted_gain"].to_numpy() >= np.float32(found["threshold"])
    assert 0.2 < routed.mean() < 0.8 and found["share"] == pytest.approx(routed.mean())
    assert found["interval"][0] < found["threshold"] < found["interval"][1]
    for words, message in (
        (["hours=1e-6"], "ask for more"),
        (["hours=1", "fraction=0.3"], "set one of them"),
    ):
        assert threshold.main([f"run_dir={run_dir}", *words]) == 2 and message in caplog.text
        caplog.clear()


def test_less_than_all_small_is_refused_with_the_figure(
    predicted: Any, corpus: Path, without_ray: None, tmp_path: Path
) -> None:
    shutil.copytree(predicted[0], tmp_path / "run")
    hours = 0.8 * predicted[1]["forecast"]["all_small_s"] / 3600
    with pytest.raises(BudgetTooSmall, match=r"set budget.gpu_hours to at least 0\.0\d+"):
        run(tmp_path / "run", corpus, *WORDS, f"budget.gpu_hours={hours}", config=CONFIG)
    guard = ["guard.quality_hypo=0.5", "guard.judge=logprob"]
    with pytest.raises(BudgetTooSmall, match="by its profile the job needs"):
        run(tmp_path / "run", corpus, *WORDS, *guard, f"budget.gpu_hours={hours}", config=CONFIG)
    assert not (tmp_path / "run" / "large").exists() and not (tmp_path / "run" / "small").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pools_that_take_turns_meet_a_budget_and_a_larger_one_pays_only_for_what_is_new(
    predicted: Any, corpus: Path, local_ray: None, tmp_path: Path
) -> None:
    shutil.copytree(predicted[0], tmp_path / "run")
    turns = [TRANCHES, "models.small.pool.cpus=1.6", "models.large.pool.cpus=1.6"]  # together more than the cluster has
    hours = ample_hours(predicted)
    first = run(tmp_path / "run", corpus, *WORDS, *turns, f"budget.gpu_hours={hours}", config=CONFIG)
    before = output(tmp_path / "run").to_pydict()
    assert first["spend"]["spent_s"] <= first["spend"]["budget_s"]
    assert first["budget"]["routed"] > 0 and all(before["translation"])
    more = hours + 0.01
    second = run(tmp_path / "run", corpus, *WORDS, *turns, f"budget.gpu_hours={more}", config=CONFIG)
    after = output(tmp_path / "run").to_pydict()
    assert second["spend"]["spent_s"] <= second["spend"]["budget_s"]
    routed = {i for i, route in enumerate(before["route"]) if route == "large"}
    assert {i for i, reason in enumerate(after["route_reason"]) if reason == "paid"} == routed
    assert all(after["translation"][i] == before["translation"][i] for i in routed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("forked_workers")
def test_killed_in_mid_tranche_the_plan_is_replayed_and_what_was_lost_is_charged(
    predicted: Any, corpus: Path, tmp_path: Path
) -> None:
    job = Job(tmp_path / "run")
    shutil.copytree(predicted[0], job.run_dir)
    words = [f"input.path={corpus}", *WORDS, TRANCHES, f"budget.gpu_hours={ample_hours(predicted) + 0.02}"]
    job.kill_when(lambda run_dir: any((run_dir / "large" / "001").glob("*.parquet")), *words, config=CONFIG)
    before = {path.name: path.read_text() for path in (job.run_dir / "plan").iterdir()}
    job.run(*words, config=CONFIG)
    after = {path.name: path.read_text() for path in (job.run_dir / "plan").iterdir()}
    assert {name: after[name] for name in before} == before
    assert all(job.output()["translation"].to_pylist())
    spend = job.report()["spend"]
    assert spend["spent_s"] <= spend["budget_s"]
    (large,) = [stage for stage in spend["stages"] if stage["name"] == "large"]
    assert large["incarnations"] == 2
