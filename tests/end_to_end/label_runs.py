"""Runs of the label job inside the test process or as a process of its own."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from jobs import label
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.label import LabelConfig
from routelmt_ray.job import labels
from routelmt_ray.runtime.progress import Progress
from tests.conftest import Job

needs_comet = pytest.mark.skipif(
    find_spec("comet") is None, reason="unbabel-comet is not installed: pip install -c cluster/constraints.txt .[comet]"
)


def run(run_dir: Path, path: Path, *overrides: str, config: str | None = None) -> dict[str, Any]:
    """Runs to the end inside the test process; returns the report."""
    words = [f"run_dir={run_dir}", f"input.path={path}", *overrides]
    loaded = configlib.load(LabelConfig, [config] if config else [], words)
    preparation, specs = labels.prepare(loaded)
    with Progress() as progress:
        return label.run(loaded, preparation, specs, progress)


class LabelJob(Job):
    """jobs/label.py on a run directory."""

    script = "label"
