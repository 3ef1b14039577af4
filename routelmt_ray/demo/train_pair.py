"""Trains the two demo translators from scratch, in fp32 on one thread, and stores them in half precision.

    OMP_NUM_THREADS=1 python -m routelmt_ray.demo.train_pair --size small
    OMP_NUM_THREADS=1 python -m routelmt_ray.demo.train_pair --size large

Both see only new sentences of the train split. The large model has a weak corner, as real ones have: it sees almost no
sentence with one of 40 nouns.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from routelmt_ray.demo.corpus import examples
from routelmt_ray.demo.grammar import LANGUAGE_NAMES, Example
from routelmt_ray.demo.lexicon import DOMAINS, load_lexicon
from routelmt_ray.demo.tokenizer import END, MAX_LENGTH, PAD, START, build_tokenizer, pretrained_tokenizer

MODELS = Path(__file__).parent / "models"
_POOL_BATCHES = 32
_WARMUP_STEPS = 40
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How one model is built and trained."""

    hidden: int
    """Width; heads have 32 dimensions each."""
    layers: int
    steps: int
    """Optimizer steps of `batch` sentences."""
    learning_rate: float
    """Peak rate of AdamW, for embeddings and norms; it rises in a short warm-up, then falls linearly to a twentieth."""
    corner_kept: float
    """Share of the sentences with a corner noun that the model is trained on, 0 to 1."""
    seed: int
    matrix_rate: float = 0.02
    """Peak rate of Muon, for the matrices inside the layers; it rises and falls in the same way."""
    batch: int = 64
    """Sentences in each step."""


RECIPES = {
    "small": Recipe(hidden=96, layers=2, steps=530, learning_rate=1.5e-2, corner_kept=1.0, seed=11),
    "large": Recipe(hidden=192, layers=3, steps=1500, learning_rate=1e-2, corner_kept=0.015, seed=12),
}


def corner_words() -> frozenset[str]:
    """Picks both English forms of the 40 corner nouns: five of each domain, neither the commonest nor the rarest."""
    rng = random.Random("corner")
    words: set[str] = set()
    for domain in DOMAINS:
        nouns = load_lexicon().pool("thing", domain).lexemes
        for rank in rng.sample(range(6, 40), 5):
            words |= {nouns[rank].word, nouns[rank].other}
    return frozenset(words)


def prompt(source: str, target_lang: str) -> str:
    """Builds the chat prompt of one sentence, as the chat template renders it."""
    return f"{START}user\n{LANGUAGE_NAMES[target_lang]}: {source}{END}\n{START}assistant\n"


def training_examples(recipe: Recipe) -> Iterator[Example]:
    """Draws examples of the train split, and keeps only a share of those with a corner noun."""
    rng = random.Random(recipe.seed)
    corner = corner_words()
    for example in examples("train", recipe.seed):
        if corner.isdisjoint(example.source.rstrip(".?").replace(",", "").split()) or rng.random() < recipe.corner_kept:
            yield example


def batches(recipe: Recipe, tokenizer: Tokenizer) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Draws endless batches of sentences of similar length.

    Yields:
        Token ids `(batch, length)` int64, right-padded; attention mask `(batch, length)`; target mask
        `(batch, length)` bool, true at the tokens of the answer and at its end.
    """
    rng = random.Random(recipe.seed + 1)
    pad, end = tokenizer.token_to_id(PAD), tokenizer.token_to_id(END)
    stream = training_examples(recipe)
    codes = list(LANGUAGE_NAMES)
    while True:
        pool = []
        for _ in range(recipe.batch * _POOL_BATCHES):
            example = next(stream)
            code = rng.choice(codes)
            source = tokenizer.encode(prompt(example.source, code)).ids
            pool.append((source, [*tokenizer.encode(example.targets[code]).ids, end]))
        pool.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        groups = [pool[i : i + recipe.batch] for i in range(0, len(pool), recipe.batch)]
        rng.shuffle(groups)
        for group in groups:
            length = max(len(source) + len(answer) for source, answer in group)
            ids = torch.full((len(group), length), pad)
            attention = torch.zeros((len(group), length), dtype=torch.long)
            target = torch.zeros((len(group), length), dtype=torch.bool)
            for i, (source, answer) in enumerate(group):
                n = len(source) + len(answer)
                ids[i, :n] = torch.tensor(source + answer)
                attention[i, :n] = 1
                target[i, len(source) : n] = True
            yield ids, attention, target


def new_model(recipe: Recipe, tokenizer: Tokenizer) -> Qwen3ForCausalLM:
    """Builds a model with random weights in fp32."""
    torch.manual_seed(recipe.seed)
    config = Qwen3Config(
        vocab_size=-(-tokenizer.get_vocab_size() // 8) * 8,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.hidden * 8 // 3 // 32 * 32,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.hidden // 32,
        num_key_value_heads=recipe.hidden // 32,
        head_dim=32,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.04,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
        rope_theta=10000.0,
    )
    return Qwen3ForCausalLM(config)


def train(recipe: Recipe) -> Qwen3ForCausalLM:
    """Trains one model; only the tokens of the answer count in the loss."""
    tokenizer = build_tokenizer()
    model = new_model(recipe, tokenizer).train()
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    others = [*model.model.embed_tokens.parameters(), *(w for w in model.parameters() if w.ndim == 1)]
    # Muon instead of AdamW for the matrices: a third less loss after the same 300 steps.
    optimizers = [
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.0),
    ]

    def pace(step: int) -> float:
        return min((step + 1) / _WARMUP_STEPS, 1 - 0.95 * step / recipe.steps)

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, pace) for optimizer in optimizers]
    stream = batches(recipe, tokenizer)
    started, running = time.monotonic(), 0.0
    for step in range(1, recipe.steps + 1):
        ids, attention, target = next(stream)
        hidden = model.model(input_ids=ids, attention_mask=attention).last_hidden_state
        logits = model.lm_head(hidden[:, :-1][target[:, 1:]])  # (answer tokens of the batch, vocabulary)
        loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:][target[:, 1:]])
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        running += loss.item()
        if step % 50 == 0:
            _logger.info(
                "step %d of %d, loss %.3f, %.0f s",
                step,
                recipe.steps,
                running / 50,
                time.monotonic() - started,
            )
            running = 0.0
    return model.eval()


def save(model: Qwen3ForCausalLM, folder: Path) -> None:
    """Writes model (float16 safetensors), generation settings and tokenizer."""
    tokenizer = pretrained_tokenizer()
    end, pad = tokenizer.convert_tokens_to_ids([END, PAD])
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=pad)
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # save_pretrained lets only the owner read it
    tokenizer.save_pretrained(folder)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line: trains the model of one size and writes its folder."""
    parser = argparse.ArgumentParser(prog="python -m routelmt_ray.demo.train_pair", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=RECIPES, required=True)
    parser.add_argument("--out", type=Path, default=MODELS, help="folder of the model folders")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    started = time.monotonic()
    save(train(RECIPES[args.size]), args.out / args.size)
    print(f"{args.out / args.size} trained in {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
