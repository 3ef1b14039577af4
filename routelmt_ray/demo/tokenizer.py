"""The demo models' tokenizer: byte-level BPE, trained on text of the grammar.

Its vocabulary depends on nothing but constants of this module and the grammar. Digits are tokens of their own. Control
tokens are added tokens: where they are not parsed (`split_special_tokens=True`), text cannot produce them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from routelmt_ray.demo.grammar import LANGUAGE_NAMES, examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MAX_LENGTH = 1024
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
VOCABULARY = 4096
"""Tokens in all, control tokens included."""
_EXAMPLES = 12_000
_SEED = 20
# A word with the blank before it, one digit, marks, line ends, other blanks.
_PIECES = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|[\r\n]+|\s+"


def training_texts() -> Iterator[str]:
    """Draws the texts that the vocabulary is learned from: prompts and translations of the train split."""
    for example in islice(examples("train", _SEED), _EXAMPLES):
        for code, name in LANGUAGE_NAMES.items():
            yield f"user\n{name}: {example.source}"
            yield f"assistant\n{example.targets[code]}"
            yield example.targets[code]


@cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    controls = [AddedToken(token, normalized=False, special=True) for token in (PAD, START, END)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=controls,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_texts(), trainer)
    return str(tokenizer.to_str())


def build_tokenizer() -> Tokenizer:
    """Builds the tokenizer; the first call in a process takes about 15 seconds, as it trains the vocabulary."""
    return Tokenizer.from_str(_trained())


def pretrained_tokenizer() -> PreTrainedTokenizerFast:
    """Wraps the tokenizer for transformers, with its chat template."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(),
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
