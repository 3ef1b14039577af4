"""A process that only tokenises imports transformers without torch, in both of its versions."""

import os
import subprocess
import sys

from tests.conftest import ROOT
from tests.engines.conftest import SMALL

TOKENISES = f"""
import sys
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines.tokenizers import context_tokens, prompt_encoder, shipped_generation
model = ModelConfig(path={SMALL.path!r}, prompt="demo")
print(len(prompt_encoder(model).encode(["Hello."])[0]) > 1, context_tokens(model) > 1, bool(shipped_generation(model)))
print("torch" in sys.modules, "sklearn" in sys.modules)
import torch
from transformers.utils import is_torch_available
print(torch.ones(2).sum().item(), is_torch_available())
"""


def tokenise(use_torch: str) -> list[str]:
    more = {"USE_TORCH": use_torch, "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
    words = [sys.executable, "-c", TOKENISES]
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True, env=os.environ | more)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_process_without_a_model_tokenises_without_torch_and_may_still_import_it() -> None:
    assert tokenise("0") == ["True True True", "False False", "2.0 False"]


def test_a_process_with_a_model_has_transformers_with_torch() -> None:
    tokenised, _, torch = tokenise("1")
    assert (tokenised, torch) == ("True True True", "2.0 True")
