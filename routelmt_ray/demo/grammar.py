"""The synchronous grammar: one meaning, three sentences (English, Velmari, Tamzhar).

>>> from routelmt_ray.demo.grammar import InventedGrammar
>>> InventedGrammar(seed=0).example().source  # doctest: +SKIP
'The old driver will not cancel the ticket that Anna bought in Vienna.'
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from routelmt_ray.demo import english, tamzhar, velmari
from routelmt_ray.demo.derive import Deriver
from routelmt_ray.demo.lexicon import DOMAINS, load_lexicon

SOURCE_LANG = "en"
LANGUAGE_NAMES = {"qaa": velmari.NAME, "qab": tamzhar.NAME}
"""Names of the target languages in prompts, by their codes, which BCP-47 reserves for private use."""

_DOMAIN_WEIGHTS = (8, 7, 6, 6, 5, 4, 4, 3)


@dataclass(frozen=True)
class Example:
    """One meaning in all three languages."""

    domain: str
    source: str
    targets: dict[str, str]
    """Reference by target code."""


class InventedGrammar:
    """An endless, seeded stream of examples.

    Args:
        seed: The same seed gives the same examples in every process.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._deriver = Deriver(load_lexicon(), self._rng)

    def example(self) -> Example:
        """Draws the next example."""
        domain = self._rng.choices(DOMAINS, _DOMAIN_WEIGHTS)[0]
        sentence = self._deriver.sentence(domain)
        targets = {"qaa": velmari.render(sentence), "qab": tamzhar.render(sentence)}
        return Example(domain, english.render(sentence), targets)

    def __iter__(self) -> Iterator[Example]:
        while True:
            yield self.example()
