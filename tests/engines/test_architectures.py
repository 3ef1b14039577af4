"""Architectures of twelve families with random weights: each probes and translates as plain transformers do, batch or not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import Prompt
from routelmt_ray.engines.architecture import adapted_layers
from routelmt_ray.engines.artifact import Router
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import prompt_encoder
from routelmt_ray.engines.translators import check_model
from tests.engines.tiny import MODELS, save_model

TEXTS = ["The dog sleeps.", "Two dogs and a cat sleep in the house.", "Old."]
ENDLESS = ("bloom", "mpt", "mamba")
"""Families whose positions have no end, so that the configuration has to say how long a prompt may be."""
TOLERANCE = 1e-4
"""Of states of the order of 1: float32 sums of a padded batch are taken in another order than those of one row."""


@pytest.mark.parametrize("name", MODELS)
def test_an_architecture_probes_and_translates(name: str, tmp_path: Path) -> None:
    path = str(save_model(name, tmp_path / "model"))
    config = ModelConfig(path=path, prompt="plain", max_new_tokens=4, batch_rows=2, device="cpu")
    if name in ENDLESS:
        with pytest.raises(ValueError, match="no maximum context length; set max_input_tokens"):
            check_model("models.small", config)
        config = replace(config, max_input_tokens=100)
    check_model("models.small", config)
    family = load_family("plain")
    ids = prompt_encoder(config).encode([family.render(text, "English", "German") for text in TEXTS])
    prompts = [Prompt(row, 4, text) for row, text in zip(ids, TEXTS)]
    plain = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    engine = HfEngine(config)
    np.testing.assert_allclose(
        engine.states(prompts), [last_state(plain, row) for row in ids], atol=TOLERANCE, rtol=1e-3
    )
    answers = engine.translate(prompts)
    assert answers == [engine.translate([prompt])[0] for prompt in prompts]
    greedy = [
        plain.generate(torch.tensor([row]), max_new_tokens=4, do_sample=False)[0, len(row) :].tolist() for row in ids
    ]
    assert [answer.tokens for answer in answers] == [length(row, engine) for row in greedy]

    adapter = tmp_path / "adapter"
    tuned = get_peft_model(plain, LoraConfig(r=2, target_modules=adapted_layers(plain), init_lora_weights=False)).eval()
    tuned.save_pretrained(adapter)
    weight = np.eye(2, engine.states(prompts[:1]).shape[1], dtype=np.float32)
    router = Router(weight, ("gain", "quality"), np.ones(2), np.zeros(2), adapter, {})
    probed = HfEngine(config, router).probe(prompts)
    wanted = np.array([last_state(tuned.get_base_model(), row)[:2] for row in ids])
    np.testing.assert_allclose(probed, wanted, atol=TOLERANCE, rtol=1e-3)
    assert np.abs(probed - engine.states(prompts)[:, :2]).max() > 10 * TOLERANCE


@torch.inference_mode()
def last_state(model: Any, ids: list[int]) -> np.ndarray:
    """The state that plain transformers project to the vocabulary after the last token of a prompt."""
    seen: list[torch.Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(input_ids=torch.tensor([ids]))
    hook.remove()
    state: np.ndarray = seen[0][0, -1].numpy()
    return state


def length(generated: list[int], engine: HfEngine) -> int:
    ends = [at for at, token in enumerate(generated, 1) if token in engine._reading.ends]
    return ends[0] if ends else len(generated)
