"""`bench_gpu_vllm.py` on toy models, in vLLM's environment."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.benchmarks.gpu.setting import TOY, draw_lengths
from tests.conftest import ROOT, runner

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm runs this"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


def test_every_part_is_complete_and_counts_its_work(tmp_path: Path) -> None:
    words = [str(runner()), "tests/benchmarks/bench_gpu_vllm.py", "--toy", "--minutes", "14", "--out", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=860)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"part"')]
    by_part = {(figure["part"], figure["what"]): figure for figure in figures}
    decoded = by_part["vllm-decoding-toy-small", "decode"]
    assert decoded["errors"] == 0
    assert decoded["new_tokens"] + decoded["ended_early"] == TOY.probe_rows * TOY.new_tokens
    assert decoded["whole_s"] > 0 and decoded["one_token_s"] > 0
    probed = by_part["vllm-probing-toy-small", "probe"]
    assert (probed["rows"], probed["finite"]) == (TOY.probe_rows, TOY.probe_rows)
    assert probed["tokens"] == draw_lengths(TOY.probe_rows).sum()
