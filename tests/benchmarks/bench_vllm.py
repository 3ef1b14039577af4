"""The engines beside each other and beside bare loops, on the same prompts of the embedded pair, in one run.

    .venv-vllm/bin/python tests/benchmarks/bench_vllm.py
    .venv-vllm/bin/python tests/benchmarks/bench_vllm.py --rows 2000 --runs 5

Translating with the small model: the vLLM engine with one and with two shards in flight, beside one call of vLLM's own
`LLM.generate` over all rows at once; the transformers engine beside a loop over batches in file order with
`model.generate`. Probing: the vLLM pooling runner beside the transformers engine, and beside the same runner behind vLLM's
asynchronous front end, which servers and Ray's own processor use. All engines stay loaded and take turns, what is compared
side by side, in changing order. Greedy, float32, one thread an engine; vLLM's engine has two processes of its own, and the CPU
time shown is that of this process alone. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow.parquet as pq
import torch

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.vllm import VllmConfig
from routelmt_ray.demo.corpus import write_corpus
from routelmt_ray.engines import Prompt
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.engines.hf import HfEngine, load_weights, pad_left
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import load_tokenizer, prompt_encoder
from routelmt_ray.engines.vllm import VllmEngine, VllmProbe
from routelmt_ray.engines.vllm_args import engine_arguments

ROOT = Path(__file__).resolve().parents[2]
HF = ModelConfig(path=str(ROOT / "routelmt_ray/demo/models/small"), prompt="demo", device="cpu", dtype="float32")
VLLM = replace(
    HF, device="auto", engine="vllm", vllm=VllmConfig(enforce_eager=True, kv_cache_mb=512, max_model_len=256)
)
NEW_TOKENS = 96
COMPARED = {
    "translate, vLLM engine": "translate, LLM.generate",
    "translate, vLLM engine, two shards in flight": "translate, LLM.generate",
    "translate, hf engine": "translate, plain loop",
    "probe, vLLM engine": "probe, hf engine",
    "states, vLLM engine": "states, AsyncLLM",
}
"""What is measured, and what it is measured against."""


def prompts_of(rows: int, folder: Path) -> list[Prompt]:
    """Prompts of demo sentences."""
    write_corpus(folder, "dev", rows, 11)
    family, table = load_family("demo"), pq.read_table(folder).to_pylist()
    texts = [family.render(r["source"], *map(str, family.names(r["source_lang"], r["target_lang"]))) for r in table]
    return [Prompt(ids, NEW_TOKENS, "") for ids in prompt_encoder(HF).encode(texts)]


def variants(prompts: list[Prompt], shard_rows: int) -> dict[str, Callable[[], object]]:
    """What is measured, loaded and ready."""
    shards = [prompts[at : at + shard_rows] for at in range(0, len(prompts), shard_rows)]
    engine, hf, router = VllmEngine(VLLM), HfEngine(HF), load_router(str(ROOT / "routelmt_ray/demo/router"))
    pooling, probing, states = VllmProbe(VLLM, router), HfEngine(HF, router), VllmProbe(VLLM, None)

    def two_in_flight() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(engine.translate, shards))

    return {
        "translate, vLLM engine": lambda: [engine.translate(shard) for shard in shards],
        "translate, LLM.generate": bare_vllm(prompts),
        "translate, vLLM engine, two shards in flight": two_in_flight,
        "translate, hf engine": lambda: [hf.translate(shard) for shard in shards],
        "translate, plain loop": plain_loop(prompts),
        "probe, vLLM engine": lambda: [pooling.probe(shard) for shard in shards],
        "probe, hf engine": lambda: [probing.probe(shard) for shard in shards],
        "states, vLLM engine": lambda: [states.states(shard) for shard in shards],
        "states, AsyncLLM": asynchronous_vllm(shards),
    }


def bare_vllm(prompts: list[Prompt]) -> Callable[[], object]:
    """One call of vLLM's offline interface over all prompts, with the settings of the engine."""
    from vllm import LLM, SamplingParams

    llm = LLM(**engine_arguments(VLLM))
    params = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS)
    inputs = [{"prompt_token_ids": list(prompt.ids)} for prompt in prompts]
    return lambda: llm.generate(inputs, params, use_tqdm=False)


def asynchronous_vllm(shards: list[list[Prompt]]) -> Callable[[], object]:
    """A shard after the other through vLLM's asynchronous front end, as many rows at once as the engine allows itself."""
    from vllm import PoolingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.inputs import tokens_input
    from vllm.v1.engine.async_llm import AsyncLLM

    loop, names = asyncio.new_event_loop(), map(str, itertools.count())

    async def start() -> tuple[AsyncLLM, asyncio.Semaphore]:
        arguments = AsyncEngineArgs(**engine_arguments(VLLM), runner="pooling", convert="embed")
        return AsyncLLM.from_engine_args(arguments), asyncio.Semaphore(2 * VLLM.vllm.max_num_seqs)

    async def ask(prompt: Prompt) -> object:
        params = PoolingParams(task="embed", use_activation=False)
        async with room:
            return [output async for output in llm.encode(tokens_input(list(prompt.ids)), params, next(names))][-1]

    async def ask_all() -> None:
        for shard in shards:
            await asyncio.gather(*map(ask, shard))

    llm, room = loop.run_until_complete(start())
    return lambda: loop.run_until_complete(ask_all())


def plain_loop(prompts: list[Prompt]) -> Callable[[], object]:
    """Batches in file order, as many rows as the engine's, with `model.generate`."""
    model, tokenizer = load_weights(HF, torch.float32).eval(), load_tokenizer(HF)

    @torch.inference_mode()
    def run() -> None:
        for at in range(0, len(prompts), HF.batch_rows):
            ids = [prompt.ids for prompt in prompts[at : at + HF.batch_rows]]
            inputs = pad_left(ids, tokenizer.pad_token_id, torch.device("cpu"))
            out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return run


def main(argv: list[str] | None = None) -> int:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--shard-rows", type=int, default=250)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prompts = prompts_of(options.rows, Path(folder))
    measured = variants(prompts, options.shard_rows)
    taken: dict[str, list[float]] = {name: [] for name in measured}
    own_cpu_s: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(options.runs + 1):
        for name in list(measured)[:: 1 if number % 2 else -1]:
            started, cpu_started = time.perf_counter(), time.process_time()
            measured[name]()
            seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
            print(f"run {number}: {name}: {seconds:.2f} s", file=sys.stderr, flush=True)
            if number:  # the first warms up
                taken[name].append(seconds)
                own_cpu_s[name].append(cpu_s)
    print(f"{len(prompts):,} rows, shards of {options.shard_rows}, {options.runs} runs, {os.cpu_count()} CPUs\n")
    print("| | min s | median s | max s | rows/s | own CPU, ms per row | speed relative to | median | min–max |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, seconds in taken.items():
        row = f"| {name} | {min(seconds):.2f} | {median(seconds):.2f} | {max(seconds):.2f} | {len(prompts) / median(seconds):,.0f} "
        row += f"| {1000 * median(own_cpu_s[name]) / len(prompts):.2f} "
        if name in COMPARED:
            ratios = [other / one for one, other in zip(seconds, taken[COMPARED[name]])]
            row += f"| {COMPARED[name]} | {median(ratios):.2f} | {min(ratios):.2f}–{max(ratios):.2f} |"
        else:
            row += "| | | |"
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
