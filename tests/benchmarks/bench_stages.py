"""What Ray, reading and writing cost: stages of the job beside bare loops of the same engine on the same rows, in one run.

    python tests/benchmarks/bench_stages.py
    .venv-vllm/bin/python tests/benchmarks/bench_stages.py --engine vllm --rows 24000 --beside ray.data.llm --runs 6

The job is a process of its own, as a user starts it, with all rows going to the small model; its rate is that of its
commits, so that starts and loads count for nobody: from the first shard's to the last one's, or from the n-th one's where n
are in flight at once, as those end together. The bare loops are processes of
their own too: prompts tokenised beforehand, one call of the engine a shard; with vLLM also one call of `LLM.generate` over
all rows, and Ray's own processor of `ray.data.llm` where its packages are installed. All take turns. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil
import pyarrow.parquet as pq

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.vllm import VllmConfig
from routelmt_ray.demo.corpus import write_corpus
from routelmt_ray.engines import Prompt, open_engine, open_probe
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import prompt_encoder

ROOT = Path(__file__).resolve().parents[2]
SMALL = str(ROOT / "routelmt_ray/demo/models/small")
NEW_TOKENS = 96
BARES = ["probe", "translate", "LLM.generate", "ray.data.llm"]
"""What the stages are held against; the latter two are vLLM's."""
IN_FLIGHT = 8
"""Batches that Ray's processor has in flight by default."""
VLLM = {"enforce_eager": True, "kv_cache_mb": 512, "max_model_len": 256}
AGAINST = {
    "score stage": ["probe, bare loop"],
    "translate stage": ["translate, bare loop", "translate, LLM.generate", "translate, ray.data.llm"],
}


def model(engine: str) -> ModelConfig:
    """The small model of the embedded pair."""
    common = ModelConfig(path=SMALL, prompt="demo", dtype="float32", engine=engine, max_new_tokens=NEW_TOKENS)
    return common if engine == "hf" else ModelConfig(**{**vars(common), "vllm": VllmConfig(**VLLM)})


def prompts_of(corpus: Path, engine: str) -> list[Prompt]:
    """The prompts the job makes of a corpus."""
    family, rows = load_family("demo"), pq.read_table(corpus).to_pylist()
    texts = [family.render(r["source"], *map(str, family.names(r["source_lang"], r["target_lang"]))) for r in rows]
    encoder = prompt_encoder(model(engine))
    ids, counts = encoder.encode(texts), encoder.count([row["source"] for row in rows])
    return [Prompt(i, min(NEW_TOKENS, 3 * n + 32), row["source"]) for i, n, row in zip(ids, counts, rows)]


def rate(ends: list[tuple[float, int]], in_flight: int) -> float:
    """Rows a second of shards that ended at such times with such numbers of rows, from the first ones to end together."""
    ends = sorted(ends)
    return sum(rows for _, rows in ends[in_flight:]) / (ends[-1][0] - ends[in_flight - 1][0])


def rate_of_commits(folder: Path, in_flight: int) -> float:
    """Rows a second from the first commits to the last one."""
    files = folder.glob("*.parquet")
    return rate([(path.stat().st_mtime_ns / 1e9, pq.read_metadata(path).num_rows) for path in files], in_flight)


def job(corpus: Path, engine: str, shard_rows: int) -> dict[str, float]:
    """Rows a second of both stages of the job."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "--config", "configs/demo.yaml", f"run_dir={folder}/run", f"input.path={corpus}", f"input.shard_rows={shard_rows}",
            "budget.fraction=null", "budget.rows=0", "ray.object_store_mb=300", "models.small.dtype=float32",
            f"models.small.max_new_tokens={NEW_TOKENS}", f"models.small.engine={engine}",
        ]  # fmt: skip
        if engine == "vllm":
            words.append("models.small.vllm={" + ", ".join(f"{k}: {str(v).lower()}" for k, v in VLLM.items()) + "}")
        done = subprocess.run(
            [sys.executable, "jobs/translate.py", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        run_dir, config = Path(folder) / "run", model(engine)
        at_once = config.kind.max_concurrency(config, shard_rows)
        return {
            "score stage": rate_of_commits(run_dir / "scores", at_once),
            "translate stage": rate_of_commits(run_dir / "small" / "000", at_once),
        }


def bare(what: str, corpus: Path, engine: str, shard_rows: int) -> float:
    """Rows a second of an engine without anything around it; the first shard warms up and does not count."""
    prompts = prompts_of(corpus, engine)
    shards = [prompts[at : at + shard_rows] for at in range(0, len(prompts), shard_rows)]
    config = model(engine)
    if what == "LLM.generate":
        return generate(prompts, shard_rows)
    if what == "ray.data.llm":
        return processor(prompts, shard_rows)
    router = load_router(str(ROOT / "routelmt_ray/demo/router"))
    call: Any = open_probe(config, router).probe if what == "probe" else open_engine(config).translate
    call(shards[0])
    started = time.perf_counter()
    for shard in shards[1:]:
        call(shard)
    return sum(map(len, shards[1:])) / (time.perf_counter() - started)


def generate(prompts: list[Prompt], shard_rows: int) -> float:
    """vLLM's own offline interface, all rows in one call."""
    from vllm import LLM, SamplingParams

    from routelmt_ray.engines.vllm_args import engine_arguments, set_environment

    set_environment(model("vllm"))
    llm = LLM(**engine_arguments(model("vllm")))

    def ask(some: list[Prompt]) -> None:
        params = [SamplingParams(temperature=0.0, max_tokens=prompt.max_new_tokens) for prompt in some]
        llm.generate([{"prompt_token_ids": list(prompt.ids)} for prompt in some], params, use_tqdm=False)

    ask(prompts[:shard_rows])
    started = time.perf_counter()
    ask(prompts[shard_rows:])
    return (len(prompts) - shard_rows) / (time.perf_counter() - started)


def processor(prompts: list[Prompt], shard_rows: int) -> float:
    """Ray's own vLLM processor with the same engine settings; its rate from the first blocks out to the last."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from routelmt_ray.engines.vllm_args import engine_arguments, set_environment

    set_environment(model("vllm"))
    arguments = engine_arguments(model("vllm"))
    for name in ("model", "distributed_executor_backend"):
        del arguments[name]
    ray.init(num_cpus=4, object_store_memory=300 * 2**20, include_dashboard=False, log_to_driver=False)
    config = vLLMEngineProcessorConfig(
        model_source=SMALL, engine_kwargs={k: v for k, v in arguments.items() if v is not None}, concurrency=1,
        batch_size=shard_rows, max_concurrent_batches=IN_FLIGHT, chat_template_stage=False, tokenize_stage=False, detokenize_stage=True,
        placement_group_config={"bundles": [{"CPU": 1, "GPU": 0}]}, log_engine_metrics=False,
    )  # fmt: skip
    pipeline = build_processor(
        config,
        preprocess=lambda row: {
            "tokenized_prompt": row["ids"], "prompt": row["text"],
            "sampling_params": {"temperature": 0.0, "max_tokens": row["room"], "detokenize": False},
        },
        postprocess=lambda row: {"text": row["generated_text"]},
    )  # fmt: skip
    rows = [{"ids": list(p.ids), "text": p.text, "room": p.max_new_tokens} for p in prompts]
    dataset = pipeline(ray.data.from_items(rows, override_num_blocks=len(prompts) // shard_rows))
    ends = []
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
        ends.append((time.perf_counter(), len(batch["text"])))
    return rate(ends, IN_FLIGHT)


def main() -> int:
    """Measures and prints the table; in a process of its own it measures one thing and prints its rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["hf", "vllm"], default="hf")
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--shard-rows", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", nargs="+", choices=BARES, default=None, help="default: all the engine has")
    parser.add_argument("--only", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(bare(options.only, options.corpus, options.engine, options.shard_rows)))
        sys.stdout.flush()
        # What an engine left running would keep the pipe open.
        for process in psutil.Process().children(recursive=True):
            process.kill()
        os._exit(0)
    bares = options.beside or BARES[: None if options.engine == "vllm" else 2]
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        write_corpus(corpus, "dev", options.rows, 11)
        for number in range(options.runs):
            for what in ["job", *bares][:: 1 if number % 2 == 0 else -1]:
                found: dict[str, float] = {}
                if what == "job":
                    found = job(corpus, options.engine, options.shard_rows)
                else:
                    words = [
                        sys.executable,
                        __file__,
                        "--only",
                        what,
                        "--corpus",
                        str(corpus),
                        "--engine",
                        options.engine,
                    ]
                    done = subprocess.run(
                        [*words, "--shard-rows", str(options.shard_rows)],
                        cwd=ROOT,
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    if done.returncode:
                        print(f"{what}: not measured: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                        continue
                    name = {"probe": "probe, bare loop", "translate": "translate, bare loop"}.get(
                        what, f"translate, {what}"
                    )
                    found = {name: float(done.stdout.strip().splitlines()[-1])}
                for name, value in found.items():
                    rates.setdefault(name, []).append(value)
                    print(f"run {number}: {name}: {value:,.0f} rows/s", file=sys.stderr, flush=True)
    print(f"{options.rows:,} rows, shards of {options.shard_rows}, engine {options.engine}, {options.runs} runs\n")
    print("| | rows/s, median | min–max | speed relative to | median | min–max |\n|---|---|---|---|---|---|")
    for name, values in rates.items():
        line = f"| {name} | {median(values):,.0f} | {min(values):,.0f}–{max(values):,.0f} "
        others = [other for other in AGAINST.get(name, ()) if len(rates.get(other, ())) == len(values)]
        for other in others or [None]:
            ratios = [a / b for a, b in zip(values, rates[other])] if other else []
            tail = f"| {other} | {median(ratios):.2f} | {min(ratios):.2f}–{max(ratios):.2f} |" if other else "| | | |"
            print(line + tail)
            line = "| | | "
    return 0


if __name__ == "__main__":
    sys.exit(main())
