"""The whole job on the embedded pair: probe, allocate, translate, merge, report, and a changed budget."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config.schema import TRANSLATED
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import DEMO_CONFIG, DEMO_SHARDS, Undisturbed
from tests.end_to_end.runs import output, quarantine, run, top_k_of

ROWS_ON_RECORD = "ed8ef00fcf02ecc19cd55ea1eba2d46eca23abfd043ce5fcfd686589f08976c7"
"""SHA-256 of what the demo writes of each row; the same with transformers 4.57.6 and 5.19.0 (torch 2.13.0)."""


@pytest.fixture(scope="module")
def finished(undisturbed_demo: Undisturbed) -> tuple[Path, dict[str, Any]]:
    """A finished run at a budget of 0.3."""
    return undisturbed_demo.job.run_dir, undisturbed_demo.job.report()


def test_every_row_comes_out_once_in_order_with_its_columns(finished: Any, demo_corpus: pa.Table) -> None:
    rows = output(finished[0])
    assert rows.select(demo_corpus.column_names).equals(demo_corpus)
    assert rows.column_names[len(demo_corpus.column_names) :] == [
        "translation", "model", "route", "route_reason", "predicted_gain", "status", "error"
    ]  # fmt: skip
    assert (finished[0] / "output" / "_SUCCESS").exists()


def test_exactly_the_highest_gains_are_routed(finished: Any, demo_corpus: pa.Table) -> None:
    rows = output(finished[0])
    k = int(demo_corpus.num_rows * 0.3)
    routed = {i for i, route in enumerate(rows["route"].to_pylist()) if route == "large"}
    gains = rows["predicted_gain"].to_pylist()
    threshold, above = top_k_of(gains, k)
    assert len(routed) == k
    assert above <= routed
    assert all(gains[i] >= threshold for i in routed)


def test_the_routed_rows_are_the_large_models_and_better(finished: Any) -> None:
    rows = output(finished[0])
    assert rows["model"].to_pylist() == rows["route"].to_pylist()
    assert set(rows["status"].to_pylist()) <= {"ok", "output_limit"}
    assert quarantine(finished[0]) == []
    quality = finished[1]["quality"]["by_model"]
    assert quality["large"]["mean"] > 0.85
    assert quality["all"]["rows"] == rows.num_rows


def test_plan_and_rows_are_those_on_record(finished: Any) -> None:
    rows = output(finished[0]).select(["id", "translation", "model", "route_reason"]).to_pylist()
    assert hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest() == ROWS_ON_RECORD, (
        "the demo translates or routes otherwise than before: where that is meant, record the new digest"
    )


def test_the_report_says_what_was_done(finished: Any, demo_corpus: pa.Table) -> None:
    run_dir, report = finished
    assert report == json.loads((run_dir / "report.json").read_text())
    assert report["budget"]["routed"] == report["models_used"]["large"] == int(demo_corpus.num_rows * 0.3)
    assert sum(pair["rows"] for pair in report["pairs"]) == demo_corpus.num_rows
    assert {pair["pair"] for pair in report["pairs"]} == {"en→es", "en→de"}
    assert sum(report["gain_histogram"]["large"]) == report["budget"]["routed"]
    assert "<svg" in (run_dir / "report.html").read_text()


def test_the_report_shows_rows_of_the_output_from_the_highest_gain_to_the_lowest(finished: Any) -> None:
    samples, rows = finished[1]["samples"], {row["source"]: row for row in output(finished[0]).to_pylist()}
    assert len(samples) == 10
    scores = [sample["score"] for sample in samples]
    assert scores == sorted(scores, reverse=True)
    for sample in samples:
        row = rows[sample["source"]]
        assert [sample[name] for name in ("reference", "route", "route_reason", "model", "status")] == [
            row[name] for name in ("reference", "route", "route_reason", "model", "status")
        ]
        assert sample["score"] == row["predicted_gain"]
        other = "small" if row["model"] == "large" else "large"
        assert sample[row["model"]]["translation"] == row["translation"]
        assert 0 <= sample[row["model"]]["quality"] <= 1
        assert sample[other] == {"translation": None, "quality": None}


def test_a_changed_budget_reuses_scores_and_translations(
    demo_corpus: pa.Table, without_ray: None, tmp_path: Path
) -> None:
    path, run_dir, fresh, words = tmp_path / "in.parquet", tmp_path / "run", tmp_path / "fresh", [DEMO_SHARDS]
    pq.write_table(demo_corpus.slice(0, 70), path)
    before = run(run_dir, path, *words, "budget.fraction=0.3", config=DEMO_CONFIG)
    scores = {path.name: path.stat().st_mtime_ns for path in (run_dir / "scores").iterdir()}
    translated = {
        path: path.stat().st_mtime_ns for part in ("small", "large") for path in (run_dir / part).rglob("*.parquet")
    }
    more = run(run_dir, path, *words, "budget.fraction=0.4", config=DEMO_CONFIG)
    assert {path.name: path.stat().st_mtime_ns for path in (run_dir / "scores").iterdir()} == scores
    assert {path: path.stat().st_mtime_ns for path in translated} == translated
    new_rows = sum(pq.read_metadata(path).num_rows for path in (run_dir / "large" / "001").iterdir())
    assert new_rows == more["budget"]["routed"] - before["budget"]["routed"]
    assert not (run_dir / "small" / "001").exists(), "a larger budget leaves the small model nothing new to do"
    run(fresh, path, *words, "budget.fraction=null", "budget.rows=28", config=DEMO_CONFIG)
    assert output(run_dir).equals(output(fresh))
    back = run(run_dir, path, *words, "budget.fraction=0.3", config=DEMO_CONFIG)
    loaded = Counter(reading.kind for reading in meter_readings.readings(RunDir(run_dir)))
    assert loaded == {"probe": 1, "small": 1, "large": 2}, "a model with nothing new to do is not loaded"
    assert back["budget"]["threshold"] == before["budget"]["threshold"]
    assert back["budget"]["routed"] == before["budget"]["routed"]


def test_what_the_large_model_fails_on_the_small_one_translates(
    demo_folder: Path, demo_corpus: pa.Table, without_ray: None, tmp_path: Path
) -> None:
    # The longest rows are routed, and too long for the large model. The small one is the cheapest that answers.
    words = [
        DEMO_SHARDS,
        "router={kind: length, path: null}",
        "models.small.engine=echo",
        "models.large.max_input_tokens=16",
    ]
    report = run(tmp_path / "run", demo_folder, *words, config=DEMO_CONFIG)
    rows = output(tmp_path / "run").to_pylist()
    fallen = [row for row in rows if row["route"] == "large" and row["model"] == "small"]
    assert report["fallbacks"] == len(fallen) > 0
    assert all(row["status"] in TRANSLATED and row["translation"] and "large: " in row["error"] for row in fallen)
    assert report["budget"]["routed"] == int(demo_corpus.num_rows * 0.3)
    assert all(row["translation"] for row in rows)
