"""What models of real sizes cost on a GPU, and how near its limits they run: random weights of the true shapes.

    python tests/benchmarks/bench_gpu.py
    python tests/benchmarks/bench_gpu.py --parts ceilings probing-qwen3-0.6b
    python tests/benchmarks/bench_gpu.py --toy

It needs neither Ray nor vLLM nor a network, and no package beside PyTorch and transformers but those in `make gpu-wheels`.
Each part has a time limit and a file in `--out`. The same command measures again only what has no complete file, so it
can be stopped at any time; on a slow machine the last parts need a second call. `--toy` measures tiny models within seconds, on a CPU too. Prints the summary as JSON, and
then as Markdown tables; `--out` has both (`results.json`, `table.md`).

Exit status: 0 all parts are complete; 1 some are not; 2 an argument is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
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
import transformers

from routelmt_ray.engines import EngineDead
from tests.benchmarks.gpu.ceilings import ceilings
from tests.benchmarks.gpu.decoding import decoding
from tests.benchmarks.gpu.encoder import encoder
from tests.benchmarks.gpu.memory import memory
from tests.benchmarks.gpu.probing import probing
from tests.benchmarks.gpu.ranking import ranking
from tests.benchmarks.gpu.runner import Part, run_parts
from tests.benchmarks.gpu.setting import REAL, TOY, Bench, Sizes
from tests.benchmarks.gpu.summary import summarise
from tests.benchmarks.gpu.tables import markdown
from tests.benchmarks.gpu.training import training

MINUTES = 7.75
"""Most minutes of all parts: a machine that is lent for ten minutes at a time also has to start and to copy."""


def parts_of(sizes: Sizes) -> list[Part]:
    """Lists the parts, the most important first. The limits of all but the last two add up to less than eight minutes."""
    (small, large), first = sizes.pairs[0], sizes.pairs[0][0]
    parts = [
        Part("ceilings", 10, ceilings),
        Part(f"probing-{small.name}", 55, probing(small)),
        Part(f"decoding-{small.name}", 60, decoding(small)),
        Part(f"decoding-{large.name}", 60, decoding(large)),
        Part("encoder", 20, encoder),
        Part("memory", 25, memory(first)),
        Part("training", 30, training(first)),
        Part("ranking", 30, ranking(first)),
    ]
    for small, large in sizes.pairs[1:]:
        parts += [
            Part(f"probing-{small.name}", 55, probing(small)),
            Part(f"decoding-{small.name}", 60, decoding(small)),
            Part(f"decoding-{large.name}", 60, decoding(large)),
        ]
    for shape in sizes.more:
        parts += [
            Part(f"probing-{shape.name}", 55, probing(shape)),
            Part(f"decoding-{shape.name}", 60, decoding(shape)),
        ]
    return parts


def made_with(bench: Bench) -> dict[str, str]:
    """Collects what the figures depend on: the device, the packages, the sizes."""
    return {
        "device": bench.device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": str(bench.dtype).removeprefix("torch."),
        "sizes": f"{bench.sizes.name} {hashlib.sha256(repr(bench.sizes).encode()).hexdigest()[:8]}",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints the tables; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the files (default: runs/gpu)")
    parser.add_argument("--toy", action="store_true", help="tiny models, to try this script")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"most minutes of all parts (default: {MINUTES})"
    )
    parser.add_argument("--parts", nargs="+", metavar="NAME", help="measure only these parts")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--scratch", type=Path, help="folder for random weights, 8 GB (default: a temporary one)")
    options = parser.parse_args(argv)
    device = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    sizes = TOY if options.toy else REAL
    if device == "cpu" and not options.toy:
        parser.error("there is no GPU here, and a CPU would take hours for real sizes; --toy tries this script")
    parts = parts_of(sizes)
    if unknown := set(options.parts or ()) - {part.name for part in parts}:
        parser.error(f"no part {min(unknown)!r}; the parts are {', '.join(part.name for part in parts)}")
    chosen = [part for part in parts if not options.parts or part.name in options.parts]
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    dead = None
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(sizes, torch.device(device), options.scratch or Path(temporary))
        made = made_with(bench)
        try:
            run_parts(chosen, bench, options.out, made, 60 * options.minutes, _tell)
        except EngineDead as error:
            dead = error
    results = run_parts(parts, bench, options.out, made, 0, lambda line: None)  # reads them all
    summary = summarise(results, sizes, made, bench.unit)
    (options.out / "results.json").write_text(json.dumps({"summary": summary, "parts": results}) + "\n", "utf-8")
    (options.out / "table.md").write_text(markdown(summary), "utf-8")
    print(json.dumps(summary))
    print(markdown(summary), flush=True)
    if dead is not None:
        print(f"the device cannot be used any more: {dead}", file=sys.stderr)
    return 0 if dead is None and all(results.get(part.name, {}).get("complete") for part in chosen) else 1


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
