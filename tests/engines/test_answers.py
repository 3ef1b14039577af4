"""From generated tokens to an answer: any token that ends one does, and reasoning is no part of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import GenerationConfig

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines.answers import AnswerReader, end_tokens
from routelmt_ray.engines.prompts import load_family
from tests.engines.conftest import SMALL
from tests.engines.tiny import TOKENIZERS, save_tokenizer


def reading(folder: Path, template: str = "") -> AnswerReader:
    fast = save_tokenizer("qwen", folder)
    if template:
        fast.chat_template = template
        fast.save_pretrained(folder)
    return AnswerReader.of(ModelConfig(path=str(folder), prompt="plain"), GenerationConfig(eos_token_id=0))


@pytest.mark.parametrize(
    ("name", "named", "wanted"),
    [
        ("qwen", "<|endoftext|>", {"<|endoftext|>", "<|im_end|>"}),
        ("gemma", "</s>", {"</s>", "<end_of_turn>"}),
        ("llama3", "<|end_of_text|>", {"<|end_of_text|>", "<|eot_id|>"}),
        ("phi3", "</s>", {"</s>", "<|end|>"}),
        ("llama2", None, {"</s>"}),
        ("gpt2", None, {"<|endoftext|>"}),
    ],
)
def test_any_of_the_tokens_that_a_model_names_ends_an_answer(name: str, named: str | None, wanted: set[str]) -> None:
    """Fine-tuning often leaves a generation_config that names another token than the one that ends a turn."""
    tokenizer = TOKENIZERS[name]()
    given = GenerationConfig(eos_token_id=None if named is None else tokenizer.convert_tokens_to_ids(named))
    found = end_tokens(given, tokenizer, load_family("plain"))
    assert set(tokenizer.convert_ids_to_tokens(sorted(found))) == wanted


def test_a_model_without_an_end_is_refused(tmp_path: Path) -> None:
    fast = save_tokenizer("qwen", tmp_path)
    fast.eos_token = None
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    fast.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no end token: .* set eos_token_id in its generation_config"):
        AnswerReader.of(ModelConfig(path=str(tmp_path), prompt="plain"), GenerationConfig())


def test_reasoning_before_an_answer_is_left_out_and_counted(tmp_path: Path) -> None:
    found = reading(tmp_path)

    def read(text: str, source: str = "Hi") -> tuple[str | None, bool]:
        ids = found.tokenizer(text, add_special_tokens=False)["input_ids"]
        answer = found.completion(ids, source)
        assert answer.tokens == len(ids)
        return answer.text, answer.thinking > 0

    assert read("<think>\nWell.\n</think>\n\nDer Hund<|im_end|>") == ("Der Hund", True)
    assert read("Well.</think>Der Hund<|im_end|>") == ("Der Hund", True)
    assert read("<think>\nWell, the dog") == ("", True)
    assert read("[THINK]Well.[/THINK] Der Hund<|im_end|>") == ("Der Hund", True)
    assert read("Der Hund<|im_end|>") == ("Der Hund", False)
    assert read("<think>Hund</think> x<|im_end|>", "the tag <think>dog</think> x") == ("<think>Hund</think> x", False)
    assert read("\n \n- Der Hund\n\n\t* die  Katze\n1) x \n<|im_end|>") == ("- Der Hund\n\n\t* die  Katze\n1) x", False)
    assert read("Der [THINK] Hund<|im_end|>") == ("Der [THINK] Hund", False)


def test_a_template_that_opens_the_reasoning_is_known(tmp_path: Path) -> None:
    found = reading(tmp_path, "{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|>assistant\n<think>\n")

    def read(text: str) -> str | None:
        return found.completion(found.tokenizer(text, add_special_tokens=False)["input_ids"], "Hi").text

    assert found.opened
    assert read("Well.\n</think>\n\nDer Hund<|im_end|>") == "Der Hund"
    assert read("Well, the dog") == ""


def test_the_family_plain_turns_reasoning_off_where_the_template_can(tmp_path: Path) -> None:
    fast = save_tokenizer("qwen", tmp_path)
    fast.chat_template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    )
    fast.save_pretrained(tmp_path)
    asked = fast.apply_chat_template(
        [{"role": "user", "content": "a"}], tokenize=False, **load_family("plain").chat_options
    )
    assert asked.endswith("</think>\n\n")
    given = AnswerReader.of(ModelConfig(path=str(tmp_path), prompt="plain"), GenerationConfig())
    assert not given.opened


def test_both_engines_read_the_same_end_tokens(tmp_path: Path) -> None:
    from routelmt_ray.engines.hf import HfEngine
    from routelmt_ray.engines.tokenizers import shipped_generation

    model = tmp_path / "model"
    shutil.copytree(SMALL.path, model)
    GenerationConfig(eos_token_id=17).save_pretrained(model)
    config = replace(SMALL, path=str(model))
    engine = HfEngine(config)
    assert engine._reading.ends == AnswerReader.of(config, shipped_generation(config)).ends == {17, 2}
    assert engine._model.generation_config.eos_token_id == [2, 17]
