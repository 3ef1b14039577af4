"""A folder as users have it: nested columns, files of other kinds, links, a run directory inside; read, told and moved."""

import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.job import job, translation
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end.runs import output, quarantine, run

pytestmark = pytest.mark.usefixtures("without_ray")
WORDS = [
    "models.small.engine=echo", "models.large.engine=echo", "input.columns.source=translation.en", "input.source_lang=en",
    "input.target_lang=no", "input.columns.reference=translation.de", "router.kind=column", "router.column=score",
    "output.prefix=mt_", "output.max_quarantine_share=0.5",
]  # fmt: skip


def pairs(*texts: str) -> list[dict[str, str]]:
    return [{"en": text, "de": f"{text} auf deutsch"} for text in texts]


def test_nothing_is_lost_without_a_word_and_all_of_it_may_be_moved(tmp_path: Path) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    folder.mkdir()
    away.mkdir()
    lines = [json.dumps({"translation": pair}).encode() for pair in pairs("line 1", "line 2")]
    (folder / "z.json").write_bytes(b"\n".join([*lines, '{"translation": {"en": "café"}}'.encode("latin-1")]))
    scores = pa.array([Decimal("0.25"), Decimal("0.75"), None], pa.decimal128(5, 2))
    pq.write_table(pa.table({"translation": pairs("row 1", "row 2", "row 3"), "score": scores}), folder / "b.PARQUET")
    pq.write_table(pa.table({"translation": pairs("linked")}), away / "c.parq")
    (folder / "link").symlink_to(away)
    (folder / "d.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (folder / "README.md").write_text("about")
    run_dir = folder / "run"
    report = run(run_dir, folder, *WORDS, "budget.rows=1")
    rows = output(run_dir).to_pylist()
    assert [row["mt_translation"] for row in rows] == ["row 1", "row 2", "row 3", "linked", "line 1", "line 2", None]
    assert [row["mt_route"] for row in rows].index("large") == 1
    assert rows[0]["translation"] == {"en": "row 1", "de": "row 1 auf deutsch"}
    assert [row["mt_error"] for row in quarantine(run_dir)] == ["the input line is perhaps in ISO-8859-1, not in UTF-8"]
    assert report["config"]["input"]["target_lang"] == "no"
    assert report["quality"]["by_model"]["all"]["rows"] == 6
    unread = report["input"]["unread"]
    assert (unread["files"], unread["counted"]) == (2, 1)
    assert "d.parquet: a Git LFS pointer" in unread["named"][0]
    assert "d.parquet: a Git LFS pointer" in (run_dir / "report.html").read_text()

    moved = tmp_path / "elsewhere" / "corpus"
    moved.parent.mkdir()
    folder.rename(moved)
    words = [f"run_dir={moved / 'run'}", f"input.path={moved}", *WORDS]
    again = configlib.load(TranslateConfig, [], [*words, "budget.rows=1"])
    translation.prepare(again)
    assert translation.is_finished(again)
    assert job.exit_status(again) == 0
    assert (
        job.exit_status(
            configlib.load(TranslateConfig, [], [*words, "budget.rows=1", "output.max_quarantine_share=0.2"])
        )
        == 3
    )
    state = RunDir(moved / "run")
    state.write_manifest((state.manifest() or {}) | {"state": "stopped", "error": "stopped by SIGINT"})
    run(moved / "run", moved, *WORDS, "budget.rows=2")
    manifest = state.manifest() or {}
    assert (manifest["state"], manifest["error"]) == ("done", None)
    assert [row["mt_route"] for row in output(moved / "run").to_pylist()].count("large") == 2


@pytest.mark.parametrize("code", ["klingonese", "x-nothing", "False"])
def test_a_language_of_all_rows_that_nobody_knows_is_refused(tmp_path: Path, code: str) -> None:
    words = [f"run_dir={tmp_path / 'run'}", f"input.path={tmp_path}", *WORDS, "budget.rows=1"]
    config = configlib.load(TranslateConfig, [], [*words, f"input.source_lang={code}"])
    with pytest.raises(
        ValueError, match=f"input.source_lang is '{code}', for which models.small.prompt lmt60 has no language name"
    ):
        translation.prepare(config)
