"""Repeated segments through whole jobs: translated once, all rows come out, and runs go on after kills and with other budgets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.config import loader
from routelmt_ray.config.profile import ProfileConfig
from routelmt_ray.corpus import repeats as cut
from routelmt_ray.job.status import status
from routelmt_ray.storage.rundir import RunDir
from tests import without_ray as plain
from tests.conftest import DEMO_CONFIG, Job
from tests.end_to_end.ended import Ended, commits, in_parts
from tests.end_to_end.runs import ECHO, output, run
from tests.toy_kinds import KINDS

ONCE = "input.duplicates=once"
BY_SCORE = [
    *ECHO[:2], "input.columns={source_lang: source_lang, target_lang: target_lang}", "router.kind=column", "router.column=mine",
    "router.scale=1",
]  # fmt: skip
STEPS = ("repeats/keys", "repeats/groups", "repeats/rows", "shared/answers", "shared/rows")
ROWS, DEMO_ROWS = 160, 80


@pytest.fixture(autouse=True)
def small_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several sections also in a small corpus; workers get them from the driver."""
    monkeypatch.setattr(cut, "SECTION_ROWS", 70)


def zipf(rows: int, texts: int, seed: int = 4) -> np.ndarray:
    """The text of each row; few texts have most rows."""
    weights = 1 / np.arange(1, texts + 1)
    return np.random.default_rng(seed).choice(texts, rows, p=weights / weights.sum())


@pytest.fixture
def repeated_demo(demo_corpus: pa.Table, tmp_path: Path) -> tuple[Path, pa.Table]:
    """Rows of the demo corpus, many of them several times, in two files."""
    return written(tmp_path / "in", demo_corpus.take(zipf(DEMO_ROWS, 50)))


@pytest.fixture
def repeated_texts(tmp_path: Path) -> tuple[Path, pa.Table]:
    """The like for engines without a model, by turns in capitals and small letters, with a score."""
    texts = [f"text number {i} {'x' * (i % 9)}" for i in range(100)]
    chosen = np.array([text.upper() if i % 2 else text for i, text in enumerate(texts)])[zipf(ROWS, 100)]
    columns = {"source": chosen, "source_lang": ["en"] * ROWS, "target_lang": ["de"] * ROWS}
    return written(tmp_path / "in", pa.table({**columns, "mine": [len(text) / 100 for text in chosen]}))


def written(folder: Path, table: pa.Table) -> tuple[Path, pa.Table]:
    """A corpus in two files, and its rows."""
    folder.mkdir()
    pq.write_table(table.slice(0, 60), folder / "a.parquet")
    pq.write_table(table.slice(60), folder / "b.parquet")
    return folder, table


def firsts(table: pa.Table) -> list[int]:
    """The first row with the same text and languages, by brute force."""
    seen: dict[Any, int] = {}
    rows = zip(*(table[name].to_pylist() for name in ("source", "source_lang", "target_lang")))
    return [seen.setdefault(row, number) for number, row in enumerate(rows)]


def translated(run_dir: Path, *models: str) -> list[int]:
    """Places that a model translated."""
    paths = [path for model in models for path in sorted((run_dir / model).rglob("*.parquet"))]
    return [place for path in paths for place in pq.read_table(path, columns=["place"])["place"].to_pylist()]


def check_output(table: pa.Table, first: list[int], k: int) -> None:
    """Compares an output with a selection by brute force."""
    rows = table.to_pylist()
    segments = sorted(set(first))
    value = {i: np.float32(rows[i]["predicted_gain"]) * first.count(i) for i in segments}
    routed = {i for i in segments if rows[i]["route"] == "large"}
    assert len(routed) == k and min(value[i] for i in routed) >= max(value[i] for i in {*segments} - routed)
    added = ("translation", "model", "route", "route_reason", "predicted_gain", "status", "error")
    for number, (at, row) in enumerate(zip(first, rows)):
        assert [row[name] for name in added] == [rows[at][name] for name in added]
        assert row["duplicate_of"] == (None if at == number else at) and row["status"] == "ok"


def test_each_segment_is_probed_and_translated_once_and_each_row_comes_out(
    local_ray: None, repeated_demo: tuple[Path, pa.Table], tmp_path: Path
) -> None:
    folder, table = repeated_demo
    words = ["input.shard_rows=15", "report.samples=3"]
    report = run(tmp_path / "once", folder, *words, ONCE, "budget.fraction=0.2", config=DEMO_CONFIG)
    first, found = firsts(table), output(tmp_path / "once")
    segments = sorted(set(first))
    assert found.select(table.column_names).equals(table)
    k = len(segments) // 5
    check_output(found, first, k)
    assert sorted(translated(tmp_path / "once", "small", "large")) == segments
    budget = report["budget"]
    assert (budget["n_rows"], budget["n_eligible"], budget["eligible_rows"]) == (DEMO_ROWS, len(segments), DEMO_ROWS)
    assert budget["k"] == budget["routed"] == k
    repeats = report["repeats"]
    saved = DEMO_ROWS - len(segments)
    assert (repeats["rows"], repeats["segments"], repeats["saved"]) == (DEMO_ROWS, len(segments), saved)
    counts = sorted((-first.count(i), i) for i in segments if first.count(i) > 1)[:10]
    assert [(-each["occurrences"], each["place"]) for each in repeats["frequent"]] == counts
    assert repeats["frequent"][0]["source"] == table["source"][counts[0][1]].as_py()
    # Each row has the translation of a run that translates each row.
    with plain.without_ray():
        run(tmp_path / "each", folder, *words, "budget.fraction=1", config=DEMO_CONFIG)
        run(tmp_path / "each", folder, *words, "budget.fraction=0", config=DEMO_CONFIG)
    alone = {
        model: {
            row["place"]: row["translation"]
            for path in (tmp_path / "each" / model).rglob("*.parquet")
            for row in pq.read_table(path).to_pylist()
        }
        for model in ("small", "large")
    }
    for number, row in enumerate(found.to_pylist()):
        assert row["translation"] == alone[row["model"]][number]
    page = (tmp_path / "once" / "report.html").read_text()
    assert "Repeated segments" in page and "need no model" in page
    assert "duplicate_of" not in output(tmp_path / "each").column_names


def test_a_shard_without_a_first_row_needs_no_model(without_ray: None, tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": ["again"] * 40}), tmp_path / "in.parquet")
    words = [*ECHO, "router.kind=length", "input.shard_rows=10", ONCE, "budget.fraction=1"]
    report = run(tmp_path / "run", tmp_path / "in.parquet", *words)
    rows = output(tmp_path / "run").to_pylist()
    assert translated(tmp_path / "run", "small", "large") == [0]
    assert len({row["translation"] for row in rows}) == 1 and {row["model"] for row in rows} == {"large"}
    assert [row["duplicate_of"] for row in rows] == [None, *[0] * 39]
    assert report["models_used"] == {"small": 0, "large": 40, "none": 0} and report["budget"]["routed"] == 1


@pytest.mark.parametrize(
    ("guard", "reason"), [("guard.quality_hypo=0.5", "quality_hypo"), ("guard.keep_better=0.0", "kept_small")]
)
def test_guards_look_at_segments(
    without_ray: None, repeated_texts: tuple[Path, pa.Table], tmp_path: Path, guard: str, reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # The large model swaps the case, and the judge prefers capitals.
    for table, name, kind in KINDS:
        if name in ("swap", "upper_case"):
            monkeypatch.setitem(table, name, kind)
    folder, table = repeated_texts
    words = [*BY_SCORE, "models.large.engine=swap", "input.shard_rows=60", ONCE, "budget.fraction=0.2", guard]
    report = run(tmp_path / "run", folder, *words, "guard.judge=upper_case")
    first, rows = firsts(table), output(tmp_path / "run").to_pylist()
    for number, at in enumerate(first):
        assert (rows[number]["translation"], rows[number]["model"]) == (rows[at]["translation"], rows[at]["model"])
    routed = {at for at in first if rows[at]["route"] == "large"}
    assert len(routed) == report["budget"]["routed"] <= report["budget"]["k"] == len(set(first)) // 5
    judged = translated(tmp_path / "run", "judge")
    assert judged and set(judged) <= set(first) and len(judged) == len(set(judged))
    assert report["route_reasons"][reason] > 0


def echo_corpus(path: Path, rows: int = 300) -> list[str]:
    texts = np.array([f"<b>text</b> {'x' * (i % 9)} {i}" for i in range(80)] + ["", " "])[zipf(rows, 82)]
    table = pa.table({"n": range(rows), "source": texts, "mine": [len(text) / 100 for text in texts]})
    pq.write_table(table, path)
    scores = ["router.kind=column", "router.column=mine", "router.scale=1"]
    return [f"input.path={path}", *ECHO, *scores, "input.shard_rows=20", ONCE]


def test_another_budget_uses_all_that_is_there_and_equals_a_fresh_run(without_ray: None, tmp_path: Path) -> None:
    words = echo_corpus(tmp_path / "in.parquet")
    job, fresh = Job(tmp_path / "run"), Job(tmp_path / "fresh")
    job.run(*words, "budget.fraction=0.5")
    run_dir = RunDir(job.run_dir)
    times = {stage: run_dir.commit_times(stage) for stage in (*STEPS[:3], "scores")}
    job.run(*words, "budget.fraction=0.1")
    assert times == {stage: run_dir.commit_times(stage) for stage in times}
    fresh.run(*words, "budget.fraction=0.1")
    assert job.output().equals(fresh.output())
    assert len(translated(job.run_dir, "large")) == job.report()["budget"]["n_eligible"] // 2
    assert "nothing to do" in job.run(*words, "budget.fraction=0.1").stderr
    found = {stage["name"]: (stage["shards_done"], stage["shards"]) for stage in status(str(job.run_dir))["stages"]}
    assert {found[stage] for stage in STEPS} == {(5, 5)} and found["output"] == (15, 15)
    page = (job.run_dir / "report.html").read_text()
    assert "<b>text</b>" not in page and "&lt;b&gt;text&lt;/b&gt;" in page


def test_floors_caps_and_an_audit_count_segments(without_ray: None, tmp_path: Path) -> None:
    words = echo_corpus(tmp_path / "in.parquet")
    table = pq.read_table(tmp_path / "in.parquet")
    kinds = pa.array(["long" if len(text) > 18 else "short" for text in table["source"].to_pylist()])
    references = table["source"]
    pq.write_table(table.append_column("kind", kinds).append_column("reference", references), tmp_path / "in.parquet")
    job = Job(tmp_path / "run")
    job.run(
        *words, "budget.fraction=0.4", "budget.strata=kind", "budget.floors={short: 0.3}", "budget.caps={long: 0.2}",
        "audit.rows=12", "input.columns.reference=reference",
    )  # fmt: skip
    rows, report = job.output().to_pylist(), job.report()
    rows = [row for row in rows if row["status"] == "ok"]
    share = {
        kind: np.mean([row["route"] == "large" for row in rows if row["kind"] == kind]) for kind in ("long", "short")
    }
    assert share["long"] <= 0.2 and share["short"] >= 0.3
    assert report["audit"]["rows"] == 12
    assert report["budget"]["routed"] <= report["budget"]["k"] == int(0.4 * report["budget"]["n_eligible"])


def test_a_score_that_is_no_gain_keeps_its_order(
    without_ray: None, repeated_texts: tuple[Path, pa.Table], tmp_path: Path
) -> None:
    folder, table = repeated_texts
    words = [word for word in BY_SCORE if word != "router.scale=1"]
    run(tmp_path / "run", folder, *words, ONCE, "input.shard_rows=60", "budget.rows=7")
    first, scores, rows = firsts(table), table["mine"].to_pylist(), output(tmp_path / "run").to_pylist()
    segments = {*first}
    routed = {i for i in segments if rows[i]["route"] == "large"}
    assert len(routed) == 7 and min(scores[i] for i in routed) >= max(scores[i] for i in segments - routed)
    value = {i: scores[i] * first.count(i) for i in segments}
    assert min(value[i] for i in routed) < max(value[i] for i in segments - routed), "as gains, others would be routed"


def test_a_dry_run_says_what_repeats_and_what_that_saves(
    without_ray: None, repeated_texts: tuple[Path, pa.Table], tmp_path: Path
) -> None:
    folder, table = repeated_texts
    words = [*BY_SCORE, ONCE, "input.shard_rows=60", "budget.gpu_hours=1", "cost.rows=32"]
    words += ["models.small.batch_rows=8", "models.large.batch_rows=8"]
    job, segments = Job(tmp_path / "run"), len(set(firsts(table)))
    said = " ".join(job.run(f"input.path={folder}", *words, "budget.dry_run=true").stdout.split())
    report = job.report()
    assert f"{segments} segments in {ROWS} rows; {ROWS - segments} rows" in said
    assert "need no model" in said and "which would take" in said
    assert report["repeats"]["saved"] == ROWS - segments
    assert 0 < report["repeats"]["saved_s"] < report["forecast"]["all_large_s"]
    assert report["forecast"]["frontier"][-1]["rows"] <= segments
    # A real run spends the hours on segments, and goes on with the scores.
    done = run(tmp_path / "run", folder, *words)
    assert done["state"] == "done" and done["spend"]["spent_s"] < 3600
    found = output(tmp_path / "run").to_pylist()
    for number, at in enumerate(firsts(table)):
        assert found[number]["translation"] == found[at]["translation"] is not None
    assert sorted(set(translated(tmp_path / "run", "small", "large"))) == sorted(set(firsts(table)))


def test_a_run_directory_keeps_its_way_with_repeats(without_ray: None, tmp_path: Path) -> None:
    words = echo_corpus(tmp_path / "in.parquet", 60)[:-1]
    job = Job(tmp_path / "run")
    job.run(*words, "budget.rows=3")
    refused = job.run(*words, "budget.rows=3", ONCE, check=2)
    assert "input.duplicates: 'each' -> 'once'" in refused.stderr and "use a new run_dir" in refused.stderr
    manifest = json.loads((job.run_dir / "manifest.json").read_text())
    del manifest["identity"]["input"]["duplicates"]  # an earlier version has written it
    storage.write_json(job.run_dir / "manifest.json", manifest)
    job.run(*words, "budget.rows=4")
    assert "input.duplicates: 'each' -> 'once'" in job.run(*words, "budget.rows=4", ONCE, check=2).stderr


def test_a_profile_refuses_it_before_any_work() -> None:
    with pytest.raises(ValueError, match="input.duplicates is once, but a profile measures each row of its sample"):
        loader.load(ProfileConfig, [], [*ECHO, ONCE, "run_dir=x", "input.path=y", "router.kind=length"])


def test_an_empty_corpus_has_the_column_too(without_ray: None, tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": pa.array([], pa.string())}), tmp_path / "in.parquet")
    report = run(tmp_path / "run", tmp_path / "in.parquet", *ECHO, ONCE, "router.kind=length", "budget.fraction=0.3")
    assert report["repeats"]["rows"] == 0 and "duplicate_of" in output(tmp_path / "run").column_names


def test_ended_in_the_middle_of_each_step_it_resumes_to_the_same_rows(without_ray: None, tmp_path: Path) -> None:
    whole, job, words = Job(tmp_path / "whole"), Job(tmp_path / "run"), echo_corpus(tmp_path / "in.parquet", 120)
    words.append("budget.fraction=0.3")
    with commits() as noted:
        whole.run(*words)
    assert {*STEPS, "scores", "large/000", "small/000", "output"} <= {*in_parts(noted)}
    for stage in in_parts(noted):
        with pytest.raises(Ended), commits(stage):
            job.run(*words)
    job.run(*words)
    assert job.output().equals(whole.output())
    assert not list(job.run_dir.rglob("*.tmp"))


def test_a_damaged_step_is_made_again(without_ray: None, tmp_path: Path) -> None:
    words = [*echo_corpus(tmp_path / "in.parquet"), "budget.fraction=0.3"]
    whole, job = Job(tmp_path / "whole"), Job(tmp_path / "run")
    whole.run(*words)
    job.run(*words)
    for name in (*STEPS, "small/000", "output"):
        path = job.run_dir / name / "shard-000001.parquet"
        path.write_bytes(path.read_bytes()[:-40])
    job.run(*words)
    assert job.output().equals(whole.output())
    for stage in STEPS:
        assert RunDir(job.run_dir).committed(stage) == RunDir(whole.run_dir).committed(stage)
