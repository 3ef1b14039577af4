"""A router's folder: what is written comes back, and what does not fit is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from routelmt_ray import storage
from routelmt_ray.budget.threshold import Threshold
from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.engines import Prompt, open_probe
from routelmt_ray.engines.artifact import check_match, file_digest, load_router, weights_digest
from routelmt_ray.job import training
from routelmt_ray.job.translation import router_identity
from routelmt_ray.metrics.measures import spearman
from routelmt_ray.router.fit import fit_lora
from routelmt_ray.runtime.progress import Progress
from tests.conftest import DEMO
from tests.router.conftest import train_config

SMALL = str(DEMO / "models" / "small")


def publish(labels: Path, folder: Path, *words: str) -> Path:
    """Trains a LoRA router with two heads for a few steps."""
    config = train_config(labels, folder, "heads=[gain,quality]", "lora.steps=8", *words)
    preparation = training.prepare(config)
    rows = preparation.rows
    with Progress() as progress:
        fit = fit_lora(config, rows, folder, rows.part("train"), rows.part("stop"), progress)
    training.publish(preparation, fit, 1.0)
    return folder / "router"


@pytest.fixture(scope="module")
def published(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA router with two heads, which read the mean over the prompt."""
    return publish(labels, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def on_last_token(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, whose heads read the last token."""
    return publish(labels, tmp_path_factory.mktemp("last"), "pooling=last_token")


def test_a_written_router_is_read_back_and_predicts_what_was_measured(published: Path, labels: Path) -> None:
    router = load_router(str(published))
    assert router.heads == ("gain", "quality")
    assert router.adapter == published / "adapter"
    # The router and the training's own checkpoint, and nothing of a folder half written.
    assert sorted(p.name.partition("-")[0] for p in published.parent.iterdir()) == ["lora", "router"]
    assert sorted(p.name for p in published.iterdir()) == [
        "adapter",
        "head.safetensors",
        "router.json",
        "words.safetensors",
    ]
    spec, config = router.spec, train_config(labels, published.parent, "heads=[gain,quality]")
    rows = training.prepare(train_config(labels, published.parent / "other", "heads=[gain,quality]")).rows
    test = rows.part("test")
    raw = open_probe(config.small, router).probe([Prompt(rows.prompts[i], 0, "") for i in test])
    assert router.words is not None and spec["format"] == 3 and router.reads_prompts
    words = router.words(*rows.sources.take(test))
    predicted, gain = router.predict(raw, words=words), rows.targets[test, 0]
    by_hand = router.scale[0] * (raw[:, 0] + words) + router.intercept[0]
    assert predicted == pytest.approx(by_hand, abs=1e-6) and np.ptp(words) > 0
    with pytest.raises(ValueError, match="words is None"):
        router.predict(raw)
    alone, fitted = router.words_alone, router.words_alone["calibration"]["gain"]
    by_words = router.predict_by_words(*rows.sources.take(test))
    assert by_words == pytest.approx(fitted["scale"] * words + fitted["intercept"], abs=1e-6)
    assert alone["held_out"]["spearman"] == pytest.approx(spearman(by_words, gain), abs=1e-4)
    assert fitted != spec["calibration"]["gain"] != spec["words"]["without"]["calibration"]["gain"]
    quality = router.scale[1] * raw[:, 1] + router.intercept[1]
    assert router.predict(raw, "quality", words) == pytest.approx(quality, abs=1e-6) == router.predict(raw, "quality")
    rmse = float(np.sqrt(np.mean((predicted - gain) ** 2)))
    assert rmse == pytest.approx(spec["held_out"]["rmse"], abs=1e-4)
    area = spec["training"]["words"]["stop_normalized_area"]
    assert area["sum"] > area["head"]
    assert spec["held_out"]["rows"] == len(test) == spec["training"]["split"]["rows"]["test"]
    assert spec["training"]["data"] == rows.digest
    assert spec["base_model"]["digest"] == weights_digest(SMALL)
    assert (published / "head.safetensors").stat().st_mode & 0o777 == 0o644


def test_model_and_prompt_must_be_those_of_the_training(published: Path, tmp_path: Path) -> None:
    router = load_router(str(published))
    check_match(router, SMALL, "demo")
    with pytest.raises(ValueError, match="was trained on .*large.* has weights"):
        check_match(router, str(DEMO / "models" / "large"), "demo")
    with pytest.raises(ValueError, match="was trained with the prompt"):
        check_match(router, SMALL, "lmt60")
    with pytest.raises(ValueError, match="revision"):
        check_match(router, "nobody/has-this-model", "demo")
    family = tmp_path / "demo.yaml"
    family.write_text('template: "{tgt}: {text}"\nchat: true\nlanguage_names: {es: Other, de: Names}\n')
    with pytest.raises(ValueError, match="another form of prompt family"):
        check_match(router, SMALL, str(family))


def test_weights_in_several_files_have_one_digest(tmp_path: Path) -> None:
    for i in range(2):
        save_file({"w": np.full(3, i, np.float32)}, tmp_path / f"model-0000{i}-of-00002.safetensors")
    first = weights_digest(str(tmp_path))
    save_file({"w": np.full(3, 7, np.float32)}, tmp_path / "model-00001-of-00002.safetensors")
    assert first != weights_digest(str(tmp_path))
    assert weights_digest("nobody/has-this-model") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 4}, "format is 4; this version reads formats 1 to 3"),
        ({"words": {}}, "not complete"),
        ({"words": {"digest": "0123"}}, "words.safetensors has the SHA-256"),
        ({"heads": ["gain"]}, "does not fit the heads"),
        ({"layer": "first"}, "reads at"),
        ({"calibration": {"gain": {"scale": float("nan")}}}, "not finite"),
        ({"calibration": None}, "not complete"),
        ({"base_model": {}}, "not complete"),
    ],
)
def test_a_damaged_router_is_refused(published: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = tmp_path / "router"
    shutil.copytree(published, folder)
    spec = json.loads((folder / "router.json").read_text())
    (folder / "router.json").write_text(json.dumps(spec | change))
    with pytest.raises(ValueError, match=message):
        load_router(str(folder))


@pytest.mark.parametrize("alone", [None, {}, {"calibration": {"gain": {"scale": float("inf"), "intercept": 0.0}}}])
def test_words_that_were_not_calibrated_are_not_used_alone(published: Path, tmp_path: Path, alone: object) -> None:
    folder = tmp_path / "router"
    shutil.copytree(published, folder)
    spec = json.loads((folder / "router.json").read_text())
    spec["words"]["alone"] = alone
    (folder / "router.json").write_text(json.dumps(spec))
    with pytest.raises(ValueError, match=r"router.kind=words needs; train it again with words=true"):
        load_router(str(folder)).predict_by_words(["a"], ["de"])


def without_words(published: Path, folder: Path) -> dict[str, Any]:
    """Writes a router as versions before the table of words wrote it; returns its router.json."""
    shutil.copytree(published, folder)
    (folder / "words.safetensors").unlink()
    spec = json.loads((folder / "router.json").read_text())
    spec |= {"format": 1} | spec.pop("words")["without"]
    (folder / "router.json").write_text(json.dumps(spec))
    return dict(spec)


def test_a_router_without_a_table_is_its_head(published: Path, tmp_path: Path) -> None:
    spec = without_words(published, tmp_path / "old")
    router = load_router(str(tmp_path / "old"))
    raw = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    gain = spec["calibration"]["gain"]
    assert router.words is None
    assert router.predict(raw) == pytest.approx(gain["scale"] * raw[:, 0] + gain["intercept"], abs=1e-6)


def test_another_table_is_another_router(published: Path, tmp_path: Path) -> None:
    def identity(folder: Path) -> object:
        return router_identity(RouterConfig(path=str(folder)))["files"]

    folder = tmp_path / "router"
    shutil.copytree(published, folder)
    assert identity(folder) == identity(published)
    table = load_router(str(folder)).words
    assert table is not None
    table.weight[len(table.weight) // 2] += 1  # far from both ends of the file, which an identity reads
    (folder / "words.safetensors").write_bytes(table.to_bytes())
    with pytest.raises(ValueError, match="router.json belongs to"):
        load_router(str(folder))
    spec = json.loads((folder / "router.json").read_text())
    spec["words"]["digest"] = file_digest(folder / "words.safetensors")
    (folder / "router.json").write_text(json.dumps(spec))
    assert load_router(str(folder)).words is not None
    assert identity(folder) != identity(published)
    without_words(published, tmp_path / "old")
    assert identity(tmp_path / "old") != identity(published)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "router"
    (tmp_path / ".router.0123.tmp").mkdir()  # of a killed writer

    def fails() -> None:
        with storage.new_folder(out) as folder:
            (folder / "head.safetensors").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert list(tmp_path.iterdir()) == []
    for content in ("old", "new"):
        with storage.new_folder(out) as folder:
            (folder / "router.json").write_text(content)
    assert (out / "router.json").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["router"]


@pytest.mark.parametrize("pooling", ["mean", "last_token"])
def test_an_exported_router_gives_the_same_numbers_in_plain_transformers(
    pooling: str, labels: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    published: Path = request.getfixturevalue("published" if pooling == "mean" else "on_last_token")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from routelmt_ray.job import export

    words = ["--router", str(published), "--base", SMALL, "--out", str(tmp_path / "classifier")]
    assert export.main(words) == 0
    # A model cannot hold the words of the source: what it means alone goes with it.
    assert "the table of words is left out" in caplog.text
    spec, exported = (
        json.loads((folder / "router.json").read_text()) for folder in (published, tmp_path / "classifier")
    )
    assert exported["format"] == 1 and "words" not in exported
    assert exported["calibration"] == spec["words"]["without"]["calibration"] != spec["calibration"]
    assert exported["held_out"] == spec["words"]["without"]["held_out"]
    assert not (tmp_path / "classifier" / "words.safetensors").exists()
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "classifier")
    assert type(model).__name__ == "Qwen3ForSequenceClassification"
    assert (model.config.problem_type, model.config.num_labels) == ("regression", 2)
    assert model.config.id2label == {0: "gain", 1: "quality"}
    assert list(dict(model.score.named_parameters())) == ["weight"]
    config = train_config(labels, tmp_path, "heads=[gain,quality]")
    prompts = training.prepare(config).rows.prompts[:40]
    probed = open_probe(config.small, load_router(str(published))).probe([Prompt(ids, 0, "") for ids in prompts])
    for side in ("left", "right"):
        tokenizer.padding_side = side
        with torch.inference_mode():
            inputs = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
            logits = model(**inputs).logits
            if pooling == "mean":
                inside = inputs["attention_mask"][:, :, None]
                states = model.model(**inputs).last_hidden_state * inside
                logits = model.score(states.sum(1) / inside.sum(1))
        # float32 and sums in another order: a few units of the last place of numbers around 0.1 to 1.
        np.testing.assert_allclose(logits.numpy(), probed, atol=2e-6)
    assert (tmp_path / "classifier" / "1_Pooling" / "config.json").exists() == (pooling == "mean")
    assert not (tmp_path / "classifier" / "threshold.json").exists()
    assert export.main(words) == 2  # the folder is taken
    assert export.main([*words[:3], str(DEMO / "models" / "large"), "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


def test_an_exported_router_carries_its_threshold(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from routelmt_ray.job import export

    found = Threshold(0.125, (0.1, 0.15), 0.95, 0.3, 0.31, 1000)
    alone = tmp_path / "alone"
    without_words(published, alone)
    identity = router_identity(RouterConfig(path=str(alone)))
    own, other = tmp_path / "own.json", tmp_path / "other.json"
    own.write_text(json.dumps(found.to_dict() | {"router": identity}))
    other.write_text(json.dumps(found.to_dict() | {"router": identity | {"kind": "length"}}))
    words = ["--base", SMALL, "--out", str(tmp_path / "classifier"), "--threshold"]
    assert export.main(["--router", str(published), *words, str(own)]) == 2
    assert "has a table of words, which an exported model cannot hold" in caplog.text
    words = ["--router", str(alone), *words]
    for file, message in ((other, "--threshold is"), (tmp_path / "none.json", "nor a file of jobs/threshold.py")):
        assert export.main([*words, str(file)]) == 2 and message in caplog.text
        assert not (tmp_path / "classifier").exists()
        caplog.clear()
    assert export.main([*words, str(own)]) == 0
    rule = json.loads((tmp_path / "classifier" / "threshold.json").read_text())
    router = load_router(str(alone))
    raw = np.random.default_rng(1).normal(size=(50, len(router.heads))).astype(np.float32)
    gains = rule["scale"] * raw[:, rule["label"]] + rule["intercept"]
    np.testing.assert_allclose(gains, router.predict(raw), rtol=1e-5, atol=1e-6)
    assert rule["threshold"] == 0.125 and Threshold.from_dict(rule) == found
