"""Fits a router: a ridge head on the frozen model's states, or adapters and a head by gradient descent."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.train import AUTO, TrainConfig
from routelmt_ray.engines import Prompt, open_probe
from routelmt_ray.engines.artifact import Router
from routelmt_ray.router.labels import TrainingRows
from routelmt_ray.router.lora import LoraTask, LoraTraining, measure, training_digest
from routelmt_ray.router.ridge import solve
from routelmt_ray.router.states import States, model_files
from routelmt_ray.router.sweep import choose_rate, trial_steps
from routelmt_ray.runtime.progress import Progress


@dataclass(frozen=True)
class Fit:
    """A router before it is calibrated and written."""

    head: np.ndarray
    """Weights, shape ``(heads, hidden)``, float32."""
    facts: dict[str, Any]
    """Settings and outcome, for router.json."""
    predict: Callable[[np.ndarray, Path], np.ndarray]
    """Maps row numbers and a router folder, which holds the adapters, to head outputs ``(rows, heads)``, float32."""
    save_adapter: Callable[[Path], None] | None = None
    """Writes the adapters into a new folder; None for a frozen probe."""


def fit_probe(config: TrainConfig, rows: TrainingRows, states: States, train: np.ndarray, stop: np.ndarray) -> Fit:
    """Fits heads on the rows `train` by closed-form ridge regression, with the penalty that ranks the rows `stop` best."""
    weights, intercepts = solve(states.moments(train, rows.targets), config.probe.penalties)
    held = states.take(stop)
    chosen, ranked, intercept = {}, {}, {}
    head = np.empty(weights.shape[1:], np.float32)
    for i, name in enumerate(config.heads):
        scores = held.astype(np.float64) @ weights[:, i].T  # (rows, penalties)
        by_penalty = [measure("spearman", score, rows.targets[stop, i]) for score in scores.T]
        best = int(np.argmax(by_penalty))
        head[i] = weights[best, i]
        chosen[name], ranked[name] = config.probe.penalties[best], round(by_penalty[best], 4)
        intercept[name] = float(intercepts[best, i])
    facts = {"penalty": chosen, "stop_spearman": ranked, "intercept": intercept}
    return Fit(head, facts, lambda wanted, _: states.take(wanted) @ head.T)


def fit_lora(
    config: TrainConfig, rows: TrainingRows, work_dir: Path, train: np.ndarray, stop: np.ndarray, progress: Progress
) -> Fit:
    """Trains adapters and head on the rows `train`; continues from the last checkpoint where there is one.

    The rows `stop` decide when training ends. Raises Diverged where the loss is not finite.
    """
    parts = f"{len(train)}+{len(stop)}"
    bound = model_files(config.small) | {"heads": ",".join(config.heads), "rows": parts, "pooling": config.pooling}
    gain = config.heads.index("gain")
    task = LoraTask(rows.prompts, rows.targets, train, stop, gain, rows.documents, config.pooling)
    per_step, lora, sweep = config.lora.batch_rows * config.lora.accumulate, config.lora, dict[str, Any]()
    if lora.learning_rate == AUTO:
        kept = work_dir / f"rates-{training_digest(bound, lora, rows.digest, config.seed)}.json"
        with progress.stage("rates", len(set(lora.rates)) * trial_steps(lora, len(train)) * per_step) as bar:
            lora, sweep = choose_rate(config.small, lora, task, config.seed, kept, bar.advance)
    digest = training_digest(bound, lora, rows.digest, config.seed)
    training = LoraTraining(config.small, lora, task, config.seed, work_dir / f"lora-{digest}.safetensors")
    with progress.stage("train", training.total * per_step, training.step * per_step) as bar:
        fitted = training.run(bar)
    network = fitted.network
    facts = {"lora": configlib.to_dict(lora)} | sweep | fitted.facts
    facts["intercept"] = dict(zip(config.heads, map(float, fitted.level)))
    head = network.head.weight.detach().float().cpu().numpy().copy()

    def predict(wanted: np.ndarray, folder: Path) -> np.ndarray:
        # As the jobs will use the router: adapters merged, in the engine's precision.
        one = np.ones(len(head), np.float32)
        spec = {"pooling": config.pooling}
        engine = open_probe(config.small, Router(head, tuple(config.heads), one, 0 * one, folder / "adapter", spec))
        return engine.probe([Prompt(rows.prompts[i], 0, "") for i in wanted])

    return Fit(head, facts, predict, network.save_adapter)
