"""The synchronous grammar: one thought, said in English, Spanish and German.

    python -m routelmt_ray.demo.grammar --rows 20 --seed 0

The hash of an English sentence decides its split, so that train, dev and test never share one, for any seeds, not even
inside of paragraphs.
"""

import argparse
import hashlib
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from routelmt_ray.demo import english_text, german, spanish
from routelmt_ray.demo.compose import DOMAINS, Composer
from routelmt_ray.demo.stories import Narrator
from routelmt_ray.demo.thought import Sentence

SOURCE_LANG = "en"
LANGUAGE_NAMES = {"es": "Spanish", "de": "German"}
"""Names of the target languages in prompts, by their codes."""
SPLITS = ("train", "dev", "test")
_DOMAIN_WEIGHTS = (8, 7, 6, 6, 5, 4, 4, 4)
_PARAGRAPHS = 0.25


@dataclass(frozen=True)
class Example:
    """One meaning in all three languages."""

    domain: str
    source: str
    targets: dict[str, str]
    """Reference by target code."""


def split_of(sentence: str) -> str:
    """Computes the split of an English sentence from its hash; each gets a third."""
    return SPLITS[hashlib.sha256(sentence.encode()).digest()[0] % 3]


class Grammar:
    """An endless, seeded stream of examples.

    Args:
        seed: The same seed gives the same examples in every process.
        paragraphs: Share of examples of several sentences, between 0 and 1.
        split: One of `SPLITS` that every sentence is of; empty for all.
    """

    def __init__(self, seed: int, paragraphs: float = _PARAGRAPHS, split: str = "") -> None:
        if not 0 <= paragraphs <= 1:
            raise ValueError(f"paragraphs: must be between 0 and 1, got {paragraphs}")
        self._rng = random.Random(seed)
        self._composer = Composer(self._rng)
        self._narrator = Narrator(self._composer.drawer)
        self._paragraphs = paragraphs
        self._split = split

    def _accepts(self, thought: Sentence) -> bool:
        return not self._split or split_of(english_text.say(thought)) == self._split

    def example(self) -> Example:
        """Draws the next example."""
        domain = self._rng.choices(DOMAINS, _DOMAIN_WEIGHTS)[0]
        if self._rng.random() < self._paragraphs:
            thoughts = self._narrator.paragraph(domain, accept=self._accepts)
        else:
            thoughts = [self._composer.sentence(domain)]
            while not self._accepts(thoughts[0]):
                thoughts = [self._composer.sentence(domain)]
        source = " ".join(english_text.say(thought) for thought in thoughts)
        targets = {
            "es": " ".join(spanish.say(thought) for thought in thoughts),
            "de": " ".join(german.say(thought) for thought in thoughts),
        }
        return Example(domain, source, targets)

    def __iter__(self) -> Iterator[Example]:
        while True:
            yield self.example()


def examples(split: str, seed: int, paragraphs: float = _PARAGRAPHS) -> Iterator[Example]:
    """Draws endless distinct examples of one split. Raises ValueError if `split` is not one of `SPLITS`."""
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    seen: set[str] = set()
    for example in Grammar(seed, paragraphs, split):
        if example.source not in seen:
            seen.add(example.source)
            yield example


def main(argv: list[str] | None = None) -> int:
    """Runs the command line: prints examples to read."""
    parser = argparse.ArgumentParser(prog="python -m routelmt_ray.demo.grammar", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20, help="examples (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the grammar (default 0)")
    parser.add_argument(
        "--paragraphs", type=float, default=_PARAGRAPHS, help="share of several sentences (default %(default)s)"
    )
    args = parser.parse_args(argv)
    for i, example in zip(range(args.rows), Grammar(args.seed, args.paragraphs)):
        print(f"{i} {example.source}\n  {example.targets['es']}\n  {example.targets['de']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
