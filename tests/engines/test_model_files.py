"""Models whose files do not serve are refused before any work, in words; what is no part of a model changes no identity."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from transformers import LlamaConfig, T5Config

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines.artifact import folder_identity
from routelmt_ray.engines.translators import check_model, memory_identity
from tests.engines.tiny import save_tokenizer

SHARDS = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in three files; they are looked at, not loaded."""
    path = tmp_path / "model"
    fast = save_tokenizer("qwen", path)
    configure(path, vocab_size=len(fast))
    for i, name in enumerate(SHARDS):
        save_file({f"layer.{i}": np.zeros((8, 8), np.float32)}, path / name)
    index = {"metadata": {}, "weight_map": {f"layer.{i}": name for i, name in enumerate(SHARDS)}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def configure(path: Path, **settings: Any) -> None:
    sizes = {"hidden_size": 8, "num_attention_heads": 1, "max_position_embeddings": 200}
    LlamaConfig(**sizes | {"vocab_size": 500} | settings).save_pretrained(path)


def check(path: Path, **settings: Any) -> None:
    check_model("models.large", ModelConfig(path=str(path), prompt="plain", **settings))


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes(change((path / name).read_bytes()))


def only(name: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        for old in [*path.glob("*.safetensors"), *path.glob("*.index.json")]:
            old.unlink()
        if name:
            (path / name).write_bytes(b"x" * 100)

    return make


def template(text: str) -> Callable[[Path], object]:
    return lambda path: (path / "chat_template.jinja").write_text(text)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 7\n"
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard missing": (lambda path: (path / SHARDS[1]).unlink(), rf"{SHARDS[1]} of its 3 weight files are missing"),
    "a shard cut short": (rewrite(SHARDS[2], lambda b: b[:-9]), rf"{SHARDS[2]} has [\d,]+ bytes, but its header says"),
    "a header cut short": (rewrite(SHARDS[0], lambda b: b[:20]), rf"{SHARDS[0]} is not a readable safetensors file"),
    "an empty file": (rewrite(SHARDS[0], lambda b: b""), rf"{SHARDS[0]} is not a readable safetensors file"),
    "a web page": (rewrite(SHARDS[0], lambda b: b"<html>" * 99), rf"{SHARDS[0]} is not a readable safetensors file"),
    "shards mixed up": (rewrite(SHARDS[0], lambda b: b.replace(b"layer.0", b"layer.9")), r"layer.0 are not in the files"),
    "an index cut short": (rewrite("model.safetensors.index.json", lambda b: b[:40]), r"index.json cannot be read"),
    "pointers": (rewrite(SHARDS[0], lambda b: LFS), rf"{SHARDS[0]} in it are Git LFS pointers.*git lfs pull"),
    "a tokenizer's pointer": (rewrite("tokenizer.json", lambda b: LFS), "tokenizer.json in it are Git LFS pointers"),
    "another format": (only("pytorch_model.bin"), "there is pytorch_model.bin instead; only safetensors are read"),
    "no weights": (only(""), "there are no weights at all"),
    "a quantization": (
        lambda path: configure(path, quantization_config={"quant_method": "gptq", "bits": 4}),
        r"quantized \(gptq\), for which transformers needs the package gptqmodel or auto_gptq",
    ),
    "a short context": (lambda path: configure(path, max_position_embeddings=20), r"takes prompts of 10 tokens, but the prompt for a single letter"),
    "an encoder": (lambda path: T5Config().save_pretrained(path), "t5 is an encoder-decoder model"),
    "another model's tokenizer": (lambda path: configure(path, vocab_size=50), "tokenizer and weights do not belong together"),
    "a template that raises": (template("{{ raise_exception('user first') }}"), "TemplateError: user first"),
    "a template that is no template": (template("{% for %}"), "TemplateSyntaxError"),
    "a template without the text": (template("hello"), "leaves out the user's text"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_loaded_is_refused_before_work(folder: Path, case: str) -> None:
    breaks, message = BROKEN[case]
    breaks(folder)
    with pytest.raises(ValueError, match=rf"(?s)^models.large.path {folder}.*{message}"):
        check(folder)


def test_what_can_be_loaded_is_not_refused(folder: Path) -> None:
    check(folder)
    configure(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    check_model("models.large", ModelConfig(path=str(folder), prompt="plain"), elsewhere=True)
    configure(folder)
    only("")(folder)
    save_file({"layer": np.zeros(3, np.float32), "empty": np.zeros(0, np.float32)}, folder / "model.safetensors")
    check(folder)


@pytest.mark.parametrize(
    "name", [".cache/huggingface/download/x.lock", "README.md", "LICENSE.txt", "figures/a.png", ".gitattributes"]
)
def test_what_shapes_no_answer_is_no_part_of_the_identity(folder: Path, name: str) -> None:
    before = folder_identity(str(folder), None)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for text in ("one", "two"):
        (folder / name).write_text(text)
        assert folder_identity(str(folder), None) == before


@pytest.mark.parametrize("name", ["config.json", SHARDS[0], "chat_template.jinja", "merges.txt", "modeling_own.py"])
def test_what_shapes_answers_is_part_of_the_identity(folder: Path, name: str) -> None:
    before = folder_identity(str(folder), None)
    (folder / name).write_bytes(b"another")
    assert folder_identity(str(folder), None) != before


def test_what_a_memory_goes_by_has_all_bytes_of_a_model_and_its_settings(folder: Path) -> None:
    weights, model = folder / SHARDS[0], ModelConfig(path=str(folder), prompt="plain")
    save_file({"layer.0": np.zeros(1 << 16, np.float32)}, weights)
    loose, whole = folder_identity(str(folder), None), memory_identity("models.small", model, "split")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert folder_identity(str(folder), None) == loose  # only the ends of a file are read
    changed = memory_identity("models.small", model, "split")
    assert changed != whole and changed | {"files": None} == whole | {"files": None}
    for other in (replace(model, max_new_tokens=7), replace(model, prompt="lmt60")):
        assert memory_identity("models.small", other, "split") != changed
    assert memory_identity("models.small", model, "truncate") != changed


def test_a_memory_needs_the_commit_of_a_hub_id() -> None:
    model = ModelConfig(path="some/model", prompt="plain", revision="main")
    with pytest.raises(ValueError, match="models.small.revision is 'main', so some/model may be another model"):
        memory_identity("models.small", model, "split")
    fixed = replace(model, revision="0123456789abcdef" * 2 + "01234567")
    assert memory_identity("models.small", fixed, "split")["files"].startswith("hub:some/model@0123")
