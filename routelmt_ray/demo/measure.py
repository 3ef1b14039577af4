"""What the demo pair does: translations, gains and prompt states of grammar rows, on one thread.

Small and self-contained on purpose: it serves the scripts that make and check the shipped models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sacrebleu.metrics import CHRF
from transformers import AutoModelForCausalLM, AutoTokenizer, BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from routelmt_ray.demo.train_pair import prompt

Rows = list[dict[str, str]]
Pair = dict[str, tuple[PreTrainedModel, PreTrainedTokenizerBase]]
"""Model and tokenizer by size, `small` and `large`."""


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A demo model in fp32 with its tokenizer (left padding)."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder, padding_side="left")


def _batches(rows: Rows, tokenizer: PreTrainedTokenizerBase, size: int) -> Iterator[tuple[list[int], BatchEncoding]]:
    """Row numbers and left-padded prompts, of similar length within a batch."""
    prompts = [prompt(row["source"], row["target_lang"]) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
    for first in range(0, len(rows), size):
        chosen = order[first : first + size]
        yield chosen, tokenizer([prompts[i] for i in chosen], return_tensors="pt", padding=True)


@torch.inference_mode()
def translate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Rows, batch: int = 64) -> list[str]:
    """Greedy translations in row order, at most twice as many new tokens as the prompt has."""
    texts = [""] * len(rows)
    for chosen, inputs in _batches(rows, tokenizer, batch):
        length = inputs["input_ids"].shape[1]
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=2 * length,
            do_sample=False,
        )
        for i, text in zip(chosen, tokenizer.batch_decode(output[:, length:], skip_special_tokens=True), strict=True):
            texts[i] = text
    return texts


@torch.inference_mode()
def prompt_states(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Rows, batch: int = 64
) -> np.ndarray:
    """State of the last prompt token after the final norm.

    Returns:
        float32 array `(rows, hidden)`.
    """
    states = np.zeros((len(rows), model.config.hidden_size), dtype=np.float32)
    for chosen, inputs in _batches(rows, tokenizer, batch):
        hidden = model.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        states[chosen] = hidden.last_hidden_state[:, -1].numpy()
    return states


def chrf(hypotheses: list[str], rows: Rows) -> np.ndarray:
    """Sentence chrF of each hypothesis on the 0-1 scale, float64 `(rows,)`."""
    metric = CHRF()
    return np.array(
        [
            metric.sentence_score(hypothesis, [row["reference"]]).score / 100
            for hypothesis, row in zip(hypotheses, rows, strict=True)
        ]
    )


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank."""

    def ranks(x: np.ndarray) -> np.ndarray:
        _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def hit_rate(score: np.ndarray, gain: np.ndarray, share: float = 0.3) -> float:
    """Share of the top gains among the top scores (ties by row order)."""
    k = int(share * len(gain))
    return len(np.intersect1d(np.argsort(-score, kind="stable")[:k], np.argsort(-gain, kind="stable")[:k])) / k
