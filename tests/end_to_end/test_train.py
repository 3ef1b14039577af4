"""The train job: both methods from labels to a router that other jobs accept, kills and refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import train
from routelmt_ray.engines import Prompt, open_probe
from routelmt_ray.engines.artifact import check_match, load_router
from routelmt_ray.job import curve, training
from routelmt_ray.metrics.measures import spearman
from routelmt_ray.router import lora
from routelmt_ray.router.labels import read_training_rows
from routelmt_ray.router.states import open_states
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import DEMO
from tests.end_to_end.ended import Ended
from tests.router.conftest import label_table, train_config

SMALL = str(DEMO / "models" / "small")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train") / "labels.parquet"
    pq.write_table(label_table(360), path)
    return path


@pytest.mark.parametrize("method", ["probe", "lora"])
def test_from_labels_to_a_router_the_translate_job_accepts(
    labels: Path, tmp_path: Path, without_ray: None, method: str
) -> None:
    config = train_config(labels, tmp_path, f"method={method}", "heads=[gain,quality]")
    preparation = training.prepare(config)
    with Progress() as progress:
        spec = train.run(preparation, progress)
    assert spec["held_out"]["spearman"] > 0.3
    assert spec["held_out"]["quality"]["spearman"] > 0.1
    assert spec["training"]["split"]["rows"] == preparation.rows.counts()
    router = load_router(config.out)
    check_match(router, SMALL, "demo")
    assert (router.adapter is not None) == (method == "lora")
    # The published folder alone gives the figures it claims, on the test rows its own split names.
    rows = preparation.rows
    test = rows.part("test")
    raw = open_probe(config.small, router).probe([Prompt(rows.prompts[i], 0, "") for i in test])
    words = None if router.words is None else router.words(*rows.sources.take(test))
    assert spearman(router.predict(raw, words=words), rows.targets[test, 0]) == pytest.approx(
        spec["held_out"]["spearman"], abs=2e-3
    )
    assert training.is_finished(training.prepare(config))


def test_hidden_states_are_extracted_once_and_shards_that_are_missing_again(
    labels: Path, tmp_path: Path, local_ray: None
) -> None:
    from routelmt_ray.runtime import pipelines

    config = train_config(labels, tmp_path)
    rows, folder = read_training_rows(config), RunDir(tmp_path / "work")
    with Progress() as progress:
        states = open_states(rows.prompts, config.small, folder, 100, config.pooling)
        pipelines.run(folder, [states.work(config.small)], 2, progress)
        assert folder.committed(states.stage) == {0, 1, 2, 3}
        folder.shard_path(states.stage, 2).unlink()
        kept = folder.shard_path(states.stage, 1).stat().st_mtime_ns
        again = open_states(rows.prompts, config.small, folder, 100, config.pooling)
        assert pipelines.run(folder, [again.work(config.small)], 2, progress) == 1
    assert folder.shard_path(states.stage, 1).stat().st_mtime_ns == kept
    direct = open_probe(config.small, None, config.pooling).states([Prompt(ids, 0, "") for ids in rows.prompts])
    chosen = np.array([3, 99, 100, 359])
    np.testing.assert_allclose(again.take(chosen), direct[chosen], atol=1e-5)
    moments = again.moments(chosen, rows.targets)
    np.testing.assert_allclose(moments.state_sum, direct[chosen].sum(0), atol=1e-4)
    assert moments.rows == 4


def test_a_learning_curve_has_a_point_for_every_method_and_count(
    labels: Path, tmp_path: Path, without_ray: None
) -> None:
    from routelmt_ray.runtime import pipelines

    config = train_config(labels, tmp_path, "curve.rows=[60,120,5000]", "lora.steps=6")
    rows, folder = read_training_rows(config), RunDir(config.work_dir)
    with Progress() as progress:
        states = open_states(rows.prompts, config.small, folder, 100, config.pooling)
        pipelines.run(folder, [states.work(config.small)], 2, progress)
        points = curve.learning_curve(config, rows, states, progress)
    most = len(rows.part("train")) + len(rows.part("stop"))
    assert [(p["labels"], p["method"]) for p in points] == [(n, m) for n in (60, 120, most) for m in ("probe", "lora")]
    assert all(p["rows"] == len(rows.part("test")) and -1 <= p["spearman"] <= 1 for p in points)
    few, more = (set(curve.nested_subset(np.arange(50), share, 1)) for share in (0.2, 0.6))
    assert len(few) == 10 and len(more) == 30 and few < more


def words(labels: Path, folder: Path, *more: str) -> list[str]:
    """The job's command line."""
    return [
        f"labels.path={labels}", "labels.columns={source_lang: source_lang, target_lang: target_lang, document: document}",
        f"small={{path: {SMALL}, prompt: demo, device: cpu}}", f"out={folder / 'router'}", f"work_dir={folder / 'work'}",
        "split={train: 0.6, stop: 0.15, calibration: 0.1, test: 0.15}", "lora.batch_rows=32", "lora.steps=24",
        "lora.learning_rate=1.0e-4",
        "lora.evaluate_every=8", "lora.checkpoint_every=4", *more,
    ]  # fmt: skip


def test_a_training_that_ends_half_way_goes_on_to_the_same_router(
    labels: Path,
    tmp_path: Path,
    without_ray: None,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    save = lora.save_checkpoint

    def save_second(*facts: Any) -> None:
        if list((killed / "work").glob("lora-*.safetensors")):
            raise Ended  # a checkpoint is replaced at once, so that a kill leaves the one before or this one
        save(*facts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora, "save_checkpoint", save_second)
        with pytest.raises(Ended):
            train.main(words(labels, killed))
    assert list((killed / "work").glob("lora-*.safetensors")) and not (killed / "router").exists()
    caplog.set_level("INFO")
    assert train.main(words(labels, killed)) == 0
    assert "training goes on from step" in caplog.text
    assert "Spearman" in capsys.readouterr().out
    assert train.main(words(labels, whole)) == 0
    for name in ("head.safetensors", "adapter/adapter_model.safetensors"):
        assert (killed / "router" / name).read_bytes() == (whole / "router" / name).read_bytes()
    specs = [json.loads((folder / "router" / "router.json").read_text()) for folder in (killed, whole)]
    assert specs[0]["held_out"] == specs[1]["held_out"]
    assert train.main(words(labels, whole)) == 0
    assert "nothing to do" in caplog.text
    assert train.main(words(labels, whole, "seed=1")) == 2
    assert "set overwrite=true" in caplog.text


def test_labels_that_cannot_serve_end_with_2_and_leave_nothing(
    labels: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train.main(words(labels, tmp_path, "labels.metric=bleu")) == 2
    assert "metrics found: chrf" in caplog.text
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "thesis.txt").write_text("precious")
    assert train.main(words(labels, tmp_path)) == 2
    assert "not a router's folder" in caplog.text
