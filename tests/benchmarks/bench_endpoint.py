"""A model behind vLLM's own server beside the same model in vLLM's engine in process, on the same prompts, in one run.

    .venv-vllm/bin/python tests/benchmarks/bench_endpoint.py
    .venv-vllm/bin/python tests/benchmarks/bench_endpoint.py --model large --rows 300 --runs 5

Both stay loaded and take turns. Greedy, float32, not compiled, one thread an engine. The CPU time shown is that of this
process: the server and vLLM's engine have processes of their own. Prints a Markdown table, and the share of equal answers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil
import pyarrow.parquet as pq

from routelmt_ray.config.endpoint import EndpointConfig
from routelmt_ray.demo.corpus import write_corpus
from routelmt_ray.engines import Completion, Engine, Prompt
from routelmt_ray.engines.openai import OpenaiEngine
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import prompt_encoder
from routelmt_ray.engines.vllm import VllmEngine
from tests.benchmarks.bench_vllm import HF, NEW_TOKENS, VLLM
from tests.conftest import DEMO, ENDPOINT_KEY
from tests.engines.openai_server import MODEL
from tests.engines.vllm_server import VllmServer


def prompts_of(rows: int, folder: Path) -> list[Prompt]:
    """Prompts of demo sentences."""
    write_corpus(folder, "test", rows, 3)
    family, table = load_family("demo"), pq.read_table(folder).to_pylist()
    texts = [family.render(r["source"], *map(str, family.names(r["source_lang"], r["target_lang"]))) for r in table]
    return [Prompt(ids, NEW_TOKENS, "") for ids in prompt_encoder(HF).encode(texts)]


def front_end_s(server: VllmServer) -> float:
    """CPU seconds of the server's process that speaks HTTP, without those of the processes with the model."""
    assert server.process is not None
    spent = psutil.Process(server.process.pid).cpu_times()
    return float(spent.user + spent.system)


def timed(engine: Engine, prompts: list[Prompt]) -> tuple[float, float, list[Completion]]:
    """Wall seconds, CPU seconds of this process, and the answers."""
    wall, cpu = time.perf_counter(), time.process_time()
    answers = engine.translate(prompts)
    return time.perf_counter() - wall, time.process_time() - cpu, answers


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", choices=["small", "large"], default="small", help="model of the embedded pair")
    parser.add_argument("--concurrency", type=int, default=512, help="requests in flight")
    asked = parser.parse_args()
    path = DEMO / "models" / asked.model
    with tempfile.TemporaryDirectory() as folder:
        prompts = prompts_of(asked.rows, Path(folder) / "corpus")
        server = VllmServer(path, Path(folder))
        try:
            server.start()
            endpoint = EndpointConfig(
                urls=[server.url], model=MODEL, api_key_env=ENDPOINT_KEY, concurrency=asked.concurrency
            )
            engines: dict[str, Engine] = {
                "vLLM in process": VllmEngine(replace(VLLM, path=str(path))),
                "vLLM's server": OpenaiEngine(
                    replace(HF, path=str(path), device="auto", dtype="auto", engine="openai", endpoint=endpoint)
                ),
            }
            before = front_end_s(server)
            measure(engines, prompts, asked.runs)
            each = 1000 * (front_end_s(server) - before) / (asked.rows * (asked.runs + 1))
            print(f"CPU of the server's front end: {each:.2f} ms per row.")
        finally:
            server.kill()


def measure(engines: dict[str, Engine], prompts: list[Prompt], runs: int) -> None:
    """Lets the engines take turns, and prints what each took."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    answers: dict[str, list[Completion]] = {}
    for run in range(runs + 1):  # the first is not counted
        for name in sorted(engines, reverse=run % 2 == 1):
            wall, cpu, answers[name] = timed(engines[name], prompts)
            if run:
                found[name].append((wall, cpu))
    print(
        f"\n| {len(prompts):,} rows | min s | median s | max s | rows/s | CPU ms per row, this process |\n|---|---|---|---|---|---|"
    )
    for name, both in found.items():
        walls = [wall for wall, _ in both]
        cpu = 1000 * median(cpu for _, cpu in both) / len(prompts)
        print(
            f"| {name} | {min(walls):.2f} | {median(walls):.2f} | {max(walls):.2f} | {len(prompts) / median(walls):,.0f} | {cpu:.2f} |"
        )
    one, other = (found[name] for name in ("vLLM in process", "vLLM's server"))
    ratios = sorted(a / b for (a, _), (b, _) in zip(one, other))
    same = sum(a._replace(charged=b.charged) == b for a, b in zip(*answers.values()))
    print(f"\nSpeed of the server: {median(ratios):.2f} of that in process ({ratios[0]:.2f}–{ratios[-1]:.2f}).")
    print(f"{same} of {len(prompts)} answers are equal. Load of the machine {os.getloadavg()[0]:.0f}.")


if __name__ == "__main__":
    main()
