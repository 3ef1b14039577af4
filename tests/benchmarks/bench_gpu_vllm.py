"""What vLLM makes of the models of bench_gpu.py on a GPU: the probe, and decoding, by the engine `vllm` of the jobs.

    python tests/benchmarks/bench_gpu_vllm.py
    python tests/benchmarks/bench_gpu_vllm.py --toy

It runs in vLLM's environment (cluster/constraints-vllm.txt). Each part has a time limit and a file in `--out`, as in
bench_gpu.py; the same command goes on after an interruption. `--toy` measures tiny models, on a CPU too. Prints a
figure of each part as JSON.

Exit status: 0 all parts are complete; 1 some are not; 2 an argument is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import vllm

from tests.benchmarks.bench_gpu import made_with
from tests.benchmarks.gpu.runner import Part, run_parts
from tests.benchmarks.gpu.setting import REAL, TOY, Bench, Sizes
from tests.benchmarks.gpu.vllm_engine import vllm_decoding, vllm_probing

_LIMIT_S, _TOY_LIMIT_S = 150, 400
"""Most seconds of a part: vLLM compiles the model as it loads it. A CPU may be busy."""


def parts_of(sizes: Sizes) -> list[Part]:
    """Lists the parts of the first pair, the most important first."""
    (small, large), limit_s = sizes.pairs[0], _LIMIT_S
    if sizes is TOY:
        limit_s = _TOY_LIMIT_S
        small = dataclasses.replace(large, name=small.name, layers=2, head_dim=32)  # the least that vLLM has
    parts = [
        Part(f"vllm-decoding-{small.name}", limit_s, vllm_decoding(small)),
        Part(f"vllm-probing-{small.name}", limit_s, vllm_probing(small)),
        Part(f"vllm-decoding-{large.name}", limit_s, vllm_decoding(large)),
    ]
    return parts[:2] if sizes is TOY else parts  # a start of vLLM on a CPU takes half a minute


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints the figures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-vllm"), help="folder (default: runs/gpu-vllm)")
    parser.add_argument("--toy", action="store_true", help="tiny models, to try this script")
    parser.add_argument("--minutes", type=float, default=7.75, help="most minutes of all parts (default: 7.75)")
    options = parser.parse_args(argv)
    device, sizes = "cuda" if torch.cuda.is_available() else "cpu", TOY if options.toy else REAL
    if device == "cpu" and not options.toy:
        parser.error("there is no GPU here, and a CPU would take hours for real sizes; --toy tries this script")
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(sizes, torch.device(device), Path(temporary))
        made = made_with(bench) | {"vllm": vllm.__version__}
        parts = parts_of(sizes)
        results = run_parts(parts, bench, options.out, made, 60 * options.minutes, lambda line: print(line, flush=True))
    for name, result in results.items():
        for figure in result["figures"]:
            print(json.dumps({"part": name} | figure), flush=True)
    return 0 if all(results.get(part.name, {}).get("complete") for part in parts) else 1


if __name__ == "__main__":
    sys.exit(main())
