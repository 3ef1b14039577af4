"""Tokenizer and context of a model, for workers that encode prompts or decode answers and need no weights."""

from functools import lru_cache
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines.architecture import position_limit
from routelmt_ray.engines.prompts import PromptEncoder, load_family


def load_tokenizer(config: ModelConfig) -> Any:
    """The tokenizer of a model."""
    return AutoTokenizer.from_pretrained(
        config.path, revision=config.revision, trust_remote_code=config.trust_remote_code, use_fast=True
    )


@lru_cache(maxsize=4)
def prompt_encoder(config: ModelConfig) -> PromptEncoder:
    """The prompt encoder of a model; a worker process loads it once."""
    return PromptEncoder(load_tokenizer(config), load_family(config.prompt))


@lru_cache(maxsize=4)
def input_limit(config: ModelConfig) -> int:
    """Longest prompt in tokens: what is configured, and at most what the context leaves for a short answer."""
    context = context_tokens(config)
    return min(
        config.max_input_tokens or context,
        context - min(config.max_new_tokens, config.new_tokens_extra, context // 2),
    )


@lru_cache(maxsize=4)
def context_tokens(config: ModelConfig) -> int:
    """Tokens a model can attend to, prompt and answer together.

    Raises:
        ValueError: nothing says how many, neither the model nor the configuration.
    """
    context, given = position_limit(model_config(config)), config.max_input_tokens
    if context is None and given is not None:
        context = given + config.max_new_tokens
    if config.engine == "vllm" and config.vllm.max_model_len is not None:
        context = min(context or config.vllm.max_model_len, config.vllm.max_model_len)
    if context is None:
        raise ValueError("the model has no longest context of its own; set max_input_tokens")
    return context


def model_config(config: ModelConfig) -> Any:
    """A model's configuration, as transformers reads it."""
    return AutoConfig.from_pretrained(config.path, revision=config.revision, trust_remote_code=config.trust_remote_code)


def shipped_generation(config: ModelConfig) -> GenerationConfig:
    """What a model's files say of generation, as transformers reads them with the weights."""
    try:
        return GenerationConfig.from_pretrained(config.path, revision=config.revision)
    except OSError:
        return GenerationConfig.from_model_config(model_config(config))
