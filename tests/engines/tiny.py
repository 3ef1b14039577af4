"""Tiny tokenizers and models of many families, made on the spot: real architectures with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordLevel, WordPiece
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer
from transformers import PreTrainedTokenizerFast

TEXT = [
    "Translate from English to German. Reply with the translation only.",
    "Translate the following text from English into German. English: The dog sleeps. German: Der Hund schläft.",
    "user assistant system model User Assistant INST The old house stands at the river, and nobody lives there any more.",
    "Two dogs and a cat sleep in the house; the children play outside until it gets dark.",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]"
    "{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}{{ eos_token if m.role == 'assistant' else '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _fast(tokenizer: Tokenizer, template: str, special: list[Any], **named: str) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    fast.add_special_tokens({"additional_special_tokens": special})
    fast.chat_template = template
    return fast


def _byte_level(special: list[str], add_prefix_space: bool = False, split: str | None = None) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=split is None)
    parts = [pre_tokenizers.Split(Regex(split), "isolated")] if split else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*parts, level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _begins_with(tokenizer: Tokenizer, token: str) -> Tokenizer:
    """Has the tokenizer put a token before every text, as only its post-processor knows."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, tokenizer.token_to_id(token))]
    )
    return tokenizer


def _sentencepiece(prefix: bool) -> Tokenizer:
    """As Llama 2 (with a blank put before every text) and Gemma (without one) have it: BPE that falls back to bytes."""
    letters = sorted({c for text in TEXT for c in text.replace(" ", "▁")} | set("\n[](){}<>/|"))
    base = ["<pad>", "<s>", "</s>", "<unk>", *(f"<0x{i:02X}>" for i in range(256)), *letters]
    pairs = [
        ("▁", "t"),
        ("▁t", "h"),
        ("▁th", "e"),
        ("e", "r"),
        ("▁", "T"),
        ("▁T", "h"),
        ("▁", "["),
        ("▁", "▁"),
        ("▁", "A"),
    ]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*base, *(a + b for a, b in pairs)]))}
    tokenizer = Tokenizer(BPE(vocabulary, pairs, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return _begins_with(tokenizer, "<s>")


def _metaspace(model: str, scheme: str) -> Tokenizer:
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    tokenizer = Tokenizer(Unigram() if model == "unigram" else BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=model == "unigram")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    if model == "unigram":
        trainer: Any = UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    else:
        trainer = BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return _begins_with(tokenizer, "<s>")


def qwen() -> PreTrainedTokenizerFast:
    tokenizer = _byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    named = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    return _fast(tokenizer, CHATML, ["<|im_start|>"], **named)


def gpt2() -> PreTrainedTokenizerFast:
    named = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return _fast(_byte_level(["<|endoftext|>"]), PLAIN, [], **named)


def roberta() -> PreTrainedTokenizerFast:
    tokenizer = _byte_level(["<pad>", "<s>", "</s>"], add_prefix_space=True)
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return _fast(_begins_with(tokenizer, "<s>"), PLAIN, [], **named)


def bloom() -> PreTrainedTokenizerFast:
    tokenizer = _byte_level(["<unk>", "<s>", "</s>", "<pad>"], split=r" ?[^(\s|[.,!?…。，、।۔،])]+")
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return _fast(tokenizer, PLAIN, [], **named)


def llama2() -> PreTrainedTokenizerFast:
    return _fast(_sentencepiece(True), LLAMA2, [], bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def llama3() -> PreTrainedTokenizerFast:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = _begins_with(_byte_level(special), "<|begin_of_text|>")
    return _fast(tokenizer, LLAMA3, special[2:], bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")


def mistral() -> PreTrainedTokenizerFast:
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return _fast(_metaspace("bpe", "first"), MISTRAL, ["[INST]", "[/INST]"], **named)


def unigram() -> PreTrainedTokenizerFast:
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return _fast(_metaspace("unigram", "always"), PLAIN, [], **named)


def gemma() -> PreTrainedTokenizerFast:
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return _fast(_sentencepiece(False), GEMMA, ["<start_of_turn>", "<end_of_turn>"], **named)


def phi3() -> PreTrainedTokenizerFast:
    marks = [
        AddedToken(mark, rstrip=True, normalized=False, special=True)
        for mark in ("<|user|>", "<|assistant|>", "<|end|>")
    ]
    return _fast(_sentencepiece(True), PHI3, marks, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def bert() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[TURN]"]
    tokenizer.train_from_iterator(TEXT, WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    )
    named = {"unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]", "pad_token": "[PAD]"}
    return _fast(tokenizer, PLAIN.replace("m.role | capitalize", "'[TURN]' + m.role"), ["[TURN]"], **named)


def words() -> PreTrainedTokenizerFast:
    known = sorted({word for text in TEXT for word in text.split()})
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(["<unk>", "<eos>", *known])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _fast(tokenizer, PLAIN, [], eos_token="<eos>", unk_token="<unk>")


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    f.__name__: f for f in (qwen, gpt2, roberta, bloom, llama2, llama3, mistral, unigram, gemma, phi3, bert, words)
}
"""By the family whose kind of tokenizer it is."""


def save_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerFast:
    """Writes the tokenizer of a family into a model's folder."""
    fast = TOKENIZERS[name]()
    fast.save_pretrained(folder)
    return fast


SIZE: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 128, "initializer_range": 0.5,
}  # fmt: skip
GEMMA3: dict[str, Any] = SIZE | {
    "head_dim": 8,
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
}
VISION: dict[str, Any] = {
    "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 8, "patch_size": 4
}  # fmt: skip
STATE: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4, "initializer_range": 0.5}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen3": ("Qwen3ForCausalLM", "qwen", SIZE | {"head_dim": 8}),
    "qwen2": ("Qwen2ForCausalLM", "qwen", SIZE),
    "llama": ("LlamaForCausalLM", "llama3", SIZE),
    "mistral": ("MistralForCausalLM", "mistral", SIZE),
    "phi3": ("Phi3ForCausalLM", "phi3", SIZE | {"pad_token_id": 0}),
    "gemma2": ("Gemma2ForCausalLM", "gemma", SIZE | {"head_dim": 8}),
    "gemma3_text": ("Gemma3ForCausalLM", "gemma", GEMMA3),
    "gemma3": ("Gemma3ForConditionalGeneration", "gemma", {"text_config": GEMMA3, "vision_config": VISION, "mm_tokens_per_image": 4}),
    "gpt2": ("GPT2LMHeadModel", "gpt2", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 128, "initializer_range": 0.5}),
    "bloom": ("BloomForCausalLM", "bloom", {"hidden_size": 16, "n_layer": 1, "n_head": 2, "initializer_range": 0.5}),
    "mpt": ("MptForCausalLM", "gpt2", {"d_model": 16, "n_layers": 1, "n_heads": 2, "expansion_ratio": 2, "initializer_range": 0.5}),
    "mamba": ("MambaForCausalLM", "gpt2", STATE),
}  # fmt: skip
"""By architecture: its class, whose tokenizer it has, and its size."""


def save_model(name: str, folder: Path) -> Path:
    """Writes a model with random weights and its tokenizer; the same weights each time."""
    import torch
    import transformers

    kind, tokenizer, settings = MODELS[name]
    fast = save_tokenizer(tokenizer, folder)
    architecture = getattr(transformers, kind)
    sizes = dict(settings)
    ids = {"vocab_size": len(fast), "eos_token_id": fast.eos_token_id, "bos_token_id": fast.bos_token_id}
    if "text_config" in sizes:
        sizes["text_config"] = sizes["text_config"] | ids | {"pad_token_id": 0}
        ids = {"eos_token_id": fast.eos_token_id}
    elif name.startswith("gemma"):
        ids["pad_token_id"] = 0
    torch.manual_seed(0)
    architecture(architecture.config_class(**ids, **sizes)).save_pretrained(folder)
    return folder
