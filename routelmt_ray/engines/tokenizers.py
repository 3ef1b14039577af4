"""Loads the tokenizer and the configuration of a model, for workers that need no weights."""

from functools import lru_cache
from typing import Any

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines.architecture import position_limit
from routelmt_ray.engines.light_transformers import transformers
from routelmt_ray.engines.prompts import PromptEncoder, load_family


def load_tokenizer(config: ModelConfig) -> Any:
    """Loads the tokenizer of a model, the fast one where there is one."""
    return transformers.AutoTokenizer.from_pretrained(
        config.path, revision=config.revision, trust_remote_code=config.trust_remote_code, use_fast=True
    )


@lru_cache(maxsize=4)
def prompt_encoder(config: ModelConfig) -> PromptEncoder:
    """Builds the prompt encoder of a model. A worker process keeps it."""
    return PromptEncoder(load_tokenizer(config), load_family(config.prompt))


@lru_cache(maxsize=4)
def input_limit(config: ModelConfig) -> int:
    """Computes the longest prompt in tokens: the configured limit, or less to leave room for a short answer."""
    context = context_tokens(config)
    return min(
        config.max_input_tokens or context, context - min(config.max_new_tokens, config.new_tokens_extra, context // 2)
    )


@lru_cache(maxsize=4)
def context_tokens(config: ModelConfig) -> int:
    """Computes the most tokens that a model can process, prompt and answer together. Raises ValueError if neither the
    model nor the configuration gives a number."""
    context, given = position_limit(model_config(config)), config.max_input_tokens
    if context is None and given is not None:
        context = given + config.max_new_tokens
    if (longest := config.kind.longest_context(config)) is not None:
        context = min(context or longest, longest)
    if context is None:
        raise ValueError("the model has no maximum context length; set max_input_tokens")
    return context


def model_config(config: ModelConfig) -> Any:
    """Reads the configuration of a model with transformers."""
    return transformers.AutoConfig.from_pretrained(
        config.path, revision=config.revision, trust_remote_code=config.trust_remote_code
    )


def shipped_generation(config: ModelConfig) -> Any:
    """Reads the generation settings in the files of a model, as transformers does when it loads the weights."""
    try:
        return transformers.GenerationConfig.from_pretrained(config.path, revision=config.revision)
    except OSError:
        return transformers.GenerationConfig.from_model_config(model_config(config))
