"""A memory and the runs that use it, after ends in the middle of each step, damage, and changes of a finished run."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from routelmt_ray.config.schema import COPIED_SOURCE
from routelmt_ray.corpus import repeats as cut
from tests.conftest import Job
from tests.corpus.test_memory import damage_page
from tests.end_to_end.ended import Ended, commits, in_parts
from tests.end_to_end.runs import quarantine
from tests.end_to_end.test_memory import corpus, parts, texts_of, words_of

STEPS = (
    "memory/found", "memory/large", "memory/small", "memory/rows", "shared/answers", "shared/rows", "output",
    "memory/made-000", "memory/added-000",
)  # fmt: skip
"""Steps of this job; `test_label_duplicates.py` has those before them."""


@pytest.fixture(autouse=True)
def small_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several sections also in a small corpus."""
    monkeypatch.setattr(cut, "SECTION_ROWS", 30)


def copies(action: str) -> list[str]:
    """Has the check of copies find each row, as these engines copy."""
    return [f"checks.copy.action={action}", "checks.copy.min_words=2"]


def entries(memory: Path) -> list[tuple[str, int, int]]:
    """The entries of all models: folder of the model, and hash."""
    return [
        (part.parent.name, row["high"], row["low"])
        for part in parts(memory)
        for row in pq.read_table(part, columns=["high", "low"]).to_pylist()
    ]


def test_a_job_that_ends_in_the_middle_of_each_step_goes_on_to_the_same_rows_and_adds_each_segment_once(
    without_ray: None, tmp_path: Path
) -> None:
    memory, kept = tmp_path / "memory", tmp_path / "kept"
    old, new = corpus(tmp_path / "old.parquet", texts_of(0, 30)), corpus(tmp_path / "new.parquet", texts_of(0, 45))
    other = corpus(tmp_path / "other.parquet", texts_of(35, 40))
    Job(tmp_path / "first").run(*words_of(old, memory, "budget.rows=12"))
    shutil.copytree(memory, kept)
    whole, job, words = Job(tmp_path / "whole"), Job(tmp_path / "run"), words_of(new, memory, "budget.rows=9")
    with commits() as noted:
        whole.run(*words_of(new, kept, "budget.rows=9"))
    stages = [stage for stage in in_parts(noted) if stage in STEPS]
    assert sorted(stages) == sorted(STEPS)
    for stage in stages:
        with pytest.raises(Ended), commits(stage):
            job.run(*words)
        if stage == "memory/rows":  # another run adds some of these segments; what was found before is fixed
            Job(tmp_path / "other").run(*words_of(other, memory, "budget.fraction=0"))
    job.run(*words)
    assert job.output().equals(whole.output())
    found = entries(memory)
    assert len(found) == len(set(found))
    rows = [*Job(tmp_path / "first").output().to_pylist(), *job.output().to_pylist()]
    wanted = {(row["model"], row["source"]) for row in rows} | {("small", text) for text in texts_of(35, 40)}
    assert len(found) == len(wanted), "nothing is lost either"


@pytest.mark.parametrize("damage", ["page", "end"])
def test_damaged_parts_cost_one_run_and_are_made_up_for(without_ray: None, tmp_path: Path, damage: str) -> None:
    memory, path = tmp_path / "memory", corpus(tmp_path / "in.parquet", texts_of(0, 30))
    words = words_of(path, memory, "budget.rows=10", "output.prefix=mt_")
    Job(tmp_path / "first").run(*words)
    for part in parts(memory):
        if damage == "page":
            damage_page(part)
        else:
            part.write_bytes(part.read_bytes()[:-40])
    second, third = Job(tmp_path / "second"), Job(tmp_path / "third")
    second.run(*words)
    assert second.output().equals(Job(tmp_path / "first").output())
    assert second.report()["memory"]["had"] == {"small": 0, "large": 0} and second.report()["memory"]["added"] == 30
    third.run(*words)
    assert third.report()["memory"]["had"] == {"small": 20, "large": 10}


def test_other_checks_of_a_finished_run_add_the_rows_that_they_let_pass(without_ray: None, tmp_path: Path) -> None:
    memory, path = tmp_path / "memory", corpus(tmp_path / "in.parquet", texts_of(0, 30))
    words, job = words_of(path, memory, "budget.rows=10"), Job(tmp_path / "run")
    job.run(*words, *copies("flag"))
    assert set(job.output()["status"].to_pylist()) == {COPIED_SOURCE} and not entries(memory)
    job.run(*words)
    assert set(job.output()["status"].to_pylist()) == {"ok"}
    assert len(entries(memory)) == len(set(entries(memory))) == job.report()["memory"]["added"] == 30


def test_a_row_without_a_translation_is_not_from_the_memory(without_ray: None, tmp_path: Path) -> None:
    memory, path = tmp_path / "memory", corpus(tmp_path / "in.parquet", texts_of(0, 30))
    words, job = words_of(path, memory, "output.max_quarantine_share=null"), Job(tmp_path / "run")
    Job(tmp_path / "first").run(*words, "budget.rows=10")
    job.run(*words, "budget.rows=0", *copies("quarantine"))
    assert not any(job.output()["from_memory"].to_pylist()) and not job.report()["memory"]["rows"]
    lost = quarantine(job.run_dir)
    assert len(lost) == 40 and all(row["from_memory"] and row["translation"] for row in lost)


def test_a_memory_in_the_run_directory_is_refused(no_cluster: None, tmp_path: Path) -> None:
    path, job = corpus(tmp_path / "in.parquet", texts_of(0, 9)), Job(tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path / "run" / "memory"):
        refused = job.run(*words_of(path, folder, "budget.rows=2"), check=2)
        assert f"memory.path is {folder}, in run_dir {tmp_path / 'run'}" in refused.stderr
    assert not (tmp_path / "run").exists()
