"""Imports transformers, without torch in a process that holds no model.

Version 4 leaves torch out where `USE_TORCH` is 0. Version 5 does not read that variable: every worker that tokenises would spend
five more CPU-seconds on imports, and take 450 MiB more memory.
"""

import os
import sys
from typing import Any


def _imported() -> Any:
    hidden = os.environ.get("USE_TORCH") == "0" and not {"torch", "transformers"} & sys.modules.keys()
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # as where it is not installed
    try:
        import transformers
        from transformers.utils import is_torch_available

        is_torch_available()  # it remembers the answer
    finally:
        if hidden:
            del sys.modules["torch"]
    return transformers


transformers = _imported()
"""The package."""
