"""The vLLM engine on the embedded pair, on a CPU: it gives what transformers gives, and failures stay where they belong."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from routelmt_ray.config.schema import MEAN
from routelmt_ray.config.vllm import VllmConfig
from routelmt_ray.engines import EngineDead, Prompt, open_engine, open_probe
from routelmt_ray.engines.artifact import Router, load_router
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.vllm import VllmEngine, VllmProbe
from tests.conftest import DEMO, runner
from tests.engines.conftest import SMALL
from tests.forked_workers import forked_engines

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm runs this"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
VLLM = replace(
    SMALL, engine="vllm", dtype="float32", vllm=VllmConfig(enforce_eager=True, kv_cache_mb=128, max_model_len=200)
)
TOLERANCE = 1e-5
"""Of a head output or state, whose size is about 1: the same float32 sums in another order."""
NEAR_TIE = 1e-3
"""Difference of log-probabilities below which either token is a greedy choice."""
LONG = Prompt([5] * 200, 10, "long")
"""As long as the context: no room for an answer."""
FOREIGN = Prompt([10_000_000], 10, "foreign")
"""A token the model does not have."""
EMPTY = Prompt([], 10, "")


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmEngine]:
    with forked_engines(runner()):
        opened = open_engine(VLLM)
    assert isinstance(opened, VllmEngine)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where vLLM keeps what it makes."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("VLLM_CACHE_ROOT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def router() -> Router:
    """LoRA, two heads."""
    return load_router(str(DEMO / "router"))


@pytest.fixture(scope="module")
def probe(cache: Path, router: Router) -> Iterator[VllmProbe]:
    with forked_engines(runner()):
        opened = open_probe(VLLM, router)
    assert isinstance(opened, VllmProbe)
    yield opened
    opened.close()


def test_greedy_answers_are_those_of_transformers(engine: VllmEngine, prompts: list[Prompt]) -> None:
    found, wanted = engine.translate(prompts), HfEngine(SMALL).translate(prompts)
    same = sum(a == b for a, b in zip(found, wanted))
    print(f"{same} of {len(prompts)} answers are equal")
    assert same >= 0.95 * len(prompts)
    assert all(answer.finish == "stop" and answer.text for answer in found)


def test_every_token_is_the_likeliest_or_nearly_so(engine: VllmEngine, prompts: list[Prompt]) -> None:
    outputs = engine._requests.run([(prompt.ids, engine._sampling(60)) for prompt in prompts[:24]])
    model = HfEngine(SMALL)._model
    for prompt, output in zip(prompts, outputs):
        answer = torch.tensor(output.outputs[0].token_ids)
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt.ids, *answer]])).logits[0, len(prompt.ids) - 1 : -1]
        chosen = logits.log_softmax(-1).gather(1, answer[:, None])[:, 0]
        assert (logits.log_softmax(-1).amax(-1) - chosen).max() < NEAR_TIE


def test_each_row_is_cut_at_its_own_limit(engine: VllmEngine, prompts: list[Prompt]) -> None:
    limits = [2, 60, 3, 60, 1, 60]
    cut = [prompt._replace(max_new_tokens=n) for prompt, n in zip(prompts, limits)]
    found = engine.translate(cut)
    assert found == HfEngine(SMALL).translate(cut)
    assert [(a.finish, a.tokens) for a in found[:5:2]] == [("length", 2), ("length", 3), ("length", 1)]


def test_the_context_cuts_what_the_limit_does_not(engine: VllmEngine) -> None:
    (answer,) = engine.translate([Prompt([5] * 195, 60, "")])
    assert answer.tokens <= 5 and answer.finish in ("stop", "length")


def test_a_prompt_it_cannot_take_fails_alone(engine: VllmEngine, prompts: list[Prompt]) -> None:
    found = engine.translate([LONG, *prompts[:4], EMPTY, *prompts[4:8], FOREIGN])
    assert [i for i, answer in enumerate(found) if answer.finish == "error"] == [0, 5, 10]
    assert "longer than the maximum model length" in str(found[0].error)
    assert "cannot be empty" in str(found[5].error)
    assert "out of vocabulary" in str(found[10].error)
    assert [*found[1:5], *found[6:10]] == engine.translate(prompts[:8])
    assert engine.translate([]) == []


def test_two_threads_at_once_get_what_they_get_one_after_the_other(engine: VllmEngine, prompts: list[Prompt]) -> None:
    halves = [prompts[:24], prompts[24:]]
    apart = [engine.translate(half) for half in halves]
    together, most, over = threading.Barrier(2), 0, threading.Event()

    def translate(half: list[Prompt]) -> object:
        together.wait()
        return engine.translate(half)

    def watch() -> None:
        nonlocal most
        while not over.is_set():
            most = max(most, engine._requests._engine.get_num_unfinished_requests())

    with ThreadPoolExecutor() as pool:
        watching = pool.submit(watch)
        found = list(pool.map(translate, halves))
        over.set()
        watching.result()
    assert found == apart
    assert most > 24  # rows of both were in flight


def test_a_probe_gives_the_head_outputs_of_transformers(
    probe: VllmProbe, router: Router, prompts: list[Prompt], cache: Path
) -> None:
    found = probe.probe(prompts)
    wanted = HfEngine(SMALL, router).probe(prompts)
    assert found.dtype == np.float32 and found.shape == (48, 2)
    print(f"largest difference {np.abs(found - wanted).max():.1e}, spread {wanted.std(0)}")
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE, rtol=0)
    assert wanted.std(0).min() > 100 * TOLERANCE
    assert not list((cache / "routelmt").glob("classifier-*/"))  # the classifier is not left behind


def test_a_prompt_it_cannot_probe_is_nan_alone(probe: VllmProbe, prompts: list[Prompt]) -> None:
    too_long = Prompt([5] * 201, 0, "")
    found = probe.probe([too_long, *prompts[:3], EMPTY, FOREIGN])
    assert np.isnan(found).all(1).tolist() == [True, False, False, False, True, True]
    np.testing.assert_allclose(found[1:4], probe.probe(prompts)[:3], atol=TOLERANCE, rtol=0)


def test_a_single_head_without_adapter_on_the_mean_is_raw_too(
    router: Router, prompts: list[Prompt], cache: Path
) -> None:
    spec = router.spec | {"pooling": MEAN}
    one = replace(router, adapter=None, heads=("gain",), weight=9 * router.weight[:1], spec=spec)
    with forked_engines(runner()):
        probe = open_probe(VLLM, one)
    assert isinstance(probe, VllmProbe)
    found, wanted = probe.probe(prompts), HfEngine(SMALL, one).probe(prompts)
    np.testing.assert_allclose(found, wanted, atol=9 * TOLERANCE, rtol=0)
    last = HfEngine(SMALL, replace(one, spec=router.spec)).probe(prompts)
    assert np.abs(wanted - last).max() > 1000 * TOLERANCE, "the state of the last token is another one"
    assert wanted.max() > 1 or wanted.min() < 0  # not what a sigmoid gives
    with pytest.raises(AssertionError, match="gives head outputs alone"):
        probe.states(prompts)
    probe.close()


def test_states_are_those_of_transformers_until_the_engine_dies(prompts: list[Prompt]) -> None:
    before = set(psutil.Process().children(recursive=True))
    probe = open_probe(VLLM, None, MEAN)
    found, wanted = probe.states(prompts), HfEngine(SMALL, pooling=MEAN).states(prompts)
    np.testing.assert_allclose(found, wanted, atol=10 * TOLERANCE, rtol=0)
    started = set(psutil.Process().children(recursive=True)) - before
    (core,) = [process for process in started if "VLLM::" in " ".join(process.cmdline())]
    assert "EngineCore" in " ".join(core.cmdline()), "the model has no process beside that of its engine"
    os.kill(core.pid, signal.SIGKILL)
    for _ in range(2):  # and it stays dead
        with pytest.raises(EngineDead):
            probe.states(prompts)
