"""Whole jobs that route by a threshold, found on the scores of another run."""

import json
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jobs import threshold
from routelmt_ray.job.status import status
from routelmt_ray.reports.status_table import print_status
from tests.conftest import Job
from tests.end_to_end import ended
from tests.end_to_end.runs import ECHO
from tests.runtime.noted import figures_of_this_process, noted

BY_LENGTH = [*ECHO, "router.kind=length"]


def written(path: Path, lengths: list[int]) -> str:
    pq.write_table(pa.table({"source": ["x" * n for n in lengths]}), path)
    return f"input.path={path}"


def test_a_threshold_of_one_corpus_routes_another_row_by_row(
    without_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    scored, out = Job(tmp_path / "scored"), tmp_path / "threshold.json"
    scored.run(*BY_LENGTH, written(tmp_path / "a.parquet", list(range(1, 101))), "budget.rows=0")
    capsys.readouterr()
    assert threshold.main([f"run_dir={scored.run_dir}", "fraction=0.3", f"out={out}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("threshold 71 (95 % interval: ") and "it routes 30.00% of 100 scored rows" in said
    assert threshold.main([f"run_dir={scored.run_dir}", "fraction=0.3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())

    lengths = [70, 71, 72, 5, 71, 70, 90, 6]
    job = Job(tmp_path / "run")
    words = [*BY_LENGTH, written(tmp_path / "b.parquet", lengths), "input.shard_rows=3"]
    with figures_of_this_process() as figures:
        done = job.run(*words, f"budget.threshold={out}")
    exported = {name: values[-1] for name, values in noted(figures).items()}
    assert (exported["routelmt_routed_rows"], exported["routelmt_eligible_rows"]) == ((4,), (8,))
    assert job.output()["route"].to_pylist() == ["large" if n >= 71 else "small" for n in lengths]
    assert "4, 50.0 % of the eligible rows, 30.0 % where the threshold was found" in " ".join(done.stdout.split())
    assert "30.0 % where the threshold was found" in (job.run_dir / "report.html").read_text()
    assert [entry["asked"] for entry in status(str(job.run_dir))["plan"]] == [{"threshold": "71.0"}]
    print_status(status(str(job.run_dir)), Console(file=(shown := StringIO()), width=200))
    assert "threshold 71" in shown.getvalue()
    report = job.report()
    assert report["budget"]["routed"] == 4 and report["budget"]["asked"] == "threshold 71.0"
    again = job.run(*BY_LENGTH, f"input.path={tmp_path / 'b.parquet'}", "input.shard_rows=3", "budget.threshold=71.0")
    assert "nothing to do" in again.stderr
    changed = job.run(*BY_LENGTH, f"input.path={tmp_path / 'b.parquet'}", "input.shard_rows=3", "budget.threshold=80")
    assert job.output()["route"].to_pylist().count("large") == 1 and changed.returncode == 0

    corpus = f"input.path={tmp_path / 'b.parquet'}"
    refused = job.run(*ECHO, corpus, "router.kind=random", f"budget.threshold={out}", check=2).stderr
    assert "which was found on the scores of another router: {'kind': 'length'" in refused


def test_a_run_by_a_threshold_is_predicted_by_a_dry_run_and_goes_on_after_an_end(
    without_ray: None, tmp_path: Path
) -> None:
    job, lengths = Job(tmp_path / "run"), [70, 71, 72, 5, 71, 70, 90, 6]
    words = [*BY_LENGTH, written(tmp_path / "a.parquet", lengths), "input.shard_rows=2", "budget.threshold=71"]
    dry = job.run(*words, "budget.dry_run=true", "cost.rows=16")
    asked = job.report()["forecast"]["asked"]
    assert asked["rows"] == 4 and "50.0 %" in dry.stdout and not (job.run_dir / "large").exists()
    with ended.commits("large/000"), pytest.raises(ended.Ended):
        job.run(*words)
    before = job.plan()
    job.run(*words)
    assert job.plan() == before, "it keeps its plan"
    assert job.output()["route"].to_pylist() == ["large" if n >= 71 else "small" for n in lengths]


def test_what_holds_no_threshold_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus, job = written(tmp_path / "a.parquet", [1, 2]), Job(tmp_path / "run")
    (tmp_path / "no.json").write_text('{"threshold": 0.1}')
    for value, words in (
        ("nan", "it must be a finite number"),
        ("inf", "it must be a finite number"),
        ("-1e39", "budget.threshold is -1e39; it must be a finite number of 32 bits"),
        (str(tmp_path / "none.json"), "neither a number nor a file of jobs/threshold.py"),
        (str(tmp_path / "no.json"), "neither a number nor a file of jobs/threshold.py"),
    ):
        assert words in job.run(*BY_LENGTH, corpus, f"budget.threshold={value}", check=2).stderr
    both = job.run(*BY_LENGTH, corpus, "budget.threshold=1", "budget.fraction=0.1", check=2).stderr
    assert "budget.fraction and budget.threshold are set" in both
    bound = job.run(*BY_LENGTH, corpus, "budget.threshold=1", "budget.min_gain=0", check=2).stderr
    assert "the threshold is already such a bound" in bound
    for run_dir, words in ((tmp_path / "nothing", "has no manifest.json"), (job.run_dir, "has no manifest.json")):
        assert threshold.main([f"run_dir={run_dir}"]) == 2
        assert words in caplog.text
        caplog.clear()
