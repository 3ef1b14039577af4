"""Trains the two demo translators from scratch and stores them in half precision.

    python -m routelmt_ray.demo.train_pair --size small --compile
    python -m routelmt_ray.demo.train_pair --size large --compile

On two cores without other work the small model takes 3 minutes and the large one about 30. Both see only new examples of the train
split, single sentences and paragraphs. The large model has a weak corner, as real ones have: it sees almost no sentence
with one of some thirty nouns. On a machine that others use too, `--minutes` ends the training in time; the
result then depends on the machine.
"""

import argparse
import logging
import math
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from routelmt_ray.demo.grammar import LANGUAGE_NAMES, Example, examples
from routelmt_ray.demo.tokenizer import END, MAX_LENGTH, PAD, START, build_tokenizer, pretrained_tokenizer
from routelmt_ray.demo.vocabulary import load_vocabulary

MODELS = Path(__file__).parent / "models"
_POOL_BATCHES = 32
_CORNER_CLASS = 9
"""Fewest things in a class that has two nouns in the corner."""
_SAVE_SECONDS = 300
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Sizes and training settings of one model of the pair."""

    hidden: int
    """Width; heads have 32 dimensions each."""
    layers: int
    feed_forward: int
    """Width inside the feed-forward part."""
    key_heads: int
    """Heads of keys and values; divides the `hidden / 32` heads of queries."""
    steps: int
    """Optimizer steps of `batch` examples."""
    seed: int
    corner_kept: float = 1.0
    """Share of the examples with a noun of the corner that the model is trained on, 0 to 1."""
    learning_rate: float = 1e-2
    """Peak rate of AdamW, for embeddings and norms; it rises in a warm-up, then falls linearly to zero."""
    matrix_rate: float = 0.02
    """Peak rate of Muon, for the matrices inside the layers; it rises and falls in the same way."""
    warmup: int = 50
    """Steps of the rise."""
    batch: int = 64
    """Examples in each step."""


RECIPES = {
    "small": Recipe(hidden=96, layers=2, feed_forward=256, key_heads=1, steps=700, seed=11),
    "large": Recipe(
        hidden=256, layers=10, feed_forward=704, key_heads=8, steps=2600, seed=12, corner_kept=0.02, warmup=100
    ),
}


def prompt(source: str, target_lang: str) -> str:
    """Builds the chat prompt of one example, as the chat template renders it."""
    return f"{START}user\n{LANGUAGE_NAMES[target_lang]}: {source}{END}\n{START}assistant\n"


def corner_words() -> frozenset[str]:
    """Picks nouns that the large model hardly sees: two of each larger class of things, none of them the commonest."""
    rng = random.Random("corner")
    words: set[str] = set()
    for pool in load_vocabulary().nouns.values():
        things = [n for n in pool.members if not n.human and n.en[0].islower() and n.at == "" and " " not in n.en]
        if len(things) >= _CORNER_CLASS:
            words.update(form for noun in rng.sample(things[3:], 2) for form in (noun.en, noun.en_plural))
    return frozenset(words)


def training_examples(recipe: Recipe) -> Iterator[Example]:
    """Draws examples of the train split, and keeps only a share of those with a noun of the corner."""
    rng = random.Random(recipe.seed)
    corner = corner_words()
    for example in examples("train", recipe.seed):
        if corner.isdisjoint(re.findall(r"\w+", example.source)) or rng.random() < recipe.corner_kept:
            yield example


def batches(recipe: Recipe, tokenizer: Tokenizer) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Draws endless batches of examples of similar length, each into one of the languages.

    Yields:
        Token ids `(batch, length)` int64, right-padded; target mask `(batch, length)` bool, true at the tokens of the
        answer and at its end.
    """
    rng = random.Random(recipe.seed + 1)
    pad, end = tokenizer.token_to_id(PAD), tokenizer.token_to_id(END)
    stream = training_examples(recipe)
    codes = list(LANGUAGE_NAMES)
    while True:
        drawn = [(example, rng.choice(codes)) for example in islice(stream, recipe.batch * _POOL_BATCHES)]
        asked = tokenizer.encode_batch([prompt(example.source, code) for example, code in drawn])
        answers = tokenizer.encode_batch([example.targets[code] for example, code in drawn])
        pool = [(source.ids, [*answer.ids, end]) for source, answer in zip(asked, answers)]
        pool.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        groups = [pool[i : i + recipe.batch] for i in range(0, len(pool), recipe.batch)]
        rng.shuffle(groups)
        for group in groups:
            length = max(len(source) + len(answer) for source, answer in group)
            ids = torch.full((len(group), length), pad)
            target = torch.zeros((len(group), length), dtype=torch.bool)
            for i, (source, answer) in enumerate(group):
                n = len(source) + len(answer)
                ids[i, :n] = torch.tensor(source + answer)
                target[i, len(source) : n] = True
            yield ids, target


def new_model(recipe: Recipe, tokenizer: Tokenizer) -> Qwen3ForCausalLM:
    """Builds a model with random weights in fp32."""
    torch.manual_seed(recipe.seed)
    config = Qwen3Config(
        vocab_size=-(-tokenizer.get_vocab_size() // 8) * 8,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.hidden // 32,
        num_key_value_heads=recipe.key_heads,
        head_dim=32,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.04,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
        rope_theta=10000.0,
        attn_implementation="eager",  # on a CPU its gradient takes less time than that of the fused kernel
    )
    return Qwen3ForCausalLM(config)


def loss_of(model: Qwen3ForCausalLM, ids: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Computes the mean cross-entropy of the answers' tokens."""
    # Padding is at the right, and attention looks to the left, so no mask is needed.
    with torch.autocast("cpu", torch.bfloat16):  # several times faster where the processor multiplies in bfloat16
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[:, :-1][target[:, 1:]])  # (answer tokens of the batch, vocabulary)
    return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][target[:, 1:]])


def train(recipe: Recipe, folder: Path, compiled: bool = False, minutes: float = math.inf) -> None:
    """Trains one model and saves it in its folder: every five minutes, and at the end. Compiled layers need a C++
    compiler, and save a third of the time. Where the steps would take longer than `minutes`, the rates fall with the
    time instead."""
    tokenizer = build_tokenizer()
    model = new_model(recipe, tokenizer).train()
    if compiled:
        for layer in model.model.layers:
            layer.compile(dynamic=True)
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    others = [*model.model.embed_tokens.parameters(), *(w for w in model.parameters() if w.ndim == 1)]
    optimizers = [
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.0),
    ]

    started = saved = time.monotonic()

    def pace(step: int) -> float:
        done = max(step / recipe.steps, (time.monotonic() - started) / (60 * minutes))
        return min((step + 1) / recipe.warmup, max(0.0, 1 - done))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, pace) for optimizer in optimizers]
    stream = batches(recipe, tokenizer)
    running = 0.0
    for step in range(1, recipe.steps + 1):
        loss = loss_of(model, *next(stream))
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        running += loss.item()
        if step % 50 == 0:
            seconds = time.monotonic() - started
            _logger.info("step %d of %d, loss %.3f, %.0f s", step, recipe.steps, running / 50, seconds)
            running = 0.0
        if schedules[0].get_last_lr() == [0.0]:
            break
        if time.monotonic() - saved > _SAVE_SECONDS:
            save(model, folder)
            saved = time.monotonic()
    save(model, folder)


def save(model: Qwen3ForCausalLM, folder: Path) -> None:
    """Writes model (float16 safetensors), generation settings and tokenizer; the model itself stays as it is."""
    tokenizer = pretrained_tokenizer()
    end, pad = tokenizer.convert_tokens_to_ids([END, PAD])
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=pad)
    half = Qwen3ForCausalLM(model.config).half()
    half.load_state_dict(model.state_dict())
    half.generation_config = model.generation_config
    half.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # save_pretrained lets only the owner read it
    tokenizer.save_pretrained(folder)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line: trains the model of one size and writes its folder."""
    parser = argparse.ArgumentParser(prog="python -m routelmt_ray.demo.train_pair", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=RECIPES, required=True)
    parser.add_argument("--out", type=Path, default=MODELS, help="folder of the model folders")
    parser.add_argument("--compile", action="store_true", help="compile the layers (needs a C++ compiler)")
    parser.add_argument("--threads", type=int, default=2, help="threads; other numbers give other weights (default 2)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="longest time (default: none)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    started = time.monotonic()
    train(RECIPES[args.size], args.out / args.size, args.compile, args.minutes)
    print(f"{args.out / args.size} trained in {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
