"""Files that are not read count against the limit of quarantined rows."""

import gzip
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus import losses
from routelmt_ray.corpus.corpus import open_corpus
from routelmt_ray.corpus.input_files import find
from routelmt_ray.job import job
from routelmt_ray.storage.rundir import RunDir

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def test_one_good_file_beside_pointers_and_damage_is_a_share_of_the_corpus(tmp_path: Path, caplog) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"source": ["x"] * 10}), folder / "good.parquet")
    lines = b"".join(b'{"source": "%d %d"}\n' % (i, i * 7919 % 1000) for i in range(10))
    (folder / "good.jsonl").write_bytes(lines)
    (folder / "pointer.parquet").write_bytes(LFS)
    (folder / "README.md").write_text("about")
    (folder / "broken.parquet").write_bytes(b"PAR1 nonsense")
    (folder / "broken.jsonl.gz").write_bytes(b"nonsense")
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(lines)[:-20])
    found = find(str(folder))
    summary = losses.summary(found.unread)
    assert (summary["files"], summary["counted"], summary["named"][0][:16]) == (2, 1, "pointer.parquet:")
    with caplog.at_level(logging.WARNING):
        losses.log_unread("in", summary)
    assert "not read of input.path in: 2, of which 1 may hold rows: pointer.parquet: a Git LFS pointer" in caplog.text
    corpus = open_corpus(found.files, tmp_path / "_run", lambda f, given: [f(*each) for each in given])
    assert losses.lost_files(found.files, corpus) == 2
    rows = sum(part.rows for part in corpus.parts)
    manifest = {
        "rows": rows, "identity": {"corpus": {"files": 5}}, "damaged_files": list(corpus.damage), "lost_files": 2, "unread": summary
    }  # fmt: skip
    lost = losses.count(manifest, quarantined=2)
    assert (lost.files, lost.cut_files, lost.rows) == (3, 1, rows)
    unseen = 3 * rows / 3 + 1
    assert lost.share == pytest.approx((2 + unseen) / (rows + unseen))


@pytest.mark.parametrize(("limit", "status"), [(0.0, 3), (0.4, 3), (0.6, 0), (None, 0)])
def test_a_limit_is_kept_by_unread_files_too(tmp_path: Path, limit: float | None, status: int, caplog) -> None:
    unread = {"files": 1, "counted": 1, "named": ["a.csv: not of a known kind"]}
    RunDir(tmp_path).write_manifest(
        {"rows": 10, "identity": {"corpus": {"files": 1}}, "damaged_files": [], "unread": unread}
    )
    words = [
        f"run_dir={tmp_path}", "input.path=x", "input.source_lang=en", "input.target_lang=de", "models.small.engine=echo",
        "models.large.engine=echo", "router.kind=length", "budget.rows=1",
        f"output.max_quarantine_share={'null' if limit is None else limit}",
    ]  # fmt: skip
    assert job.exit_status(configlib.load(TranslateConfig, [], words)) == status
    assert ("files not read: 1" in caplog.text) == (status == 3)


def test_a_run_that_read_nothing_lost_all_and_one_without_a_limit_of_files_lost_none() -> None:
    empty = {"rows": 0, "identity": {"corpus": {"files": 1}}, "damaged_files": ["a"], "lost_files": 1}
    assert losses.count(empty, 0).share == 1.0
    assert losses.count({"rows": 0, "identity": {"corpus": {"files": 1}}}, 0).share == 0.0
