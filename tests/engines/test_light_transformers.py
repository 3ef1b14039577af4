"""transformers is imported without packages that the process does not use, in both of its versions."""

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
from transformers import utils
print(torch.ones(2).sum().item(), utils.is_torch_available(), utils.is_sklearn_available(), utils.is_scipy_available())
import scipy.stats, sklearn
"""


def test_a_process_without_a_model_tokenises_without_torch_and_may_still_import_it() -> None:
    more = {"USE_TORCH": "0", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TOKENISES], cwd=ROOT, text=True, capture_output=True, env=os.environ | more
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True True True", "False False", "2.0 False False False"]
