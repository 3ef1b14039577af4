"""The learning rate that `auto` takes, and what is kept of its trials."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routelmt_ray.config.train import LoraConfig
from routelmt_ray.reports.router_summary import print_router
from routelmt_ray.router import sweep
from routelmt_ray.router.fit import fit_lora
from routelmt_ray.router.labels import TrainingRows, read_training_rows
from routelmt_ray.router.lora import Diverged, LoraTask, LoraTraining
from routelmt_ray.router.sweep import choose_rate, trial_steps
from routelmt_ray.runtime.progress import Progress
from tests.router.conftest import train_config

AUTO = ("lora.learning_rate=auto", "lora.rates=[3.0e-3,1.0e-12,1.0e30]", "lora.trial_steps=16")


@pytest.fixture(scope="module")
def rows(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRows:
    return read_training_rows(train_config(labels, tmp_path_factory.mktemp("rows")))


def test_the_rate_that_ranks_the_stop_part_best_is_taken_and_trained_with(
    rows: TrainingRows, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = train_config(labels, tmp_path, *AUTO, "lora.head_learning_rate=auto")
    with Progress() as progress:
        fit = fit_lora(config, rows, tmp_path, rows.part("train"), rows.part("stop"), progress)
    found = fit.facts["sweep"]
    low, best, high = found["trials"]
    assert [t["learning_rate"] for t in found["trials"]] == [1e-12, 3e-3, 1e30]
    assert best["held_out"] > low["held_out"] + 0.1
    assert high["held_out"] is None  # diverged, which ends the trial and not the job
    assert found["held_out"] > len(rows.part("stop"))
    assert found["steps"] == 16 and best["seconds"] > 0
    assert fit.facts["lora"]["learning_rate"] == 3e-3
    assert fit.facts["steps"] == 24  # the training itself begins at the beginning
    named = train_config(labels, tmp_path, "lora.head_learning_rate=auto")
    with Progress() as progress:
        same = fit_lora(named, rows, tmp_path / "named", rows.part("train"), rows.part("stop"), progress)
    assert (same.head == fit.head).all() and "sweep" not in same.facts
    print_router("routers/mine", summary(fit.facts))
    words = capsys.readouterr().out
    assert f"rate       0.003, chosen by spearman on {found['held_out']} rows within 16 steps: 1e-12 " in words
    assert "1e+30 diverges" in words


def summary(facts: dict[str, Any]) -> dict[str, Any]:
    """As much of router.json as is printed."""
    held = {
        "spearman": 0.1,
        "normalized_area": 0.1,
        "hit_rate_0.3": 0.1,
        "mean_delta_0.3": 1,
        "rmse": 1,
        "gain": {"sd": 1},
    }
    training = {"rows": 1, "rows_read": 1, "seconds": 1, "split": {"by": "document", "rows": {"train": 1}}} | facts
    return {
        "training": training, "held_out": held, "calibration": {"gain": {"scale": 1.0, "intercept": 0.0}},
        "method": "lora", "heads": ["gain"], "label": {"metric": "chrf"},
    }  # fmt: skip


class Told(LoraTraining):
    """Reaches what it is told to, without a model."""

    reached: dict[float, float | list[float] | None] = {}  # noqa: RUF012
    trained: list[tuple[float, int]] = []  # noqa: RUF012

    def __init__(self, small: Any, config: LoraConfig, task: Any, seed: int, checkpoint: Path) -> None:
        self._config = config

    def run(self, bar: Any = None) -> Any:
        rate = self._config.peaks[0]
        self.trained.append((rate, self._config.steps or 0))
        value = self.reached[rate]
        if value is None:
            raise Diverged("not finite")
        reached = [9.0, *([value] if isinstance(value, float) else value)]  # the first is the untrained network's
        facts = {"measured": [{"step": i, "spearman": v} for i, v in enumerate(reached)], "seconds": 1.0}
        return type("Fit", (), {"facts": facts})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> type[Told]:
    monkeypatch.setattr(sweep, "LoraTraining", Told)
    Told.trained = []
    return Told


def choose(config: LoraConfig, rows: TrainingRows, labels: Path, folder: Path) -> LoraConfig:
    task = LoraTask(rows.prompts, rows.targets, rows.part("train"), rows.part("stop"), 0)
    return choose_rate(train_config(labels, folder).small, config, task, 0, folder / "rates.json")[0]


def test_of_equal_rates_the_lowest_and_a_killed_sweep_goes_on(
    told: type[Told], rows: TrainingRows, labels: Path, tmp_path: Path
) -> None:
    told.reached = {1e-3: 0.2, 1e-4: 0.2, 1e-2: None, 0.1: 0.1}
    config = replace(LoraConfig(rates=[1e-3, 1e-4, 1e-2, 0.1, 1e-3]), trial_steps=5)
    (tmp_path / "rates.json").write_text(json.dumps([{"learning_rate": 1e-4, "held_out": 0.2, "seconds": 1.0}]))
    assert choose(config, rows, labels, tmp_path).peaks == (1e-4, 1e-3)
    assert told.trained == [(1e-3, 5), (1e-2, 5), (0.1, 5)]  # the first was kept, none is tried twice
    told.trained = []
    assert choose(config, rows, labels, tmp_path).peaks == (1e-4, 1e-3)
    assert told.trained == []


def test_a_rate_that_only_looks_good_once_it_has_fallen_is_not_taken(
    told: type[Told], rows: TrainingRows, labels: Path, tmp_path: Path
) -> None:
    told.reached = {3e-3: [0.4, 0.5, 0.54], 1e-2: [0.1, 0.3, 0.55]}
    assert choose(LoraConfig(rates=[3e-3, 1e-2]), rows, labels, tmp_path).peaks == (3e-3, 3e-3)


def test_a_rate_that_is_named_is_not_tried_and_where_all_diverge_it_is_said(
    told: type[Told], rows: TrainingRows, labels: Path, tmp_path: Path
) -> None:
    named = LoraConfig(learning_rate=3e-3, head_learning_rate=5e-4)
    assert choose(named, rows, labels, tmp_path) is named and named.peaks == (3e-3, 5e-4)
    assert LoraConfig(learning_rate=3e-3).peaks == (3e-3, 3e-3)
    assert told.trained == []
    told.reached = {0.5: None, 0.7: None}
    with pytest.raises(Diverged, match=r"lora.rates, 0\.5, 0\.7"):
        choose(LoraConfig(rates=[0.5, 0.7]), rows, labels, tmp_path)


def test_a_trial_is_measured_on_documents_it_did_not_learn_from(rows: TrainingRows) -> None:
    train, stop = rows.part("train"), rows.part("stop")
    task = LoraTask(rows.prompts, rows.targets, train, stop, 0, rows.documents)
    part = sweep._halved(task, 0)
    assert not set(rows.documents[part.train]) & set(rows.documents[part.stop])  # two rows a document
    assert set(stop) < set(part.stop) and sorted({*part.train, *part.stop}) == sorted({*train, *stop})
    assert abs(len(part.train) - len(train) / 2) <= 2
    assert (sweep._halved(task, 1).train != part.train).any() and (sweep._halved(task, 0).train == part.train).all()


def test_the_rates_of_small_and_of_large_models_are_tried_where_nobody_says_which() -> None:
    config = LoraConfig()
    assert config.learning_rate == "auto" and {1e-4, 1e-3, 3e-3} <= set(config.rates)


def test_trials_are_a_tenth_of_the_training_within_bounds() -> None:
    assert trial_steps(LoraConfig(), 640) == 20  # 100 steps
    assert trial_steps(LoraConfig(), 6400) == 100  # 1,000 steps
    assert trial_steps(LoraConfig(), 640_000) == 100
    assert trial_steps(LoraConfig(steps=7), 6400) == 7
    assert trial_steps(LoraConfig(trial_steps=3), 6400) == 3


@pytest.mark.parametrize("value", ["often", "0", "-1", "inf", "nan", "null"])
def test_what_is_no_rate_is_refused(labels: Path, tmp_path: Path, value: str) -> None:
    with pytest.raises(ValueError, match="lora.learning_rate"):
        train_config(labels, tmp_path, f"lora.learning_rate={value}")
