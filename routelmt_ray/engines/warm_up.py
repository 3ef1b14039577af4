"""Opens engines and asks each once, so that a first call counts as loading and a broken engine is found early."""

import numpy as np

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import Engine, ProbeEngine, Prompt, open_engine, open_probe
from routelmt_ray.engines.artifact import Router
from routelmt_ray.engines.prompts import load_family


class NotAnswering(RuntimeError):
    """An engine was loaded, but does not answer an ordinary prompt."""


def open_warm_engine(config: ModelConfig) -> Engine:
    """Loads the engine of :func:`open_engine`, and translates one word with it. Raises NotAnswering if the translation
    fails."""
    engine = open_engine(config)
    (answer,) = engine.translate([_ordinary(config, 2)])
    if answer.finish == "error":
        raise NotAnswering(f"{config.path} has loaded, but fails on an ordinary prompt: {answer.error}")
    return engine


def open_warm_probe(config: ModelConfig, router: Router) -> ProbeEngine:
    """Loads the engine of :func:`open_probe`, and probes one prompt with it. Raises NotAnswering if the output is not
    finite."""
    engine = open_probe(config, router)
    if not np.isfinite(engine.probe([_ordinary(config, 0)])).all():
        raise NotAnswering(
            f"{config.path} has loaded, but its state for an ordinary prompt is not a finite number; try another dtype than "
            f"{config.dtype}, such as bfloat16 or float32"
        )
    return engine


def _ordinary(config: ModelConfig, max_new_tokens: int) -> Prompt:
    """An ordinary prompt for a model."""
    text, family = "Hello.", load_family(config.prompt)
    if not config.kind.has_model:
        return Prompt([], max_new_tokens, text)
    from routelmt_ray.engines.tokenizers import prompt_encoder

    content = family.render(text, "English", "German")
    (ids,) = prompt_encoder(config).encode([content])
    return Prompt(ids, max_new_tokens, text, content)
