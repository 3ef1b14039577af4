"""Tokenizer and context of a model, for workers that encode prompts or decode answers and need no weights."""

from collections.abc import Set
from functools import lru_cache
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from routelmt_ray.config import ModelConfig
from routelmt_ray.engines import Completion
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
    context = int(_model_config(config).max_position_embeddings)
    return min(context, config.vllm.max_model_len or context) if config.engine == "vllm" else context


def _model_config(config: ModelConfig) -> Any:
    return AutoConfig.from_pretrained(config.path, revision=config.revision, trust_remote_code=config.trust_remote_code)


def shipped_generation(config: ModelConfig) -> GenerationConfig:
    """What a model's files say of generation, as transformers reads them with the weights."""
    try:
        return GenerationConfig.from_pretrained(config.path, revision=config.revision)
    except OSError:
        return GenerationConfig.from_model_config(_model_config(config))


def end_tokens(generation: GenerationConfig, tokenizer: Any) -> Set[int]:
    """Ids of the tokens that end an answer."""
    ends = generation.eos_token_id
    return {ends} if isinstance(ends, int) else set(ends or ()) or {tokenizer.eos_token_id}


def completion(tokenizer: Any, ids: list[int], ends: Set[int]) -> Completion:
    """The answer that generated tokens are, whatever follows the first end marker left out."""
    end = next((i for i, token in enumerate(ids) if token in ends), None)
    text = tokenizer.decode(ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
    return Completion(text, len(ids) if end is None else end + 1, "length" if end is None else "stop")
