"""The learning rate: a short training with each of a few, and the one that ranks rows it did not see best is taken.

A model of a million parameters takes thirty times the rate of one of a billion, and a rate that is too low gives a router
that has hardly learned. A trial is a whole training in small, with its warm-up and its cosine to 0, on half of the train
part; it is measured on the stop part and on train rows of the other half, as the few hundred rows of a stop part alone
tell good rates from bad ones by luck. What counts is the mean of three measurements, while the rate is high, while it
falls, and at the end: a rate that is too high can look good at the end of a short training, whose rate is high for few
steps, and ruins a long one. All trials begin with the same weights and see the same rows, so that the seed alone says what
is chosen.
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
"""Train rows a trial is measured on, at most."""


def trial_steps(config: LoraConfig, rows: int) -> int:
    """Steps of one trial.

    Args:
        config: settings.
        rows: of the train part.
    """
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
    """Chooses the learning rate where it is `auto`.

    Args:
        small: the model.
        config: settings.
        task: the data.
        seed: of the training.
        kept: file that finished trials are kept in, so that a killed sweep goes on with the next.
        advance: called with the training rows of each trial that is done.

    Returns:
        The settings with a rate in them, and the trials for router.json. The settings as they are and nothing where they
        name a rate.

    Raises:
        Diverged: no rate gives a finite loss.
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
    """What a trial learns from: half of the documents of the train part; the stop part is joined by rows of the others."""
    documents = task.train if task.documents is None else task.documents[task.train]
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(np.unique(documents))
    learned = np.isin(documents, shuffled[: (len(shuffled) + 1) // 2])
    held = np.concatenate((task.stop, rng.permutation(task.train[~learned])[:_MOST_HELD]))
    return replace(task, train=task.train[learned], stop=np.sort(held))


def _trial(small: ModelConfig, config: LoraConfig, task: LoraTask, seed: int, checkpoint: Path) -> dict[str, Any]:
    """A short training: what it reaches on the rows held out, None where it diverges."""
    found: dict[str, Any] = {"learning_rate": config.learning_rate, "held_out": None, "seconds": 0.0}
    checkpoint.unlink(missing_ok=True)  # of a trial that was killed, perhaps at another rate
    try:
        facts = LoraTraining(small, config, task, seed, checkpoint).run().facts
    except Diverged as error:
        log.info("learning rate %g: %s", config.learning_rate, error)
        return found
    finally:
        checkpoint.unlink(missing_ok=True)
    reached = [measured[config.criterion] for measured in facts["measured"][1:]]  # but the untrained network's
    return found | {"held_out": round(sum(reached) / len(reached), 6), "seconds": facts["seconds"]}
