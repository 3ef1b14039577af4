"""Tokenizer and context of a model, for workers that encode prompts and need no weights."""

from functools import lru_cache
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from routelmt_ray.config import ModelConfig
from routelmt_ray.prompts import PromptEncoder, load_family


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
    """Tokens a model can attend to, prompt and answer together."""
    model = AutoConfig.from_pretrained(
        config.path, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    return int(model.max_position_embeddings)
