"""What keeps a start short: workers import what they need and no more."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch", "transformers", "huggingface_hub", "peft", "matplotlib", "sacrebleu", "langcodes", "rich", "routelmt_ray.job.job",
    "routelmt_ray.plan.planning", "routelmt_ray.evaluation",
)  # fmt: skip
STAGES = ["score", "translate", "merge", "judge", "quality", "label_merge"]


@pytest.mark.parametrize("modules", [["runtime.pipelines", "plan.due", *(f"stages.{name}" for name in STAGES)]])
def test_a_worker_imports_nothing_heavy_before_it_needs_it(modules: list[str]) -> None:
    imports = "; ".join(f"import routelmt_ray.{name}" for name in modules)
    code = f"import ray.data, sys; {imports}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
