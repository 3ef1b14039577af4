"""Faults inside workers: put this folder on PYTHONPATH and every process of a job loads it at its start.

``ROUTELMT_FAULTS`` is a JSON object. ``kill`` is a word: an engine that is asked to translate a text with it kills its process.
"""

import importlib.abc
import importlib.util
import json
import os
import signal
import sys

FAULTS = json.loads(os.environ.get("ROUTELMT_FAULTS", "{}"))
ENGINES = {"routelmt_ray.engines.echo": "EchoEngine", "routelmt_ray.engines.hf": "HfEngine"}


def misbehaving(translate):
    """An engine's method that dies over some texts."""

    def wrapped(self, prompts):
        if any(FAULTS["kill"] in prompt.text for prompt in prompts):
            os.kill(os.getpid(), signal.SIGKILL)
        return translate(self, prompts)

    return wrapped


class Finder(importlib.abc.MetaPathFinder):
    """Changes an engine as it is imported."""

    def find_spec(self, name, path, target=None):
        """The module's own spec, with a loader that changes its engine."""
        if name not in ENGINES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            engine = getattr(module, ENGINES[name])
            engine.translate = misbehaving(engine.translate)

        spec.loader.exec_module = exec_module
        return spec


if FAULTS:
    sys.meta_path.insert(0, Finder())
