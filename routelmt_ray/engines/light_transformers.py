"""Imports transformers without what a process here never uses: scikit-learn, scipy, and torch where it holds no model.

With a causal language model, transformers imports scikit-learn for assisted decoding, and scipy for losses of object detection: two
more CPU-seconds in each process of an engine. Version 4 leaves torch out where `USE_TORCH` is 0. Version 5 does not read
that variable: every worker that tokenises would spend five more CPU-seconds on imports, and take 450 MiB more memory.
"""

import os
import sys
from typing import Any


def _imported() -> Any:
    hidden = {"sklearn", "scipy"}
    if os.environ.get("USE_TORCH") == "0" and "torch" not in sys.modules:
        hidden.add("torch")
    hidden = set() if "transformers" in sys.modules else hidden - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # as where they are not installed
    try:
        import transformers
        from transformers import utils

        for remembered in (utils.is_sklearn_available, utils.is_scipy_available, utils.is_torch_available):
            remembered()
    finally:
        for name in hidden:
            del sys.modules[name]
    return transformers


transformers = _imported()
"""The package."""
