"""Choice of the learning rate: a short training with each of a few rates; the one that ranks unseen rows best is used.

A model of a million parameters needs thirty times the rate of a model of a billion, and with a rate that is too low a
router hardly learns. A trial is a complete but short training on half of the train part, with its warm-up and its
cosine to 0. It is measured on the stop part and on train rows of the other half, because a stop part has only a few
hundred rows, on which the choice would depend on chance. The result is the mean of three measurements: while the rate
is high, while it falls, and at the end. A rate that is too high can look good at the end of a short training, which has
few steps at a high rate, and still ruin a long one. All trials begin with the same weights and see the same rows, so
the choice depends only on the seed.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from routelmt_ray import storage
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.train import AUTO, LoraConfig
from routelmt_ray.router.lora import Diverged, LoraTask, LoraTraining, total_steps

log = logging.getLogger(__name__)

_SHARE, _LEAST_STEPS = 0.1, 20
_MEASUREMENTS = 3
_MOST_HELD = 1000
"""Largest number of train rows that a trial is measured on."""


def trial_steps(config: LoraConfig, rows: int) -> int:
    """Counts the steps of one trial, from the rows of the train part."""
    total = total_steps(config, rows)
    return min(max(round(_SHARE * total), _LEAST_STEPS), config.trial_steps, total)


def choose_rate(
    small: ModelConfig,
    config: LoraConfig,
    task: LoraTask,
    seed: int,
    kept: Path,
    advance: Callable[[int], None] = lambda rows: None,
) -> tuple[LoraConfig, dict[str, Any]]:
    """Chooses the learning rate where it is `auto`, and returns the settings with it and the trials for router.json.

    Finished trials are kept in a file, so that a killed sweep continues with the next one. Raises Diverged where no rate
    gives a finite loss.
    """
    if config.learning_rate != AUTO:
        return config, {}
    steps, part = trial_steps(config, len(task.train)), _halved(task, seed)
    trials: list[dict[str, Any]] = storage.read_json(kept) if kept.exists() else []
    rates = sorted(set(config.rates))
    for rate in rates:
        if not any(trial["learning_rate"] == rate for trial in trials):
            every = math.ceil(steps / _MEASUREMENTS)
            short = replace(config, learning_rate=rate, steps=steps, evaluate_every=every, patience=_MEASUREMENTS + 1)
            trials.append(_trial(small, short, part, seed, kept.with_suffix(".safetensors")))
            storage.write_json(kept, trials)
        advance(steps * config.batch_rows * config.accumulate)
    measured = [trial for trial in trials if trial["held_out"] is not None]
    if not measured:
        raise Diverged(f"the loss is not finite at any of lora.rates, {', '.join(map(str, rates))}; name lower ones")
    best: float = max(measured, key=lambda trial: (trial["held_out"], -trial["learning_rate"]))["learning_rate"]
    log.info("learning rate %g is taken after trials of %d steps", best, steps)
    return replace(config, learning_rate=best), {
        "sweep": {"steps": steps, "held_out": len(part.stop), "trials": trials}
    }


def _halved(task: LoraTask, seed: int) -> LoraTask:
    """Halves the train part by document for a trial; rows of the other half are added to the stop part."""
    documents = task.train if task.documents is None else task.documents[task.train]
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(np.unique(documents))
    learned = np.isin(documents, shuffled[: (len(shuffled) + 1) // 2])
    held = np.concatenate((task.stop, rng.permutation(task.train[~learned])[:_MOST_HELD]))
    return replace(task, train=task.train[learned], stop=np.sort(held))


def _trial(small: ModelConfig, config: LoraConfig, task: LoraTask, seed: int, checkpoint: Path) -> dict[str, Any]:
    """Runs a short training and measures it on the held-out rows; its result is None where it diverges."""
    found: dict[str, Any] = {"learning_rate": config.learning_rate, "held_out": None, "seconds": 0.0}
    checkpoint.unlink(missing_ok=True)  # it is from a trial that was killed, perhaps at another rate
    try:
        facts = LoraTraining(small, config, task, seed, checkpoint).run().facts
    except Diverged as error:
        log.info("learning rate %g: %s", config.learning_rate, error)
        return found
    finally:
        checkpoint.unlink(missing_ok=True)
    reached = [
        measured[config.criterion] for measured in facts["measured"][1:]
    ]  # without the first, of the untrained network
    return found | {"held_out": round(sum(reached) / len(reached), 6), "seconds": facts["seconds"]}
