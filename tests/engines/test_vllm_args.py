"""Settings of the vLLM engine: what reaches vLLM, what is refused before Ray starts, what a run is bound to."""

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.common import ModelConfig, PoolConfig
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.config.vllm import VllmConfig
from routelmt_ray.engines.tokenizers import context_tokens, input_limit
from routelmt_ray.engines.translators import check_model, model_identity
from routelmt_ray.engines.vllm_args import check_vllm, engine_arguments
from tests.engines.conftest import SMALL

MODEL = replace(SMALL, engine="vllm")
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm runs this")


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_where_vllm_is_not_installed_it_says_how_to_install_it() -> None:
    with pytest.raises(ValueError, match=r"models.small.engine is 'vllm', which is not installed.*constraints-vllm"):
        check_model("models.small", MODEL)
    with pytest.raises(ValueError, match="is 'vllm', which is not installed"):  # before the model is looked for
        check_model("models.small", replace(MODEL, path="nobody/has-such-a-model"))
    check_model("models.small", MODEL, elsewhere=True)
    with pytest.raises(ValueError, match=r"models.small.num_beams is 4 with engine vllm"):
        check_model("models.small", replace(MODEL, num_beams=4), elsewhere=True)


@needs_vllm
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_beams": 4}, r"m.num_beams is 4 with engine vllm; leave it 1: .* beams need engine hf"),
        ({"device": "cuda"}, r"m.device is 'cuda'"),
        ({"attention": "sdpa"}, r"m.attention is 'sdpa'.*m.vllm.engine_args.attention_backend"),
        ({"vllm": VllmConfig(max_num_batched_tokens=100)}, r"must be at least m.vllm.max_num_seqs, which is 512"),
        ({"pool": PoolConfig(gpus=2)}, r"m.vllm.tensor_parallel_size is 1, but m.pool.gpus is 2"),
        (
            {"vllm": VllmConfig(engine_args={"dtype": "half"})},
            r"m.vllm.engine_args.dtype cannot be set here; use the key m.dtype",
        ),
        ({"vllm": VllmConfig(engine_args={"load_format": "pt"})}, r"engine_args.load_format cannot be set"),
        (
            {"vllm": VllmConfig(engine_args={"data_parallel_size": 2})},
            r"data_parallel_size cannot be set: .*m.vllm.tensor_parallel_size; for more engines raise m.pool.actors",
        ),
        ({"vllm": VllmConfig(engine_args={"blok_size": 16})}, r"no such engine argument; did you mean block_size\?"),
        ({"vllm": VllmConfig(engine_args={"block_size": "big"})}, r"m.vllm.engine_args.block_size is 'big': .*integer"),
    ],
)
def test_what_vllm_cannot_serve_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_vllm("m", replace(MODEL, **changes))


@needs_vllm
def test_settings_reach_vllm() -> None:
    words = "{max_num_seqs: 8, kv_cache_mb: 64, quantization: fp8, engine_args: {kv_cache_dtype: fp8, seed: 3}}"
    config = configlib.load(TranslateConfig, [], [
        "run_dir=x", "input.path=x", "input.source_lang=en", "input.target_lang=de", "router.kind=length", "budget.rows=1",
        f"models.small={{engine: vllm, path: {SMALL.path}, prompt: demo, vllm: {words}}}", "models.large.engine=echo",
    ])  # fmt: skip
    model = config.models.small
    check_model("models.small", model)
    found = engine_arguments(model)
    assert {key: found[key] for key in ("max_num_seqs", "kv_cache_memory_bytes", "quantization", "seed")} == {
        "max_num_seqs": 8, "kv_cache_memory_bytes": 64 * 2**20, "quantization": "fp8", "seed": 3
    }  # fmt: skip
    assert (found["kv_cache_dtype"], found["dtype"]) == ("fp8", "float32")
    assert (found["trust_remote_code"], found["load_format"]) == (False, "safetensors")
    assert hash(model) == hash(replace(model))  # it is a key of caches


@needs_vllm
def test_a_model_on_one_cpu_device_runs_in_the_process_of_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    def executor(config: ModelConfig) -> Any:
        return engine_arguments(config)["distributed_executor_backend"]

    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    assert executor(MODEL) is UniProcExecutor
    assert executor(replace(MODEL, vllm=VllmConfig(tensor_parallel_size=2))) == "mp"
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0-3")  # vLLM binds only a process of the model
    assert executor(MODEL) is None


def test_the_longest_prompt_leaves_room_in_vllms_context() -> None:
    short = replace(MODEL, vllm=VllmConfig(max_model_len=100))
    assert context_tokens(short) == 100
    assert input_limit(short) == 100 - SMALL.new_tokens_extra
    assert context_tokens(MODEL) == context_tokens(SMALL)
    assert context_tokens(replace(MODEL, vllm=VllmConfig(max_model_len=None))) == context_tokens(SMALL)


def test_a_run_is_bound_to_what_shapes_answers_and_to_nothing_else() -> None:
    bound = model_identity(MODEL)
    assert "vllm" not in model_identity(SMALL)
    for change in ({"quantization": "fp8"}, {"max_model_len": 64}, {"engine_args": {"kv_cache_dtype": "fp8"}}):
        assert model_identity(replace(MODEL, vllm=VllmConfig(**change))) != bound  # type: ignore[arg-type]
    same = VllmConfig(max_num_seqs=8, gpu_memory_utilization=0.4, enforce_eager=True, tensor_parallel_size=2)
    assert model_identity(replace(MODEL, vllm=same)) == bound


@pytest.mark.parametrize(
    ("max_num_seqs", "shard_rows", "calls"),
    [(512, 32_768, 2), (512, 4_096, 2), (512, 4_095, 3), (512, 1_024, 8), (512, 1, 8), (8, 32, 4), (1, 500, 2)],
)
def test_small_shards_are_asked_more_at_once(max_num_seqs: int, shard_rows: int, calls: int) -> None:
    model = replace(MODEL, vllm=VllmConfig(max_num_seqs=max_num_seqs))
    assert model.kind.max_concurrency(model, shard_rows) == calls
    assert SMALL.kind.max_concurrency(SMALL, shard_rows) == 1
