"""Training of adapters and head by mean squared error, until the stop part no longer improves."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.schema import LAST_TOKEN
from routelmt_ray.config.train import LoraConfig
from routelmt_ray.metrics.measures import normalized_area, spearman
from routelmt_ray.router.checkpoint import load_checkpoint, save_checkpoint
from routelmt_ray.router.network import Network
from routelmt_ray.runtime.progress import Bar

log = logging.getLogger(__name__)

_POOL_STEPS = 32
"""The rows of this many steps are sorted by length together, so that padding is small and steps stay mixed."""


class Diverged(RuntimeError):
    """The loss is not a finite number any more."""


@dataclass(frozen=True)
class LoraTask:
    """The data of a training."""

    prompts: Sequence[Sequence[int]]
    targets: np.ndarray
    """Labels, shape ``(rows, heads)``, float32."""
    train: np.ndarray
    """Row numbers of the train part."""
    stop: np.ndarray
    """Row numbers of the stop part."""
    gain: int
    """Index of the head that is measured on the stop part."""
    documents: np.ndarray | None = None
    """Document of every row as a number; None makes every row a separate document."""
    pooling: str = LAST_TOKEN
    """Tokens whose states the heads read."""


@dataclass(frozen=True)
class LoraFit:
    """The result of a training."""

    network: Network
    """The network with its best adapters and head."""
    level: np.ndarray
    """Mean label of the train part, shape ``(heads,)``; the outputs of the heads are relative to it."""
    facts: dict[str, Any]
    """Steps, measurements and seconds, for router.json."""


def measure(criterion: str, score: np.ndarray, gain: np.ndarray) -> float:
    """Computes the criterion from the rows with a finite score; −1 where it is undefined."""
    whole = np.isfinite(score)
    if not whole.any():
        return -1.0
    value = (spearman if criterion == "spearman" else normalized_area)(score[whole], gain[whole])
    return value if np.isfinite(value) else -1.0


def pace(step: int, total: int, warmup: float) -> float:
    """Computes the share of the peak learning rate at a step, counted from 0: a linear rise, then a cosine to 0."""
    rising = warmup * total
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(total - rising, 1)))


def total_steps(config: LoraConfig, rows: int) -> int:
    """Counts the optimizer steps of a training that is not ended early, from the rows of its train part."""
    epoch = steps_per_epoch(rows, config.batch_rows * config.accumulate)
    return min(max(1, round(config.epochs * epoch)), config.steps or 2**62)


def steps_per_epoch(rows: int, rows_per_step: int) -> int:
    """Counts the optimizer steps that visit every row once."""
    return -(-rows // rows_per_step)


def epoch_steps(lengths: np.ndarray, rows_per_step: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Splits an epoch, counted from 0, into steps of rows of similar length, and returns the row numbers of each; every row comes once.

    `lengths` are prompt tokens, shape ``(rows,)``; one step may have fewer than `rows_per_step`.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    pool = rows_per_step * _POOL_STEPS
    steps = []
    for first in range(0, len(order), pool):
        rows = order[first : first + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        steps += [rows[i : i + rows_per_step] for i in range(0, len(rows), rows_per_step)]
    return [steps[i] for i in rng.permutation(len(steps))]


class LoraTraining:
    """One training, resumable at every checkpoint."""

    def __init__(self, small: ModelConfig, config: LoraConfig, task: LoraTask, seed: int, checkpoint: Path) -> None:
        """Loads the model and, where there is one, the checkpoint. The seed is that of adapters, dropout and the order of rows."""
        self._config, self._task, self._seed, self._checkpoint = config, task, seed, checkpoint
        self.network = Network(small, config, task.targets.shape[1], seed, task.pooling)
        self._parameters = self.network.trainable()
        adapters = [p for name, p in self._parameters.items() if not name.startswith("head.")]
        peaks = config.peaks
        groups = [
            {"params": adapters, "peak": peaks[0]},
            {"params": list(self.network.head.parameters()), "peak": peaks[1]},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=config.weight_decay)
        self._level = task.targets[task.train].mean(0, dtype=np.float64).astype(np.float32)
        self._rows_per_step = config.batch_rows * config.accumulate
        self._epoch = steps_per_epoch(len(task.train), self._rows_per_step)
        self.total = total_steps(config, len(task.train))
        self._lengths = np.array([len(task.prompts[i]) for i in task.train])
        self._best: dict[str, torch.Tensor] = {}
        self._state: dict[str, Any] = {
            "step": 0, "best_step": 0, "best": -math.inf, "seconds": 0.0, "losses": [], "measured": []
        }  # fmt: skip
        if (found := load_checkpoint(checkpoint, self._parameters, self._optimizer)) is not None:
            self._best, self._state = found
            log.info("training goes on from step %d of %d", self.step, self.total)

    @property
    def step(self) -> int:
        return int(self._state["step"])

    def finished(self) -> bool:
        """Tells whether all steps are done, or the stop part has not improved for `patience` measurements."""
        stale = self.step - self._state["best_step"]
        return self.step >= self.total or stale >= self._config.patience * self._config.evaluate_every

    def run(self, bar: Bar | None = None) -> LoraFit:
        """Trains to the end and restores the best parameters; raises Diverged where the loss is not finite."""
        started, before = time.monotonic(), self._state["seconds"]
        if not self.step and not self._best:
            self._measure()
        steps: list[np.ndarray] = []
        epoch_at = -1
        while not self.finished():
            epoch, within = divmod(self.step, self._epoch)
            if epoch != epoch_at:
                steps, epoch_at = epoch_steps(self._lengths, self._rows_per_step, self._seed, epoch), epoch
            rows = self._task.train[steps[within]]
            self._learn(rows)
            if self.step % self._config.evaluate_every == 0 or self.step == self.total:
                self._measure()
            self._state["seconds"] = before + time.monotonic() - started
            if self.step % self._config.checkpoint_every == 0 or self.finished():
                save_checkpoint(self._checkpoint, self._parameters, self._best, self._optimizer, self._state)
            if bar is not None:
                bar.advance(len(rows))
        with torch.no_grad():
            for name, value in self._best.items():
                self._parameters[name].copy_(value)
        facts = {
            "steps": self.step,
            "best_step": self._state["best_step"],
            f"stop_{self._config.criterion}": round(self._state["best"], 6),
            "seconds": round(self._state["seconds"], 2),
            "measured": self._state["measured"],
        }
        return LoraFit(self.network, self._level, facts)

    def _learn(self, rows: np.ndarray) -> None:
        share = pace(self.step, self.total, self._config.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = share * group["peak"]
        self._optimizer.zero_grad()
        loss_sum = 0.0
        for batch in self.network.batches(self._task.prompts, rows):
            wanted = torch.from_numpy(self._task.targets[batch] - self._level).to(self.network.device)
            raw = self.network([self._task.prompts[i] for i in batch])
            loss = ((raw - wanted) ** 2).mean(1).sum() / len(rows)
            loss.backward()
            loss_sum += loss.item()
        if not math.isfinite(loss_sum):
            raise Diverged(f"the loss is {loss_sum} at step {self.step + 1}; lower lora.learning_rate")
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._config.max_grad_norm)
        self._optimizer.step()
        self._state["step"] += 1
        self._state["losses"].append(loss_sum)

    def _measure(self) -> None:
        """Measures the stop part, and keeps the parameters if they are the best so far."""
        task, criterion = self._task, self._config.criterion
        raw = self.network.predict(task.prompts, task.stop)
        value = measure(criterion, raw[:, task.gain], task.targets[task.stop, task.gain])
        loss = round(float(np.mean(self._state["losses"])), 6) if self._state["losses"] else None
        self._state["losses"] = []
        self._state["measured"].append({"step": self.step, "loss": loss, criterion: round(value, 6)})
        log.info("step %d of %d: loss %s, %s on the stop part %.4f", self.step, self.total, loss, criterion, value)
        if value > self._state["best"]:
            self._state |= {"best": value, "best_step": self.step}
            self._best = {name: p.detach().cpu().clone() for name, p in self._parameters.items()}


def training_digest(small: dict[str, Any], config: LoraConfig, data: str, seed: int) -> str:
    """Computes the digest that binds a checkpoint to its training, with all settings but `checkpoint_every`."""
    settings = asdict(config)
    settings.pop("checkpoint_every")
    return hashlib.sha256(json.dumps([small, settings, data, seed], sort_keys=True).encode()).hexdigest()[:16]
