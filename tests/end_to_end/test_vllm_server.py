"""Whole jobs with vLLM's own OpenAI server on a CPU, which serves the embedded large model: the rows are those of `hf`."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.budget.threshold import find_threshold
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.endpoint import EndpointConfig
from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.config.vllm import VllmConfig
from routelmt_ray.engines import HARMLESS, Prompt, open_probe
from routelmt_ray.engines.artifact import FORMAT, load_router
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.openai import OpenaiEngine
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.source_words import FILE
from routelmt_ray.engines.tokenizers import prompt_encoder
from routelmt_ray.engines.vllm import VllmEngine
from routelmt_ray.job import export
from routelmt_ray.job.translation import router_identity
from tests.conftest import DEMO, ENDPOINT_KEY, Job, runner
from tests.engines.openai_server import MODEL, Trouble, served
from tests.engines.vllm_server import KEY, VllmServer
from tests.forked_workers import forked_engines
from tests.without_ray import without_ray

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm runs this"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
LARGE = DEMO / "models" / "large"
IN_ONE = ("--distributed-executor-backend", "vllm.v1.executor.uniproc_executor.UniProcExecutor")
"""Words for a server whose model has no process beside that of its engine."""
TROUBLES = [
    Trouble(429, {}, {"Retry-After": "0.2"}), Trouble(503, {}), Trouble(reset=True), Trouble(wait_s=1.0), Trouble(model="x"), Trouble(cut=True)
]  # fmt: skip


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    server = VllmServer(LARGE, tmp_path_factory.mktemp("vllm"), *IN_ONE, python=runner())
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def words(demo_corpus: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """60 demo sentences in three shards."""
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    pq.write_table(demo_corpus.slice(0, 60), path)
    return [f"input.path={path}", "input.shard_rows=20"]


@pytest.fixture(scope="module")
def plain(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The rows with both models in process, by transformers."""
    job = Job(tmp_path_factory.mktemp("hf") / "run")
    with without_ray():
        job.run(*words, config="configs/demo.yaml")
    return job.output()


def endpoint(*urls: str, key: str = ENDPOINT_KEY, **settings: object) -> list[str]:
    more = [f"models.large.endpoint.{key}={value}" for key, value in settings.items()]
    return [
        "models.large.engine=openai", f"models.large.endpoint.urls=[{','.join(urls)}]", f"models.large.endpoint.model={MODEL}",
        f"models.large.endpoint.api_key_env={key}", "models.large.endpoint.max_model_len=256", *more,
    ]  # fmt: skip


def compare(found: pa.Table, wanted: pa.Table) -> None:
    """Holds that rows and routes are the same, and nearly all translations."""
    columns = ["id", "source", "route", "model", "status"]
    assert found.select(columns).equals(wanted.select(columns))
    same = np.mean([a == b for a, b in zip(found["translation"].to_pylist(), wanted["translation"].to_pylist())])
    print(f"{same:.1%} of the translations are equal")
    assert same >= 0.95


def test_the_rows_are_those_of_transformers_also_behind_a_faulty_proxy(
    vllm: VllmServer, words: list[str], plain: pa.Table, job: Job
) -> None:
    with served(vllm.ask) as proxy:
        proxy.trouble = lambda fields, number: TROUBLES[number - 1] if 0 < number < 7 else None
        ended = job.run(*words, *endpoint(proxy.url), config="configs/demo.yaml")
        assert len(proxy.asked) >= 24, "each trouble is one more request"
    compare(job.output(), plain)
    (large,) = [stage for stage in job.report()["spend"]["stages"] if stage["name"] == "large"]
    print(large["usage"])
    assert large["usage"]["answers"] >= 18
    written = [file.read_bytes() for file in job.run_dir.rglob("*") if file.is_file()]
    assert not any(KEY.encode() in content for content in [*written, (ended.stdout + ended.stderr).encode()])


def test_completions_and_chats_give_what_both_engines_in_process_give(vllm: VllmServer, demo_corpus: pa.Table) -> None:
    family, rows = load_family("demo"), demo_corpus.slice(0, 40).to_pylist()
    contents = [family.render(r["source"], *map(str, family.names(r["source_lang"], r["target_lang"]))) for r in rows]
    model = ModelConfig(path=str(LARGE), prompt="demo")
    ids = prompt_encoder(model).encode(contents)
    prompts = [Prompt(row, 96, "", content) for row, content in zip(ids, contents)]
    here = VllmConfig(enforce_eager=True, kv_cache_mb=128, max_model_len=256)
    with forked_engines(runner()):
        in_process = VllmEngine(replace(model, engine="vllm", dtype="float32", vllm=here))
    wanted = {"hf": HfEngine(model).translate(prompts), "vllm": in_process.translate(prompts)}
    in_process.close()
    for api in ("completions", "chat"):
        served_at = EndpointConfig(urls=[vllm.url], model=MODEL, api=api, api_key_env=ENDPOINT_KEY)
        engine = OpenaiEngine(replace(model, engine="openai", endpoint=served_at))
        found = engine.translate(prompts)
        engine.close()
        for name, answers in wanted.items():
            same = sum(a._replace(charged=b.charged) == b for a, b in zip(found, answers))
            print(f"{api}: {same} of {len(prompts)} answers are those of {name}")
            assert same >= 0.95 * len(prompts)


def test_a_wrong_key_and_a_wrong_name_are_refused_at_the_start(
    vllm: VllmServer, words: list[str], job: Job, monkeypatch: pytest.MonkeyPatch, no_cluster: None
) -> None:
    monkeypatch.setenv("ANOTHER_KEY", "another-key")
    refused = job.run(*words, *endpoint(vllm.url, key="ANOTHER_KEY"), config="configs/demo.yaml", check=2).stderr
    assert "status 401" in refused and "another-key" not in refused
    refused = job.run(*words, *endpoint(vllm.url, model="unknown"), config="configs/demo.yaml", check=2).stderr
    assert "status 404" in refused and "unknown" in refused


def test_a_server_that_is_killed_and_comes_back_costs_no_row(
    vllm: VllmServer, words: list[str], plain: pa.Table, job: Job
) -> None:
    with served(vllm.ask) as proxy:
        killed: list[int] = []

        def kill_once(fields: dict[str, Any], number: int) -> None:
            if number == 3 and not killed:
                killed.append(number)
                vllm.kill()
                vllm.start()

        proxy.trouble = kill_once
        both = endpoint(vllm.url, proxy.url, patience_s=400, concurrency=4)
        job.run(*words, *both, config="configs/demo.yaml")
    assert killed
    compare(job.output(), plain)


def test_one_of_two_servers_is_killed_and_the_other_does_its_rows(
    vllm: VllmServer, words: list[str], plain: pa.Table, job: Job, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = VllmServer(LARGE, tmp_path_factory.mktemp("other"), *IN_ONE, python=runner())
    try:
        other.start()
        with served(vllm.ask) as proxy:
            proxy.trouble = lambda fields, number: other.kill() if number == 4 else None
            job.run(*words, *endpoint(proxy.url, other.url, concurrency=4), config="configs/demo.yaml")
    finally:
        other.kill()
    compare(job.output(), plain)
    asked = Counter(tuple(fields["prompt"]) for fields in proxy.asked)
    del asked[tuple(HARMLESS.ids)]
    assert len(asked) >= 10 and set(asked.values()) == {1}, "the one that lives is paid once for each row"
    (large,) = [stage for stage in job.report()["spend"]["stages"] if stage["name"] == "large"]
    assert large["usage"]["faults"] >= 1
    # Beside the rows: a word at the start, and no answer of a row that is then thrown away.
    assert large["usage"]["answers"] == 1 + plain["model"].to_pylist().count("large")


def heads_alone(folder: Path) -> str:
    """The embedded router as `words=false` trains it, an exported model cannot hold the table of words, on the mean over a
    prompt."""
    shutil.copytree(DEMO / "router", folder)
    spec = json.loads((folder / "router.json").read_text())
    if "words" in spec:
        (folder / FILE).unlink()
        spec |= spec.pop("words")["without"] | {"format": FORMAT}
    (folder / "router.json").write_text(json.dumps(spec | {"pooling": "mean"}))
    return str(folder)


def test_an_exported_router_is_served_with_its_threshold(
    demo_corpus: pa.Table, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Follows `jobs/SERVING.md`: a server that has only the exported folder routes every row as the probe of a job does."""
    folder, family, small = heads_alone(tmp_path / "router"), load_family("demo"), DEMO / "models" / "small"
    rows = demo_corpus.slice(0, 40).to_pylist()
    contents = [family.render(r["source"], *map(str, family.names(r["source_lang"], r["target_lang"]))) for r in rows]
    router, config = load_router(folder), ModelConfig(path=str(small), prompt="demo", device="cpu", dtype="float32")
    encoded = prompt_encoder(config).encode(contents)
    gains = router.predict(open_probe(config, router).probe([Prompt(ids, 0, "") for ids in encoded]))
    out, served_folder = tmp_path / "threshold.json", tmp_path / "served"
    found = find_threshold(lambda: [gains], 40, 0.3).to_dict() | {"router": router_identity(RouterConfig(path=folder))}
    out.write_text(json.dumps(found))
    words = ["--router", folder, "--base", str(small), "--threshold", str(out), "--out", str(served_folder)]
    assert export.main(words) == 0
    server = VllmServer(
        served_folder, tmp_path_factory.mktemp("pooling"), *IN_ONE, "--runner", "pooling", "--convert", "classify", python=runner(),
    )  # fmt: skip
    try:
        server.start()
        rule = json.loads((served_folder / "threshold.json").read_text())
        for content, expected in zip(contents, gains):
            fields = {"messages": [{"role": "user", "content": content}], "add_generation_prompt": True}
            url = server.url.removesuffix("/v1") + "/classify"
            answer = server.post(url, fields | {"use_activation": False})
            gain = rule["scale"] * answer["data"][0]["probs"][rule["label"]] + rule["intercept"]
            assert gain == pytest.approx(expected, abs=1e-5)
            if abs(gain - rule["threshold"]) > 1e-5:
                assert (gain >= rule["threshold"]) == (expected >= rule["threshold"])
    finally:
        server.kill()
