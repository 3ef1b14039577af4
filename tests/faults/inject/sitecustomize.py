"""Faults inside workers: put this folder on PYTHONPATH and every process of a job loads it at its start.

``ROUTELMT_FAULTS`` is a JSON object. ``kill`` and ``hang`` are words: an engine that is asked to translate a text with one
of them kills its process, or never answers. ``once`` is a folder: a fault happens once a word, and leaves a file there.
"""

import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

FAULTS = json.loads(os.environ.get("ROUTELMT_FAULTS", "{}"))
ENGINES = {"routelmt_ray.engines.echo": "EchoEngine", "routelmt_ray.engines.hf": "HfEngine"}


def first_time(word):
    """True unless this fault has happened already and is to happen once."""
    if "once" not in FAULTS:
        return True
    try:
        Path(FAULTS["once"], word).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def misbehaving(translate):
    """An engine's method that dies or hangs over some texts."""

    def wrapped(self, prompts):
        for fault in ("kill", "hang"):
            word = FAULTS.get(fault)
            if word and any(word in prompt.text for prompt in prompts) and first_time(word):
                if fault == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(3600)
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
