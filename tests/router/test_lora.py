"""Training of adapters and head on the embedded small model."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from routelmt_ray.metrics.measures import spearman
from routelmt_ray.router.checkpoint import load_checkpoint
from routelmt_ray.router.labels import TrainingRows, read_training_rows
from routelmt_ray.router.lora import Diverged, LoraTask, LoraTraining, measure, pace
from tests.router.conftest import train_config


@pytest.fixture(scope="module")
def rows(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRows:
    return read_training_rows(train_config(labels, tmp_path_factory.mktemp("rows"), "heads=[gain,quality]"))


def training(rows: TrainingRows, labels: Path, folder: Path, *overrides: str) -> LoraTraining:
    config = train_config(labels, folder, "heads=[gain,quality]", *overrides)
    task = LoraTask(rows.prompts, rows.targets, rows.part("train"), rows.part("stop"), 0)
    folder.mkdir(exist_ok=True)
    return LoraTraining(config.small, config.lora, task, 0, folder / "checkpoint.safetensors")


def weights(trained: LoraTraining) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy().copy() for name, p in trained.network.trainable().items()}


def test_adapters_are_in_every_linear_layer_and_nothing_else_is_trained(
    rows: TrainingRows, labels: Path, tmp_path: Path
) -> None:
    names = set(weights(training(rows, labels, tmp_path)))
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in names if "lora" in name}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name for name in names if "lora" not in name} == {"head.weight"}


def test_a_few_steps_rank_held_out_rows_better_than_the_untrained_network(
    rows: TrainingRows, labels: Path, tmp_path: Path
) -> None:
    held = np.flatnonzero(np.isin(rows.parts, ("calibration", "test")))
    fresh = training(rows, labels, tmp_path)
    before = spearman(fresh.network.predict(rows.prompts, held)[:, 0], rows.targets[held, 0])
    fit = fresh.run()
    after = fit.network.predict(rows.prompts, held)
    assert spearman(after[:, 0], rows.targets[held, 0]) > max(0.4, before + 0.2)
    assert spearman(after[:, 1], rows.targets[held, 1]) > 0.2
    assert fit.facts["measured"][-1]["loss"] < fit.facts["measured"][1]["loss"]
    np.testing.assert_allclose(fit.level, rows.targets[rows.part("train")].mean(0), rtol=1e-5)


def test_it_can_learn_a_small_set_by_heart(rows: TrainingRows, labels: Path, tmp_path: Path) -> None:
    config = train_config(labels, tmp_path, "heads=[gain,quality]", "lora.steps=60", "lora.patience=99")
    noise = np.random.default_rng(0).normal(0, 0.2, rows.targets.shape).astype(np.float32)
    few = rows.part("train")[:16]
    learned = LoraTraining(
        config.small, config.lora, LoraTask(rows.prompts, noise, few, few, 0), 0, tmp_path / "c"
    ).run()
    assert spearman(learned.network.predict(rows.prompts, few)[:, 0], noise[few, 0]) > 0.9


@pytest.mark.parametrize("extra", [(), ("lora.dropout=0.1", "lora.accumulate=2", "lora.batch_rows=16")])
def test_a_resumed_training_is_bit_for_bit_an_undisturbed_one(
    rows: TrainingRows, labels: Path, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    words = ("lora.steps=9", "lora.checkpoint_every=3", "lora.evaluate_every=4", *extra)
    whole = training(rows, labels, tmp_path / "whole", *words)
    whole.run()
    killed = training(rows, labels, tmp_path / "killed", *words)
    steps = iter(range(5))

    class Killed(Exception):
        pass

    learn = killed._learn

    def dies(batch: np.ndarray) -> None:
        if next(steps, None) is None:
            raise Killed
        learn(batch)

    killed._learn = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        killed.run()
    resumed = training(rows, labels, tmp_path / "killed", *words)
    assert resumed.step == 3
    facts = resumed.run().facts
    assert facts["measured"] == whole.run().facts["measured"]
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(resumed)[name], err_msg=name)


def test_a_step_of_several_batches_is_the_step_of_one(rows: TrainingRows, labels: Path, tmp_path: Path) -> None:
    one = training(rows, labels, tmp_path / "one", "lora.steps=3", "lora.batch_rows=32")
    four = training(rows, labels, tmp_path / "four", "lora.steps=3", "lora.batch_rows=8", "lora.accumulate=4")
    one.run(), four.run()
    losses = [[m["loss"] for m in t.run().facts["measured"][1:]] for t in (one, four)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_training_ends_when_the_stop_part_gets_no_better(rows: TrainingRows, labels: Path, tmp_path: Path) -> None:
    words = ("lora.steps=500", "lora.evaluate_every=2", "lora.patience=2", "lora.learning_rate=1e-12")
    facts = training(rows, labels, tmp_path, *words, "lora.head_learning_rate=1e-12").run().facts
    assert facts["steps"] - facts["best_step"] == 4
    assert facts["steps"] < 20


def test_the_best_state_is_kept_and_not_the_last(rows: TrainingRows, labels: Path, tmp_path: Path) -> None:
    spoiled = training(rows, labels, tmp_path, "lora.criterion=area")
    learn = spoiled._learn

    def spoil_the_last_steps(batch: np.ndarray) -> None:
        learn(batch)
        if spoiled.step > 16:
            with torch.no_grad():
                spoiled.network.head.weight.fill_(0.01)

    spoiled._learn = spoil_the_last_steps  # type: ignore[method-assign]
    fit = spoiled.run()
    by_step = {m["step"]: m["area"] for m in fit.facts["measured"]}
    assert list(by_step) == [0, 8, 16, 24]
    assert fit.facts["best_step"] == max(by_step, key=lambda step: by_step[step]) < 24
    assert fit.facts["stop_area"] == by_step[fit.facts["best_step"]] > by_step[24] + 0.05
    stop = rows.part("stop")
    kept = fit.network.predict(rows.prompts, stop)[:, 0]
    assert measure("area", kept, rows.targets[stop, 0]) == pytest.approx(fit.facts["stop_area"], abs=1e-6)


def test_mixed_precision_keeps_what_is_trained_in_float32(rows: TrainingRows, labels: Path, tmp_path: Path) -> None:
    mixed = training(rows, labels, tmp_path, "lora.precision=bfloat16")
    assert {p.dtype for p in mixed.network.trainable().values()} == {torch.float32}
    assert {p.dtype for p in mixed.network.parameters() if not p.requires_grad} == {torch.bfloat16}
    measured = mixed.run().facts["measured"]
    assert measured[-1]["loss"] < measured[1]["loss"]
    assert measured[-1]["spearman"] > measured[0]["spearman"] + 0.2


def test_a_loss_that_is_not_a_number_ends_the_training(rows: TrainingRows, labels: Path, tmp_path: Path) -> None:
    lost = training(rows, labels, tmp_path)
    with torch.no_grad():
        lost.network.head.weight.fill_(math.inf)
    with pytest.raises(Diverged, match="lower lora.learning_rate"):
        lost.run()


def test_without_a_checkpoint_training_begins_at_the_beginning(
    rows: TrainingRows, labels: Path, tmp_path: Path
) -> None:
    fresh = training(rows, labels, tmp_path)
    assert load_checkpoint(tmp_path / "none", {}, torch.optim.AdamW([torch.zeros(1)])) is None
    assert (fresh.step, fresh.finished()) == (0, False)


def test_the_learning_rate_rises_and_falls() -> None:
    shares = [pace(step, 100, 0.1) for step in range(100)]
    assert np.argmax(shares) == 10
    assert shares[10] == 1
    assert (np.diff(shares[:11]) > 0).all()
    assert (np.diff(shares[10:]) < 0).all()
    assert shares[0] > 0 and 0 < shares[-1] < 0.01


def test_batches_hold_no_more_tokens_than_they_may(rows: TrainingRows, labels: Path, tmp_path: Path) -> None:
    config = train_config(labels, tmp_path, "small.batch_tokens=300")
    small = dataclasses.replace(config.small)
    task = LoraTask(rows.prompts, rows.targets, rows.part("train"), rows.part("stop"), 0)
    network = LoraTraining(small, config.lora, task, 0, tmp_path / "c").network
    every = np.arange(len(rows.prompts))
    batches = network.batches(rows.prompts, every)
    assert sorted(np.concatenate(batches)) == every.tolist()
    assert max(len(b) * max(len(rows.prompts[i]) for i in b) for b in batches) <= 300
