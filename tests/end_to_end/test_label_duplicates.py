"""Labels of a corpus with repeats: each segment is translated once, and every row has its labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.corpus import repeats as cut
from routelmt_ray.job.status import status
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end.ended import Ended, commits, in_parts
from tests.end_to_end.label_runs import LabelJob, run
from tests.end_to_end.runs import output, quarantine
from tests.end_to_end.test_duplicates import ONCE, STEPS, firsts, translated, zipf
from tests.toy_kinds import KINDS

ROWS = 160
WORDS = [
    "models.small.engine=echo", "models.large.engine=swap", "input.shard_rows=25", "input.columns.reference=reference",
    "input.columns.source_lang=source_lang", "input.columns.target_lang=target_lang", "checks.copy.action=flag",
    "checks.length.action=flag", "checks.length.min_rows=10",
]  # fmt: skip
CONFIG = "configs/label_demo.yaml"


@pytest.fixture(autouse=True)
def small_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several sections also in a small corpus, and a large model that swaps the case."""
    monkeypatch.setattr(cut, "SECTION_ROWS", 70)
    for table, name, kind in KINDS:
        monkeypatch.setitem(table, name, kind)


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, pa.Table]:
    """Rows that repeat each other over two files and two languages, each with a separate reference, and rows without a source."""
    chosen = zipf(ROWS, 60)
    table = pa.table(
        {
            "source": [None if i % 40 == 7 else f"Text Number {n} {'x' * (n % 9)}" for i, n in enumerate(chosen)],
            "source_lang": ["en"] * ROWS,
            "target_lang": ["de" if n % 4 else ("fr" if i % 2 else "de") for i, n in enumerate(chosen)],
            "reference": [f"text number {n} {i}" for i, n in enumerate(chosen)],
        }
    )
    pq.write_table(table.slice(0, 60), tmp_path / "a.parquet")
    pq.write_table(table.slice(60), tmp_path / "b.parquet")
    return tmp_path / "{a,b}.parquet", table


def rows_without(table: pa.Table, *names: str) -> list[dict[str, Any]]:
    return table.drop_columns(list(names)).to_pylist()


def test_each_segment_is_translated_once_and_each_row_is_labelled_as_alone(
    without_ray: None, corpus: tuple[Path, pa.Table], tmp_path: Path
) -> None:
    path, table = corpus
    report, alone = run(tmp_path / "once", path, *WORDS, ONCE), run(tmp_path / "each", path, *WORDS)
    found, each = output(tmp_path / "once"), output(tmp_path / "each")
    assert found.select(table.column_names).equals(table)
    timed = ("small_s", "large_s", "check_small", "check_large")  # lengths are judged by those of segments
    assert rows_without(found, "duplicate_of", *timed) == rows_without(each, *timed)
    first = firsts(table)
    usable = [i for i in range(ROWS) if table["source"][i].as_py() is not None]
    segments = sorted({first[i] for i in usable})
    # Rows that no model can take are in the files of both models, with the reason.
    for model in ("small", "large"):
        assert sorted(translated(tmp_path / "once", model)) == sorted(
            {*segments, *range(ROWS)} - {*usable} | {*segments}
        )
    for number, row in enumerate(found.to_pylist()):
        repeat = number in usable and first[number] != number
        assert row["duplicate_of"] == (first[number] if repeat else None)
        if repeat:
            copied = (
                "small_s",
                "large_s",
                "small_translation",
                "large_translation",
                "status",
                "check_small",
                "check_large",
            )
            assert [row[name] for name in copied] == [found[name][first[number]].as_py() for name in copied]
    assert len({row["gain_chrf"] for row in found.to_pylist() if row["source"] == table["source"][0].as_py()}) > 1, (
        "references differ, so repeats are measured one by one"
    )
    repeats = report["repeats"]
    assert (repeats["rows"], repeats["segments"], repeats["saved"]) == (
        len(usable), len(segments), len(usable) - len(segments),
    )  # fmt: skip
    assert report["metrics"][0]["quality"] == alone["metrics"][0]["quality"] and alone["repeats"] is None
    assert quarantine(tmp_path / "once") == [row | {"duplicate_of": None} for row in quarantine(tmp_path / "each")]
    card = " ".join((tmp_path / "once" / "dataset_card.md").read_text().split())
    assert f"{len(segments)} segments in {len(usable)} rows" in card and "`duplicate_of`" in card
    assert "repeat" not in (tmp_path / "each" / "dataset_card.md").read_text()
    names = {stage["name"]: stage["rows"] for stage in report["stages"]}
    assert names["repeats"] == names["share"] == ROWS and names["translate, small"] == ROWS - repeats["saved"]


def test_a_metric_that_is_added_keeps_translations_and_a_changed_way_is_refused(
    without_ray: None, corpus: tuple[Path, pa.Table], tmp_path: Path
) -> None:
    path, _ = corpus
    run(tmp_path / "run", path, *WORDS, ONCE)
    kept = {
        file: file.stat().st_mtime_ns
        for name in ("repeats", "shared", "small", "large")
        for file in (tmp_path / "run" / name).rglob("*.parquet")
    }
    run(tmp_path / "run", path, *WORDS, ONCE, "metrics.names=[chrf,bleu]")
    assert kept == {file: file.stat().st_mtime_ns for file in kept}
    assert output(tmp_path / "run")["gain_bleu"].null_count == ROWS // 40
    with pytest.raises(ValueError, match="input.duplicates: 'once' -> 'each'"):
        run(tmp_path / "run", path, *WORDS)


def test_a_damaged_step_is_made_again(without_ray: None, corpus: tuple[Path, pa.Table], tmp_path: Path) -> None:
    path, _ = corpus
    whole, job = LabelJob(tmp_path / "whole"), LabelJob(tmp_path / "run")
    words = [f"input.path={path}", *WORDS, ONCE]
    whole.run(*words)
    job.run(*words)
    for name in (*STEPS, "small/all", "quality", "output"):
        file = sorted((job.run_dir / name).rglob("shard-000001.parquet"))[0]
        file.write_bytes(file.read_bytes()[:-40])
    job.run(*words)
    timed = ("small_s", "large_s")
    assert rows_without(job.output(), *timed) == rows_without(whole.output(), *timed)
    for stage in STEPS:
        assert RunDir(job.run_dir).committed(stage) == RunDir(whole.run_dir).committed(stage)
    stages = {stage["name"]: stage["shards"] for stage in status(str(job.run_dir))["stages"]}
    assert stages["repeats/keys"] == stages["shared/rows"] == 3


def test_a_job_that_ends_in_the_middle_of_each_step_goes_on_to_the_same_labels(
    without_ray: None, corpus: tuple[Path, pa.Table], tmp_path: Path
) -> None:
    path, _ = corpus
    whole, job, words = LabelJob(tmp_path / "whole"), LabelJob(tmp_path / "run"), [f"input.path={path}", *WORDS, ONCE]
    with commits() as noted:
        whole.run(*words)
    stages = in_parts(noted)
    assert {*STEPS, "small/all", "large/all", "lengths/small", "output"} < {*stages}
    for stage in stages:
        with pytest.raises(Ended), commits(stage):
            job.run(*words)
    job.run(*words)
    timed = ("small_s", "large_s")
    assert rows_without(job.output(), *timed) == rows_without(whole.output(), *timed)
    assert quarantine(job.run_dir) == quarantine(whole.run_dir) and job.report()["repeats"] == whole.report()["repeats"]
    for model in ("small", "large"):
        assert translated(job.run_dir, model) == translated(whole.run_dir, model), "each segment once"


def test_what_is_shared_of_a_lost_translation_is_shared_again(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    for stage in ("small/all", "shared/answers", "shared/rows", "quality/chrf"):
        run_dir.commit(stage, 0, pa.table({"place": np.arange(3)}), {"rows": 3})
    lost = run_dir.shard_path("small/all", 0)
    storage.write_bytes(lost, storage.read_bytes(lost)[:-40])
    run_dir.remove_damaged()
    left = {stage for stage in ("shared/answers", "shared/rows", "quality/chrf") if run_dir.committed(stage)}
    assert left == set(), "and measured again"
