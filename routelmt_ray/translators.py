"""The two translators of a job before they are loaded: what is refused of them, and what identifies them."""

from typing import Any

from routelmt_ray.config import ModelConfig
from routelmt_ray.prompts import load_family
from routelmt_ray.router.artifact import folder_identity

# What shapes a model's answers; pools, batches, threads and devices may change between starts.
_MODEL_IDENTITY = (
    "engine", "dtype", "max_input_tokens", "max_new_tokens", "new_tokens_ratio", "new_tokens_extra", "num_beams"
)  # fmt: skip
_VLLM_IDENTITY = ("max_model_len", "quantization", "engine_args")


def check_model(key: str, model: ModelConfig, elsewhere: bool = False) -> None:
    """Refuses a model whose tokenizer, prompt or context does not serve; its weights are not loaded.

    Args:
        key: config key of the model, for messages.
        model: the model.
        elsewhere: its engines run on other machines than this one.

    Raises:
        ValueError: naming the key, its value and what is wrong.
    """
    family = load_family(model.prompt)
    if model.engine == "echo":
        return
    from routelmt_ray.engines.tokenizers import input_limit, prompt_encoder

    if model.engine == "vllm":
        from routelmt_ray.engines.vllm_args import check_vllm

        check_vllm(key, model, elsewhere)
    try:
        prompt_encoder(model).encode([family.render("a", "English", "German")])
        limit = input_limit(model)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{key}.path {model.path} with {key}.prompt {model.prompt}: {error}") from None
    if limit < 1:
        raise ValueError(
            f"{key}.max_new_tokens is {model.max_new_tokens}: it leaves no room for a prompt in the context"
        )


def model_identity(model: ModelConfig) -> dict[str, Any]:
    """What identifies a translator: its files, its prompt and the settings that shape its answers."""
    files = None if model.engine == "echo" else folder_identity(model.path, model.revision)
    settings = {key: getattr(model, key) for key in _MODEL_IDENTITY}
    if model.engine == "vllm":
        settings["vllm"] = {key: getattr(model.vllm, key) for key in _VLLM_IDENTITY}
    return {"files": files, "prompt": load_family(model.prompt).digest()} | settings
