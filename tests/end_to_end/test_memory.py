"""A memory across runs: what an earlier run has translated is taken from it, exactly, and only new text needs a model."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.corpus import repeats as cut
from routelmt_ray.job.status import status
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import DEMO_CONFIG, Job
from tests.end_to_end.runs import ECHO, output, run

ONCE = "input.duplicates=once"
LARGE = "models.large.max_new_tokens=256"
"""Without it both models of these tests would be one, and a translation by it one by the large model."""


@pytest.fixture(autouse=True)
def small_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several sections also in a small corpus; workers get them from the driver."""
    monkeypatch.setattr(cut, "SECTION_ROWS", 70)


def corpus(path: Path, texts: list[str]) -> Path:
    """Writes texts, each with a score; the scores are not in order."""
    scores = [hash_of(text) for text in texts]
    pq.write_table(pa.table({"source": texts, "mine": scores}), path)
    return path


def hash_of(text: str) -> float:
    return float(np.float32(sum(map(ord, text)) * 7919 % 1009 / 1009))


def texts_of(start: int, stop: int) -> list[str]:
    """Texts of which each third is repeated."""
    return [f"text number {i}" for i in range(start, stop) for _ in range(2 if i % 3 == 0 else 1)]


def words_of(path: Path, memory: Path | str, *more: str) -> list[str]:
    scores = ["router.kind=column", "router.column=mine", "router.scale=1"]
    return [f"input.path={path}", *ECHO, LARGE, *scores, "input.shard_rows=20", ONCE, f"memory.path={memory}", *more]


def translated(run_dir: Path, model: str) -> list[int]:
    """Places that a model translated in this run."""
    paths = sorted((run_dir / model).rglob("*.parquet"))
    return [place for path in paths for place in pq.read_table(path, columns=["place"])["place"].to_pylist()]


def parts(memory: Path) -> list[Path]:
    return sorted(memory.rglob("*.parquet"))


def test_growing_text_is_translated_once_and_the_budget_goes_where_the_rule_says(
    without_ray: None, tmp_path: Path
) -> None:
    old, grown = texts_of(0, 90), texts_of(0, 100)
    first, second = Job(tmp_path / "first"), Job(tmp_path / "second")
    first.run(*words_of(corpus(tmp_path / "old.parquet", old), tmp_path / "memory", "budget.fraction=0.3"))
    assert first.report()["memory"] | {"bytes": 0, "path": ""} == {
        "path": "", "had": {"small": 0, "large": 0}, "rows": 0, "used": {"small": 0, "large": 0}, "added": 90, "bytes": 0,
    }  # fmt: skip
    assert first.report()["memory"]["bytes"] == sum(path.stat().st_size for path in parts(tmp_path / "memory"))
    assert not any(first.output()["from_memory"].to_pylist())
    large_before = {row["source"] for row in first.output().to_pylist() if row["model"] == "large"}
    assert len(large_before) == 27
    second.run(*words_of(corpus(tmp_path / "new.parquet", grown), tmp_path / "memory", "budget.fraction=0.3"))
    rows, report = second.output().to_pylist(), second.report()
    # The rule by brute force: 30 % of the new segments, spent on the best of all that the memory has no large translation of.
    segments = sorted(set(grown))
    value = {text: np.float32(hash_of(text)) * grown.count(text) for text in segments}
    ranked = sorted((text for text in segments if text not in large_before), key=lambda text: -value[text])
    routed, new = ranked[:3], set(grown) - set(old)
    for row in rows:
        text = row["source"]
        large = text in large_before or text in routed
        assert row["translation"] == text and row["status"] == "ok"
        assert row["model"] == row["route"] == ("large" if large else "small")
        assert row["route_reason"] == ("memory" if text in large_before else "gain" if large else "below_cut")
        assert row["from_memory"] == (text in large_before or (text not in new and text not in routed))
        assert (row["predicted_gain"] is None) == (text in large_before)
    place = {text: grown.index(text) for text in segments}
    assert sorted(translated(second.run_dir, "large")) == sorted(place[text] for text in routed)
    assert sorted(translated(second.run_dir, "small")) == sorted(place[text] for text in new - set(routed))
    assert (report["budget"]["k"], report["budget"]["routed"]) == (3, 3)
    memory = report["memory"]
    assert memory["had"] == {"small": 63, "large": 27} and memory["added"] == len(new | set(routed))
    assert memory["rows"] == sum(row["from_memory"] for row in rows)
    assert "in the memory of earlier runs" in (second.run_dir / "report.html").read_text()
    # A third run has nothing to translate, and adds nothing.
    third = run(tmp_path / "third", tmp_path / "new.parquet", *words_of(tmp_path / "new.parquet", tmp_path / "memory")[1:],
                "budget.fraction=0.3")  # fmt: skip
    again = output(tmp_path / "third")
    assert again["model"].equals(second.output()["model"]) and all(again["from_memory"].to_pylist())
    assert not translated(tmp_path / "third", "small") and not translated(tmp_path / "third", "large")
    assert third["memory"]["added"] == 0 and third["budget"]["k"] == 0


def test_the_embedded_pair_gives_what_it_gave_and_probes_only_rows_that_may_be_routed(
    without_ray: None, demo_corpus: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(demo_corpus.slice(0, 50), tmp_path / "old.parquet")
    pq.write_table(demo_corpus.slice(0, 60), tmp_path / "new.parquet")
    words = ["input.shard_rows=24", ONCE, f"memory.path={tmp_path / 'memory'}"]
    run(tmp_path / "first", tmp_path / "old.parquet", *words, "budget.fraction=0.3", config=DEMO_CONFIG)
    two = ["budget.fraction=null", "budget.rows=2"]
    run(tmp_path / "second", tmp_path / "new.parquet", *words, *two, config=DEMO_CONFIG)
    before, after = output(tmp_path / "first").to_pylist(), output(tmp_path / "second").to_pylist()
    upgraded = [now for then, now in zip(before, after) if now["model"] != then["model"]]
    assert len(upgraded) <= 2 and all(row["model"] == "large" and not row["from_memory"] for row in upgraded)
    for then, now in zip(before, after):
        if now["from_memory"]:
            assert (now["translation"], now["model"]) == (then["translation"], then["model"])
    assert {row["source"] for row in after if not row["from_memory"]} == {
        row["source"] for row in [*after[50:], *upgraded]
    }
    assert sum(row["predicted_gain"] is None for row in after) == sum(row["model"] == "large" for row in before)


def test_a_budget_in_hours_and_a_changed_budget_and_a_deleted_memory(without_ray: None, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    old, new = corpus(tmp_path / "old.parquet", texts_of(0, 60)), corpus(tmp_path / "new.parquet", texts_of(0, 80))
    Job(tmp_path / "first").run(*words_of(old, memory, "budget.rows=20"))
    job = Job(tmp_path / "second")
    job.run(*words_of(new, memory, "budget.rows=0"))
    had = job.report()["memory"]["had"]
    assert had == {"small": 40, "large": 20} and len(translated(job.run_dir, "small")) == 20
    for path in parts(memory):
        path.unlink()
    # The run goes on with what it found, also with another budget: rows that are there are free.
    job.run(*words_of(new, memory, "budget.rows=30"))
    rows, report = job.output().to_pylist(), job.report()
    assert report["memory"]["had"] == had and report["budget"]["routed"] == 30
    assert len({row["source"] for row in rows if row["model"] == "large"}) == 50
    assert len(translated(job.run_dir, "large")) == 30 and len(translated(job.run_dir, "small")) == 20
    left = {row["source"] for row in rows if row["model"] == "small"} - set(texts_of(0, 60))
    kept = sum(pq.read_metadata(path).num_rows for path in parts(memory))
    assert kept == report["memory"]["added"] == 30 + len(left) and left
    hours = ["cost.rows=16", "budget.gpu_hours=1"]
    Job(tmp_path / "hours").run(*words_of(new, memory, *hours))
    found = Job(tmp_path / "hours").output().to_pylist()
    assert {row["model"] for row in found} == {"large"} and {row["status"] for row in found} == {"ok"}
    place = {row["source"]: place for place, row in reversed(list(enumerate(found)))}
    free = {row["source"] for row in found if row["route_reason"] == "memory"}
    assert len(free) == 30 and not {place[text] for text in free} & set(translated(tmp_path / "hours", "large"))
    assert Job(tmp_path / "hours").report()["spend"]["overspent"] is None
    last = Job(tmp_path / "last")  # all is there from the large model: no row is scored
    last.run(*words_of(new, memory, "budget.rows=5"))
    assert last.report()["budget"]["n_eligible"] == last.report()["budget"]["routed"] == 0
    assert all(last.output()["from_memory"].to_pylist()) and set(last.output()["model"].to_pylist()) == {"large"}


@pytest.mark.parametrize(
    "other",
    ["models.large.max_new_tokens=100", "models.large.prompt=plain", "input.too_long=split"],
)
def test_another_model_prompt_or_limit_finds_nothing_of_the_first(
    without_ray: None, tmp_path: Path, other: str
) -> None:
    path = corpus(tmp_path / "in.parquet", texts_of(0, 30))
    Job(tmp_path / "first").run(*words_of(path, tmp_path / "memory", "budget.fraction=1"))
    job = Job(tmp_path / "second")
    job.run(*words_of(path, tmp_path / "memory", "budget.fraction=1", other))
    assert job.report()["memory"]["had"]["large"] == 0 and job.report()["memory"]["added"] == 30
    assert sorted(set(translated(job.run_dir, "large"))) == sorted({texts_of(0, 30).index(t) for t in texts_of(0, 30)})
    texts = {p.read_text() for p in (tmp_path / "memory").rglob("identity.json")}
    assert len(texts) == 2


def test_two_runs_at_once_lose_nothing(without_ray: None, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    halves = [corpus(tmp_path / "a.parquet", texts_of(0, 60)), corpus(tmp_path / "b.parquet", texts_of(40, 100))]
    ended: list[Any] = []

    def translate(number: int) -> None:
        path = halves[number]
        words = words_of(path, memory, "budget.fraction=0")[1:]
        ended.append(run(tmp_path / f"run-{number}", path, *words)["memory"]["added"])

    threads = [threading.Thread(target=translate, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 2 and 100 <= sum(ended) <= 120
    whole = corpus(tmp_path / "all.parquet", texts_of(0, 100))
    report = run(tmp_path / "all", whole, *words_of(whole, memory, "budget.fraction=0")[1:])
    assert report["memory"]["had"]["small"] == 100 and report["memory"]["added"] == 0


def test_damage_is_made_again_from_what_was_found(without_ray: None, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    path = corpus(tmp_path / "in.parquet", texts_of(0, 80))
    small = words_of(corpus(tmp_path / "old.parquet", texts_of(0, 60)), memory, "budget.rows=20")
    Job(tmp_path / "first").run(*small)
    job, words = Job(tmp_path / "run"), words_of(path, memory, "budget.rows=10")
    job.run(*words)
    whole = job.output()
    # A damaged part of the memory counts as not there; the run itself does not need it any more.
    for part in parts(memory):
        part.write_bytes(part.read_bytes()[:-40])
    for name in ("memory/small", "memory/large", "memory/rows", "memory/found"):
        victim = sorted((job.run_dir / name).glob("*.parquet"))[0]
        whole_file = victim.read_bytes()
        victim.write_bytes(whole_file[:-40])
        if name != "memory/found":
            sorted((job.run_dir / "output").glob("*.parquet"))[0].unlink()  # else there is nothing to do
            job.run(*words)
            assert job.output().equals(whole) and pq.read_table(victim).num_rows >= 0
    # Here the file of the sections and one of a shard are damaged at once, and so is the memory: all is translated again.
    victim = sorted((job.run_dir / "memory/small").glob("*.parquet"))[0]
    victim.write_bytes(victim.read_bytes()[:-40])
    sorted((job.run_dir / "output").glob("*.parquet"))[0].unlink()
    job.run(*words)
    rows = job.output().to_pylist()
    assert [row["translation"] for row in rows] == [row["source"] for row in rows]
    known = {row["source"] for row in rows if row["from_memory"]}
    assert not known and job.report()["memory"]["had"] == {"small": 0, "large": 0}, "no part of the memory can be read"
    names = {stage["name"]: stage["shards"] for stage in status(str(job.run_dir))["stages"]}
    assert names["memory/found"] == names["memory/rows"] == names["repeats/keys"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("forked_workers")
def test_a_killed_run_goes_on_with_what_it_found_and_adds_each_segment_once(without_ray: None, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    Job(tmp_path / "first").run(*words_of(corpus(tmp_path / "old.parquet", texts_of(0, 300)), memory, "budget.rows=90"))
    words = words_of(corpus(tmp_path / "in.parquet", texts_of(0, 400)), memory, "budget.rows=20")
    job = Job(tmp_path / "run")
    # `test_memory_repair.py` ends such a job in the middle of each step; here a process is killed, with the last steps before it.
    job.kill_when(lambda run_dir: bool(RunDir(run_dir).committed("memory/made-000")), *words)
    assert RunDir(job.run_dir).committed("memory/found")
    whole = Job(tmp_path / "whole")
    whole.run(*words)
    job.run_process(*words)  # with the sections of the processes that were killed
    assert job.output().equals(whole.output())
    keys = [
        (part.parent, *row.values())
        for part in parts(memory)
        for row in pq.read_table(part, columns=["high", "low"]).to_pylist()
    ]
    old = [row for row in whole.output().slice(0, 400).to_pylist() if row["duplicate_of"] is None]
    upgraded = sum(row["route_reason"] == "gain" for row in old)
    assert len(keys) == len(set(keys)) == 300 + 100 + upgraded
