"""The demo models' tokenizer: whole words, with suffixes, digits and marks as attached pieces.

A word or root is one token, and each piece attached to it (`##,`, `##ën`, `##5`) is another, so that decoding puts
spaces where they were. Control tokens are added tokens outside the word list: where they are not parsed
(`split_special_tokens=True`), text cannot produce them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from routelmt_ray.demo import english, tamzhar, velmari
from routelmt_ray.demo.lexicon import load_lexicon

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

UNKNOWN = "<unk>"
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
ROLES = ("system", "user", "assistant")
MAX_LENGTH = 1024
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def vocabulary() -> list[str]:
    """Lists all word tokens in the order of their ids; the first is the unknown token."""
    lexicon = load_lexicon()
    words = [UNKNOWN, *ROLES, velmari.NAME, tamzhar.NAME]
    words += list(".,?!:'-$%()") + ["##" + mark for mark in ".,?!:'-$%()"]
    words += list("0123456789") + ["##" + digit for digit in "0123456789"] + ["##'s"]
    words += ["##" + suffix for suffix in velmari.SUFFIXES if suffix]
    words += [*english.FUNCTION_WORDS, *english.NUMBERS]
    words += [word.capitalize() for word in (*english.CAPITALISED, *english.NUMBERS)]
    words += [word for word in (*velmari.FUNCTION_WORDS, *tamzhar.FUNCTION_WORDS) if word]
    for lexeme in lexicon.lexemes:
        words += [lexeme.word, lexeme.other, lexeme.velmari, lexeme.tamzhar]
    return list(dict.fromkeys(words))


def build_tokenizer() -> Tokenizer:
    """Builds the tokenizer, with its control tokens after the words."""
    ids = {word: i for i, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN, continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (PAD, START, END)])
    return tokenizer


def pretrained_tokenizer() -> PreTrainedTokenizerFast:
    """Wraps the tokenizer for transformers, with its chat template."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(),
        unk_token=UNKNOWN,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
