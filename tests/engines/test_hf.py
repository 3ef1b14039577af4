"""The transformers engine on the embedded pair: batches do not change answers, limits and failures stay with their row."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.schema import LAST_TOKEN, MEAN
from routelmt_ray.engines import EveryRowFailed, Prompt, open_engine
from routelmt_ray.engines.artifact import Router, load_router
from routelmt_ray.engines.hf import HfEngine, load_merged, pad_left
from tests.conftest import DEMO
from tests.engines.conftest import SMALL

TOLERANCE = 2e-5
"""Of a predicted gain, whose scale is 1: float32 sums of a padded batch are taken in another order than those of one row."""


@pytest.fixture(scope="module")
def engine() -> HfEngine:
    return HfEngine(SMALL)


def probe(config: ModelConfig, router: Router, prompts: list[Prompt]) -> np.ndarray:
    return HfEngine(config, router).probe(prompts)


@pytest.mark.parametrize("pooling", [MEAN, LAST_TOKEN])
def test_a_probe_does_not_depend_on_its_batch(prompts: list[Prompt], pooling: str) -> None:
    shipped = load_router(str(DEMO / "router"))
    router = replace(shipped, words=None, spec=shipped.spec | {"pooling": pooling})
    together = router.predict(probe(SMALL, router, prompts))
    alone = router.predict(np.concatenate([HfEngine(SMALL, router).probe([p]) for p in prompts[:8]]))
    assert together.dtype == np.float32
    assert together.shape == (48,)
    np.testing.assert_allclose(together[:8], alone, atol=TOLERANCE, rtol=0)
    assert np.std(together) > 100 * TOLERANCE


def test_a_probe_reads_the_last_prompt_token_or_the_mean_after_the_final_norm(prompts: list[Prompt]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    router = replace(load_router(str(DEMO / "router")), adapter=None)
    model = AutoModelForCausalLM.from_pretrained(SMALL.path, dtype=torch.float32).eval()
    with torch.inference_mode():
        states = model(torch.tensor([list(prompts[0].ids)]), output_hidden_states=True).hidden_states[-1]
    for pooling, state in ((LAST_TOKEN, states[0, -1]), (MEAN, states[0].mean(0))):
        reading = replace(router, spec=router.spec | {"pooling": pooling})
        expected = state.numpy() @ router.weight.T
        np.testing.assert_allclose(probe(SMALL, reading, prompts[:1])[0], expected, atol=TOLERANCE, rtol=0)


def test_an_adapter_changes_the_probe_and_is_never_part_of_a_translation(prompts: list[Prompt], tmp_path: Any) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(SMALL.path, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "adapter")
    plain = replace(load_router(str(DEMO / "router")), adapter=None)
    adapted = replace(plain, adapter=tmp_path / "adapter")
    with torch.inference_mode():
        states = tuned.eval()(torch.tensor([list(prompts[0].ids)]), output_hidden_states=True).hidden_states[-1]
    expected = states[0, -1].numpy() @ plain.weight.T
    found = probe(SMALL, adapted, prompts[:4])
    np.testing.assert_allclose(found[0], expected, atol=TOLERANCE, rtol=1e-4)
    assert np.abs(found - probe(SMALL, plain, prompts[:4])).max() > 1e-3
    assert open_engine(SMALL).translate(prompts[:4]) == HfEngine(SMALL).translate(prompts[:4])


def test_greedy_translations_do_not_depend_on_their_batch(engine: HfEngine, prompts: list[Prompt]) -> None:
    together = engine.translate(prompts)
    alone = [engine.translate([prompt])[0] for prompt in prompts[:12]]
    assert together[:12] == alone
    assert all(answer.finish == "stop" and answer.text for answer in together)


def test_each_row_is_cut_at_its_own_limit(engine: HfEngine, prompts: list[Prompt]) -> None:
    whole = engine.translate(prompts[:6])
    limits = [2, 60, 3, 60, 1, 60]
    cut = engine.translate([prompt._replace(max_new_tokens=n) for prompt, n in zip(prompts, limits)])
    for answer, full, limit in zip(cut, whole, limits):
        if limit < full.tokens:
            assert (answer.finish, answer.tokens) == ("length", limit)
            assert str(full.text).startswith(str(answer.text))
        else:
            assert answer == full


def test_beams_find_answers_too(prompts: list[Prompt]) -> None:
    config = ModelConfig(path=SMALL.path, prompt="demo", num_beams=3)
    answers = HfEngine(config).translate([prompts[0], prompts[1]._replace(max_new_tokens=3), prompts[2]])
    assert [answer.finish for answer in answers] == ["stop", "length", "stop"]
    assert answers[1].tokens == 3


def test_a_row_that_breaks_its_batch_fails_alone(engine: HfEngine, prompts: list[Prompt]) -> None:
    vocabulary = engine._model.config.vocab_size
    poisoned = [*prompts[:5], Prompt([vocabulary + 7], 10, "poison"), *prompts[5:9]]
    answers = engine.translate(poisoned)
    assert [answer.finish for answer in answers].count("error") == 1
    assert answers[5].finish == "error"
    assert "IndexError" in str(answers[5].error)
    assert [*answers[:5], *answers[6:]] == engine.translate(prompts[:9])
    gains = probe(SMALL, load_router(str(DEMO / "router")), poisoned)
    assert np.flatnonzero(np.isnan(gains[:, 0])).tolist() == [5]


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_prompts_are_padded_at_the_left(kind: Any) -> None:
    padded = pad_left([kind([5, 6]), kind([1, 2, 3, 4]), kind([9])], 7, torch.device("cpu"))
    assert padded["input_ids"].tolist() == [[7, 7, 5, 6], [1, 2, 3, 4], [7, 7, 7, 9]]
    assert padded["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]]
    assert {tensor.dtype for tensor in padded.values()} == {torch.int64}


def test_no_prompts_give_no_answers(engine: HfEngine) -> None:
    assert engine.translate([]) == []


def test_an_engine_that_loses_its_memory_fails_the_shard_and_not_its_rows(prompts: list[Prompt]) -> None:
    router = load_router(str(DEMO / "router"))
    lost = HfEngine(SMALL, router)

    def forward(*_: Any, **__: Any) -> Any:
        raise MemoryError("another process took it")

    lost._model.forward = forward
    lost._model.model.forward = forward
    for ask in (lost.translate, lost.probe, lost.states):
        for some in (prompts[:1], prompts):
            with pytest.raises(EveryRowFailed, match="no row is to blame: MemoryError: another process took it"):
                ask(some)


def test_a_padding_token_that_the_model_has_no_embedding_for_costs_no_batch(
    prompts: list[Prompt], tmp_path: Path
) -> None:
    shutil.copytree(SMALL.path, tmp_path, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens([f"<|spare {i}|>" for i in range(20)])
    tokenizer.add_special_tokens({"pad_token": "<|beyond|>"})
    tokenizer.save_pretrained(tmp_path)
    engine = HfEngine(replace(SMALL, path=str(tmp_path)))
    assert tokenizer.pad_token_id >= engine._model.config.vocab_size
    assert engine.translate(prompts[:8]) == HfEngine(SMALL).translate(prompts[:8])
    assert engine.halved == 0


def test_halved_batches_are_counted(engine: HfEngine, prompts: list[Prompt]) -> None:
    before, poison = engine.halved, Prompt([engine._model.config.vocab_size + 7], 60, "poison")
    engine.translate([*prompts[:3], poison])
    assert engine.halved == before + 2


def test_weights_that_the_files_lack_are_not_drawn_at_random(tmp_path: Path) -> None:
    shutil.copytree(SMALL.path, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"lack 1 weights of Qwen3ForCausalLM, such as model.layers.1.mlp.up_proj.weight"
    ):
        HfEngine(replace(SMALL, path=str(tmp_path)))


def test_a_loaded_model_takes_the_place_of_the_weights(prompts: list[Prompt], tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(Path(SMALL.path) / name, tmp_path)
    config, router = replace(SMALL, path=str(tmp_path)), load_router(str(DEMO / "router"))
    given = HfEngine(config, router, load_merged(SMALL, router, torch.float32))
    assert np.array_equal(given.probe(prompts[:9]), HfEngine(SMALL, router).probe(prompts[:9]))
    given = HfEngine(config, model=load_merged(SMALL, None, torch.float32))
    assert given.translate(prompts[:9]) == HfEngine(SMALL).translate(prompts[:9])
