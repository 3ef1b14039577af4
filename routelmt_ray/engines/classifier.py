"""Merges a router with its small model into a standard sequence classifier."""

from typing import Any

import torch

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines.architecture import decoder_of
from routelmt_ray.engines.artifact import Router
from routelmt_ray.engines.hf import load_merged
from routelmt_ray.engines.light_transformers import transformers
from routelmt_ray.engines.tokenizers import load_tokenizer


def classifier(router: Router, base: ModelConfig, dtype: torch.dtype) -> Any:
    """Builds the classifier in memory, from heads and, where there is one, adapter, always merged in float32. Raises
    ValueError if transformers has no sequence classifier of this architecture whose head is linear without bias."""
    merged = load_merged(base, router, torch.float32)
    tokenizer = load_tokenizer(base)
    config = transformers.AutoConfig.from_pretrained(base.path, revision=base.revision)
    config.num_labels = len(router.heads)
    config.id2label = dict(enumerate(router.heads))
    config.label2id = {head: i for i, head in enumerate(router.heads)}
    config.problem_type = "regression"
    config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    config.dtype = torch.float32  # versions of transformers have different names for the argument
    try:
        model = transformers.AutoModelForSequenceClassification.from_config(config).float()
    except ValueError as error:
        raise ValueError(f"--base {base.path}: {error}") from None
    score = getattr(model, "score", None)
    if not isinstance(score, torch.nn.Linear) or score.bias is not None:
        raise ValueError(f"--base {base.path}: {type(model).__name__} has no linear `score` layer without bias")
    try:
        decoder_of(model).load_state_dict(decoder_of(merged).state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"--base {base.path}: {type(model).__name__} is not built of the same weights: {error}"
        ) from None
    with torch.no_grad():
        score.weight.copy_(torch.from_numpy(router.weight))
    config.architectures = [type(model).__name__]
    return model.to(dtype).eval()
