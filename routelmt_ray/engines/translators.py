"""Checks and identifies the two translators of a job before they are loaded."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import model_files
from routelmt_ray.engines.artifact import folder_identity
from routelmt_ray.engines.prompts import load_family

# Settings that affect the answers of a model. Pools, batches, threads and devices may change between starts.
_MODEL_IDENTITY = (
    "engine", "dtype", "max_input_tokens", "max_new_tokens", "new_tokens_ratio", "new_tokens_extra", "num_beams"
)  # fmt: skip
_COMMIT = re.compile("[0-9a-f]{40}")


def check_model(key: str, model: ModelConfig, elsewhere: bool = False) -> None:
    """Refuses a model whose files, tokenizer, prompt or context cannot be used. Its weights are not loaded. `elsewhere`
    is True where its engines run on other machines."""
    load_family(model.prompt)
    if model.kind.check_settings is not None:
        resolve_name(model.kind.check_settings)(key, model, elsewhere)
    if not model.kind.has_model:
        return
    # The files of a hub id may not be here yet; workers download them.
    folder = Path(model.path) if os.path.isdir(model.path) else None
    try:
        if folder is not None and model.kind.runs_here:
            model_files.check_pointers(folder)
        _check_architecture(model)
        if folder is not None and model.kind.runs_here:
            model_files.check_weights(folder, any_name=model.kind.any_weights)
    except (OSError, ValueError) as error:
        raise ValueError(f"{key}.path {model.path}: {error}") from None
    if model.kind.check_model is not None:
        resolve_name(model.kind.check_model)(key, model, elsewhere)
    try:
        limit, shortest = _limit_and_shortest(model)
    except Exception as error:  # a tokenizer, a template or a configuration may raise any exception
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{key}.path {model.path} with {key}.prompt {model.prompt}: {kind}{error}") from None
    if limit < 1:
        raise ValueError(
            f"{key}.max_new_tokens is {model.max_new_tokens}: it leaves no room for a prompt in the context; lower it"
        )
    if shortest > limit:
        raise ValueError(
            f"{key}.path {model.path} takes prompts of {limit} tokens, but the prompt for a single letter already has {shortest}; "
            f"raise {key}.max_input_tokens, or use another model or {key}.prompt"
        )


def check_services(models: Mapping[str, ModelConfig]) -> None:
    """Asks the servers of models that are served already, each once; `models` has the models by the config key of each.
    Raises ValueError if a server would not serve."""
    for key, model in models.items():
        if model.kind.check_service is not None:
            resolve_name(model.kind.check_service)(key, model)


def _check_architecture(model: ModelConfig) -> None:
    """Refuses a kind of model that no engine of this project supports."""
    from routelmt_ray.engines.tokenizers import model_config

    config = model_config(model)
    if config.is_encoder_decoder:
        raise ValueError(
            f"{config.model_type} is an encoder-decoder model, which no engine here runs; use a causal language model"
        )
    if config.model_type == "gpt_oss":
        raise ValueError(
            "gpt_oss answers in channels, and no engine here finds the translation in them; use another model"
        )


def check_hf(key: str, model: ModelConfig, elsewhere: bool = False) -> None:
    """Refuses a model that transformers cannot load; takes the arguments of :func:`check_model`."""
    from routelmt_ray.engines.tokenizers import model_config

    config = model_config(model)
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not model.trust_remote_code:
            raise ValueError(
                f"transformers knows no causal language model of the type {config.model_type}; use another model, or a transformers "
                "that knows it"
            )
        if not elsewhere:
            model_files.check_quantization(config)
    except ValueError as error:
        raise ValueError(f"{key}.path {model.path}: {error}") from None


def _limit_and_shortest(model: ModelConfig) -> tuple[int, int]:
    """Token counts of the longest prompt of the model, and of a prompt for a single letter. Raises ValueError if the
    model does not know these tokens, or no token ends its answers."""
    from routelmt_ray.engines.answers import AnswerReader
    from routelmt_ray.engines.architecture import text_config
    from routelmt_ray.engines.tokenizers import input_limit, model_config, prompt_encoder, shipped_generation

    (ids,) = prompt_encoder(model).encode([load_family(model.prompt).render("a", "English", "German")])
    known = getattr(text_config(model_config(model)), "vocab_size", None)
    if known is not None and max(ids, default=0) >= known:
        raise ValueError(
            f"its tokenizer gives token {max(ids)}, but its vocab_size is {known}: tokenizer and weights do not belong together; get the model again"
        )
    AnswerReader.of(model, shipped_generation(model))
    return input_limit(model), len(ids)


def model_identity(model: ModelConfig) -> dict[str, Any]:
    """Collects the facts that identify a translator: its files, its prompt and the settings that affect its answers."""
    files = folder_identity(model.path, model.revision) if model.kind.has_model else None
    settings = {key: getattr(model, key) for key in _MODEL_IDENTITY}
    if own := model.kind.identity(model):
        settings[model.engine] = own
    return {"files": files, "prompt": load_family(model.prompt).digest()} | settings


def memory_identity(key: str, model: ModelConfig, too_long: str) -> dict[str, Any]:
    """Collects the facts that two runs must share to use each other's translations by a model.

    These are those of :func:`model_identity`, with all bytes of its files, and what happens to long texts. Raises
    ValueError if a hub id has no commit as its revision, so that it may name other files tomorrow.
    """
    identity = model_identity(model) | {"too_long": too_long}
    if not model.kind.has_model:
        return identity
    if not os.path.isdir(model.path) and model.kind.runs_here and not _COMMIT.fullmatch(model.revision or ""):
        raise ValueError(
            f"memory.path is set, but {key}.revision is {model.revision!r}, so {model.path} may be another model tomorrow; set it to a "
            "commit (40 hexadecimal digits), or use the folder of a local model"
        )
    return identity | {"files": folder_identity(model.path, model.revision, whole=True)}
