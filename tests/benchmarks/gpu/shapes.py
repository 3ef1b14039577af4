"""Causal language models by their sizes: random weights of the true shapes, operations of a prefill, bytes of a step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModelForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast, Qwen3Config

PAD, END = 0, 1
"""Token ids of padding and of the end of an answer."""
FIRST_WORD = 2
"""First token id that is no control token."""
_GEMMA_FULL_EVERY = 6
"""In Gemma 3 one layer of six reads the whole context, the others a window."""


@dataclass(frozen=True)
class Shape:
    """The sizes of one model."""

    name: str
    family: str
    """`qwen3` or `gemma3`."""
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool = True
    """True where the projection to the vocabulary is the table of embeddings."""
    window: int | None = None
    """Tokens that a windowed layer reads (`gemma3`)."""

    def config(self) -> Any:
        """Builds the configuration for transformers."""
        sizes: dict[str, Any] = {
            "hidden_size": self.hidden, "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head_dim, "intermediate_size": self.intermediate,
            "vocab_size": self.vocabulary, "tie_word_embeddings": self.tied, "max_position_embeddings": 8192,
            "pad_token_id": PAD, "bos_token_id": END, "eos_token_id": END,
        }  # fmt: skip
        if self.family == "qwen3":
            return Qwen3Config(**sizes)
        return Gemma3TextConfig(**sizes, sliding_window=self.window)

    @property
    def layer_weights(self) -> int:
        """Number of weights that a token is multiplied with in all layers, norms left out."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head_weights(self) -> int:
        """Number of weights of the projection to the vocabulary."""
        return self.hidden * self.vocabulary

    def prefill_flops(self, lengths: Sequence[int]) -> float:
        """Counts the operations of reading prompts, without padding and without the projection to the vocabulary.

        Args:
            lengths: tokens of each prompt.
        """
        tokens = np.asarray(lengths, float)
        pairs = float(
            (tokens * (tokens + 1) / 2).sum()
        )  # each token reads itself and those before it; windows left out
        return 2 * self.layer_weights * float(tokens.sum()) + 4 * self.layers * self.heads * self.head_dim * pairs

    def decode_bytes(self, lengths: Sequence[int], new_tokens: int, item_bytes: int) -> float:
        """Counts the fewest bytes that a batch must read to decode, its prefill and first token left out.

        Each step reads all weights once, and the keys and values of every row without padding.

        Args:
            lengths: prompt tokens of each row.
            new_tokens: tokens of each answer; the first comes from the prefill.
            item_bytes: bytes of a weight.
        """
        steps = np.arange(1, new_tokens)
        context = np.asarray(lengths)[:, None] + steps[None, :]
        full = self.layers // _GEMMA_FULL_EVERY if self.window else self.layers
        read = full * float(context.sum())
        if self.window:
            read += (self.layers - full) * float(np.minimum(context, self.window).sum())
        weights = (self.layer_weights + self.head_weights) * len(steps)
        return item_bytes * (weights + 2 * self.kv_heads * self.head_dim * read)


def random_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    """Makes a model with random weights, the same each time, on a device.

    Args:
        shape: its sizes.
        device: where the weights are made; nothing passes through the memory of the host.
        dtype: their type.
    """
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(shape.config(), dtype=dtype).eval()


@contextmanager
def whole_or_not(folder: Path) -> Iterator[Path]:
    """Gives the name of a folder to fill, which gets its real name at the end: a part can be cut at any time."""
    temporary = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    yield temporary
    temporary.rename(folder)


def write_tokenizer(shape: Shape, folder: Path) -> None:
    """Writes a tokenizer whose tokens are words `t<number>`, as many as the model has embeddings."""
    words = {"<pad>": PAD, "<end>": END} | {f"t{i}": i for i in range(FIRST_WORD, shape.vocabulary)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    fast.save_pretrained(folder)


def write_model(shape: Shape, folder: Path, device: torch.device, dtype: torch.dtype) -> Path:
    """Writes random weights (safetensors) and a tokenizer, as a model of the hub lies in its folder; returns the folder."""
    if not folder.exists():
        model = random_model(shape, device, dtype)
        with whole_or_not(folder) as temporary:
            write_tokenizer(shape, temporary)
            model.save_pretrained(temporary)
    return folder


QWEN_06 = Shape("qwen3-0.6b", "qwen3", 1024, 28, 16, 8, 128, 3072, 151_936)
QWEN_17 = Shape("qwen3-1.7b", "qwen3", 2048, 28, 16, 8, 128, 6144, 151_936)
QWEN_8 = Shape("qwen3-8b", "qwen3", 4096, 36, 32, 8, 128, 12_288, 151_936, tied=False)
GEMMA_1 = Shape("gemma3-1b", "gemma3", 1152, 26, 4, 1, 256, 6912, 262_144, window=512)
GEMMA_27 = Shape("gemma3-27b", "gemma3", 5376, 62, 32, 16, 128, 21_504, 262_208, window=1024)
TOY_SMALL = Shape("toy-small", "gemma3", 32, 2, 2, 1, 16, 64, 300, window=24)
TOY_LARGE = Shape("toy-large", "qwen3", 48, 5, 4, 2, 16, 128, 300, tied=False)
"""What the embedded pair has not: windows of attention, and a separate projection to the vocabulary."""
