"""The label job: on the embedded pair, with COMET under another interpreter, on bad rows."""

import json
import logging
import os
import shutil
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sacrebleu

from routelmt_ray.config.errors import Refused
from routelmt_ray.runtime.pipelines import StageFailed
from routelmt_ray.stages import quality
from routelmt_ray.stages.sides import HYPOTHESES
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end.label_runs import needs_comet, run
from tests.end_to_end.runs import ECHO, output, quarantine

CONFIG = "configs/label_demo.yaml"
SHARDS = "input.shard_rows=20"
ADDED = [
    "small_translation", "large_translation", "source_tokens", "small_tokens", "large_tokens", "small_s", "large_s",
    "quality_small_chrf", "quality_large_chrf", "gain_chrf", "quality_small_bleu", "quality_large_bleu", "gain_bleu",
    "status", "error",
]  # fmt: skip


def times(folder: Path) -> dict[Path, int]:
    """When each file of a folder was written."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def corpus(demo_corpus: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo sentences with references."""
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    pq.write_table(demo_corpus.slice(0, 100), path)
    return path


@pytest.fixture(scope="module")
def finished(corpus: Path, local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished run on the embedded pair with chrF and BLEU."""
    run_dir = tmp_path_factory.mktemp("run")
    return run_dir, run(run_dir, corpus, SHARDS, config=CONFIG)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A reference-based and a reference-free COMET checkpoint with random weights."""
    from tests.metrics.tiny_comet import make_checkpoint

    folder = tmp_path_factory.mktemp("comet")
    return {
        "da": make_checkpoint(folder / "tiny-da"),
        "kiwi": make_checkpoint(folder / "tiny-cometkiwi", "unified_metric", input_segments=["mt", "src"]),
    }


def test_every_row_has_both_translations_their_quality_and_the_gain(finished: Any, corpus: Path) -> None:
    rows, given = output(finished[0]), pq.read_table(corpus)
    assert rows.select(given.column_names).equals(given)
    assert rows.column_names == [*given.column_names, *ADDED]
    assert {rows.schema.field(name).type for name in ("source_tokens", "small_tokens", "large_tokens")} == {pa.int32()}
    assert rows.schema.field("gain_chrf").type == rows.schema.field("small_s").type == pa.float32()
    for row in rows.to_pylist():
        for size in ("small", "large"):
            wanted = sacrebleu.sentence_chrf(row[f"{size}_translation"], [row["reference"]]).score / 100
            assert row[f"quality_{size}_chrf"] == np.float32(wanted)
        assert row["gain_chrf"] == np.float32(row["quality_large_chrf"]) - np.float32(row["quality_small_chrf"])
    same = [r for r in rows.to_pylist() if r["small_translation"] == r["large_translation"]]
    assert same and all(row["gain_chrf"] == row["gain_bleu"] == 0 for row in same)
    assert set(rows["status"].to_pylist()) <= {"ok", "output_limit"}


def test_seconds_of_the_rows_add_up_to_the_device_seconds_of_the_engines(finished: Any) -> None:
    run_dir, report = finished
    rows = output(run_dir)
    for size in ("small", "large"):
        stage = next(stage for stage in report["stages"] if stage["name"] == f"translate, {size}")
        metas = RunDir(run_dir).metas(HYPOTHESES[size]).values()
        device_s = sum(meta["device_s"] for meta in metas)
        assert sum(rows[f"{size}_s"].to_pylist()) == pytest.approx(device_s, rel=1e-4)
        assert device_s > 0 and device_s != stage["engine_s"]  # CPU seconds, which other work does not lengthen
        assert sum(rows[f"{size}_tokens"].to_pylist()) == stage["output_tokens"]


def test_report_card_and_manifest_say_how_good_and_how_made(finished: Any) -> None:
    run_dir, report = finished
    assert report == json.loads((run_dir / "report.json").read_text())
    rows = output(run_dir)
    gains = np.asarray(rows["gain_chrf"].to_pylist())
    chrf = report["metrics"][0]["quality"]
    assert chrf["rows"] == len(gains)
    assert chrf["gain_mean"] == pytest.approx(gains.mean())
    assert chrf["gain_sd"] == pytest.approx(gains.std())
    assert chrf["gain_negative_share"] == pytest.approx((gains < 0).mean())
    assert chrf["mean_large"] - chrf["mean_small"] == pytest.approx(chrf["gain_mean"])
    card, manifest = (run_dir / "dataset_card.md").read_text(), json.loads((run_dir / "manifest.json").read_text())
    assert card.startswith("---\npretty_name: Gain labels")
    assert all(f"`{name}`" in card for name in rows.column_names)
    for facts in (card, json.dumps(manifest)):
        assert "nrefs:1|case:mixed|eff:yes|nc:6|nw:0" in facts
        assert manifest["identity"]["models"]["small"]["files"] in facts
        assert "{tgt}: {text}" in facts
    assert "license" not in card
    assert manifest["state"] == "done"


def test_a_prefix_names_the_columns_and_taken_names_are_refused(
    finished: Any, without_ray: None, tmp_path: Path
) -> None:
    table = pa.table({"source": ["a"], "status": ["mine"], "gain_chrf": [1.0], "reference": ["a"]})
    pq.write_table(table, tmp_path / "in.parquet")
    words = [*ECHO, "input.columns.reference=reference"]
    with pytest.raises(Refused, match=r"already has gain_chrf, status; set output.prefix"):
        run(tmp_path / "a", tmp_path / "in.parquet", *words)
    run(tmp_path / "b", tmp_path / "in.parquet", *words, "output.prefix=x_")
    row = output(tmp_path / "b").to_pylist()[0]
    assert (row["status"], row["gain_chrf"], row["x_status"], row["x_gain_chrf"]) == ("mine", 1.0, "ok", 0.0)
    assert row["x_small_translation"] == "a"


@pytest.mark.slow
@needs_comet
def test_a_metric_added_later_under_another_interpreter_reuses_all_translations(
    finished: Any, corpus: Path, checkpoints: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir, before = tmp_path / "run", finished[1]
    shutil.copytree(finished[0], run_dir)
    venv.create(tmp_path / "other", with_pip=False)
    first, second = (Path(find_spec("comet").origin).parents[1], tmp_path / "other")  # type: ignore[union-attr]
    site = next((second / "lib").glob("python*/site-packages"))
    (site / "first.pth").write_text(f"import site; site.addsitedir({str(first)!r})\n")
    python = str(second / "bin" / "python")
    translated, measured = times(run_dir / "small") | times(run_dir / "large"), times(run_dir / "quality")
    with caplog.at_level(logging.WARNING):
        report = run(
            run_dir, corpus, SHARDS, "metrics.names=[chrf, comet, comet_qe]", f"metrics.comet.path={checkpoints['da']}",
            f"metrics.comet_qe.path={checkpoints['kiwi']}", f"metrics.comet_qe.python={python}", config=CONFIG,
        )  # fmt: skip
    assert times(run_dir / "small") | times(run_dir / "large") == translated
    assert measured.items() <= times(run_dir / "quality").items()
    interpreters = {
        name: json.loads(pq.read_metadata(path).metadata[b"routelmt"])["python"]
        for name in ("comet-", "comet_qe-")
        for path in (run_dir / "quality").glob(f"{name}*/shard-000000.parquet")
    }
    assert interpreters["comet_qe-"] == python != interpreters["comet-"]
    rows = output(run_dir)
    assert "gain_bleu" not in rows.column_names
    gains = np.asarray(rows["gain_comet_qe"].to_pylist())
    assert len(gains) == rows.num_rows and np.isfinite(gains).all() and gains.std() > 0
    assert report["metrics"][0]["quality"] == before["metrics"][0]["quality"]
    warnings = [r.getMessage() for r in caplog.records if "CC-BY-NC-SA-4.0" in r.getMessage()]
    assert len(warnings) == 1 and "metrics.comet_qe.path" in warnings[0]
    card = (run_dir / "dataset_card.md").read_text()
    assert "license: cc-by-nc-sa-4.0" in card and "**Non-commercial**: `comet_qe`" in card
    assert "version:2." in card and "class:unified_metric" in card and "SHA-256" in card


@pytest.mark.slow
@needs_comet
def test_a_metric_worker_that_dies_is_replaced_and_one_that_cannot_start_ends_the_job(
    local_ray: None, checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"source": [f"row {i}" for i in range(6)]}), tmp_path / "in.parquet")
    words = [*ECHO, "metrics.names=[comet_qe]", "input.shard_rows=3", "ray.rounds=2"]
    died = tmp_path / "died"

    class Dying(quality.MeasureInActor):
        """Dies on its first shard, once."""

        def __call__(self, table: pa.Table) -> pa.Table:
            if not died.exists():
                died.touch()
                os._exit(1)
            return super().__call__(table)

    with monkeypatch.context() as patch:
        patch.setattr(quality, "MeasureInActor", Dying)
        run(tmp_path / "a", tmp_path / "in.parquet", *words, f"metrics.comet_qe.path={checkpoints['kiwi']}")
    assert died.exists()
    assert output(tmp_path / "a")["gain_comet_qe"].to_pylist() == [0.0] * 6

    broken = tmp_path / "broken"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "hparams.yaml").write_text((checkpoints["kiwi"] / "hparams.yaml").read_text())
    (broken / "checkpoints" / "model.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(StageFailed, match=r"measure, comet_qe: 2 of 2 shards"):
        run(tmp_path / "b", tmp_path / "in.parquet", *words, f"metrics.comet_qe.path={broken}")
    translated = times(tmp_path / "b" / "small")
    run(tmp_path / "b", tmp_path / "in.parquet", *words, f"metrics.comet_qe.path={checkpoints['kiwi']}")
    assert times(tmp_path / "b" / "small") == translated
    assert output(tmp_path / "b")["status"].to_pylist() == ["ok"] * 6


def test_rows_without_reference_and_bad_rows_have_their_status(without_ray: None, tmp_path: Path) -> None:
    sources = ["one", "two", "three", None, " ", "six", "seven"]
    references = ["one", None, " \t", "four", "five", "", "seven"]
    codes = ["de", "de", "de", "de", "de", "de", "klingonese"]
    table = pa.table({"source": sources, "reference": references, "to": codes, "n": list(range(7))})
    pq.write_table(table, tmp_path / "in.parquet")
    report = run(
        tmp_path / "run", tmp_path / "in.parquet", *ECHO[:3], "input.columns.target_lang=to",
        "input.columns.reference=reference", "metrics.names=[chrf, bleu]", "input.shard_rows=4",
    )  # fmt: skip
    rows = output(tmp_path / "run").to_pylist()
    statuses = ["ok", "no_reference", "no_reference", "null_source", "blank_source", "no_reference", "unknown_language"]
    assert [row["status"] for row in rows] == statuses
    assert [row["gain_chrf"] for row in rows] == [0.0] + [None] * 6
    assert [row["small_translation"] for row in rows] == ["one", "two", "three", None, None, "six", None]
    assert rows[1]["error"] == "no reference for chrf, bleu"
    assert rows[0]["error"] is None
    assert all(row["quality_small_bleu"] is None for row in rows[1:])
    assert [(row["n"], row["status"]) for row in quarantine(tmp_path / "run")] == [
        (3, "null_source"), (4, "blank_source"), (6, "unknown_language")
    ]  # fmt: skip
    assert report["statuses"]["no_reference"]["rows"] == 3
    assert report["metrics"][0]["quality"]["rows"] == 1


@needs_comet
def test_without_references_a_reference_free_metric_measures_every_row(
    without_ray: None, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"source": "one"}\n{"source": "cut\n{"source": "the house"}\n')
    words = ["metrics.names=[comet_qe]", f"metrics.comet_qe.path={checkpoints['kiwi']}"]
    run(tmp_path / "run", tmp_path / "in.jsonl", *ECHO, *words)
    rows = output(tmp_path / "run").to_pylist()
    assert [row["status"] for row in rows] == ["ok", "bad_line", "ok"]
    assert [row["gain_comet_qe"] for row in rows] == [0.0, None, 0.0]
    assert 0 < rows[0]["quality_small_comet_qe"] < 1
    assert quarantine(tmp_path / "run")[0]["raw_line"] == b'{"source": "cut'


def test_a_model_that_fails_on_a_row_leaves_no_gain(without_ray: None, corpus: Path, tmp_path: Path) -> None:
    # The small model is the cheapest that answers: what fails is the large one.
    words = [SHARDS, "metrics.names=[chrf]", "models.small.engine=echo", "models.large.max_input_tokens=14"]
    run(tmp_path / "run", corpus, *words, config=CONFIG)
    rows = output(tmp_path / "run").to_pylist()
    failed = [row for row in rows if row["status"] == "large_failed"]
    assert 0 < len(failed) < len(rows)
    for row in failed:
        assert row["large_translation"] is row["gain_chrf"] is row["quality_large_chrf"] is None
        assert row["quality_small_chrf"] is not None and row["small_translation"]
        assert row["error"].startswith("large: too_long: ")
        assert (row["large_tokens"], row["large_s"]) == (0, 0.0)
    assert not quarantine(tmp_path / "run")


def test_an_empty_corpus_gives_an_empty_labelled_set(without_ray: None, tmp_path: Path) -> None:
    table = pa.table({"source": pa.array([], pa.string()), "reference": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "in.parquet")
    report = run(tmp_path / "run", tmp_path / "in.parquet", *ECHO, "input.columns.reference=reference")
    rows = output(tmp_path / "run")
    assert rows.num_rows == report["input"]["rows"] == 0
    assert rows.schema.field("gain_chrf").type == pa.float32()
    assert report["metrics"][0]["quality"]["gain_mean"] is None
    assert (tmp_path / "run" / "dataset_card.md").exists()


@needs_comet
def test_a_reference_based_checkpoint_needs_the_column(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": ["a"]}), tmp_path / "in.parquet")
    words = [*ECHO, "metrics.names=[comet]", f"metrics.comet.path={checkpoints['da']}"]
    with pytest.raises(ValueError, match=r"regression_metric\) compares with a reference, but input.columns.reference"):
        run(tmp_path / "run", tmp_path / "in.parquet", *words)
