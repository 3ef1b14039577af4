"""Scorers behind one protocol: each turns labelled rows into one float32 a row, the higher the sooner it is routed.

A scorer says whether its score is in units of gain, what it costs for each row, and whether it needs the small model's
output everywhere first (a cascade). Those here need no model; :mod:`routelmt_ray.evaluation.suite` lists them all.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.runtime.metering import DeviceClock

GAIN, RANK = "gain", "rank"
ROUTER, BASELINE, ORACLE = "router", "baseline", "oracle"
NO_ORDER = frozenset({"random", "constant"})
"""Scorers that score every row alike."""


@dataclass(frozen=True)
class Parts:
    """What a scorer may look at."""

    rows: Labelled
    """Rows to score; their labels are for the oracles alone."""
    fit: Labelled | None
    """Rows to fit on; None where there are none."""
    stop: Labelled | None
    """Rows to choose a penalty on."""
    calibrate: Labelled | None = None
    """Rows to calibrate scores to gain on, which nothing else is fitted on; None where there are none."""


@dataclass(frozen=True)
class Scored:
    """What a scorer said of the rows."""

    name: str
    """Name in tables and files."""
    title: str
    """Name in the report."""
    score: np.ndarray
    """Shape (rows,), float32; NaN where it could not say."""
    unit: str = RANK
    """`gain`: a prediction in units of gain, which can be divided by a cost; `rank`: anything else."""
    family: str = BASELINE
    """`router`, `baseline` or `oracle`."""
    seconds: float = 0.0
    """Measured device seconds a row."""
    cascade: bool = False
    """Decodes the small model on every row before it can say."""
    note: str = ""
    """What it is, in a few words."""
    quality: np.ndarray | None = None
    """The same model's prediction of the small model's quality, for the quality-predict guard."""
    gain: np.ndarray | None = None
    """The score calibrated to gain, shape (rows,), float64; None where it is in units of gain, or has no worth to speak of."""
    calibrated: str = ""
    """How, and on which rows, in words; empty where `gain` is None."""


class Unavailable(Exception):
    """The set lacks what a scorer needs; the reason goes into the report."""


def device_clock(on_gpu: bool) -> DeviceClock:
    """Starts to count the device-seconds a scorer takes, in the unit in which labels and budgets have them.

    Args:
        on_gpu: counts wall seconds of one GPU; else CPU seconds, which other work on the machine does not change.
    """
    return DeviceClock(1.0 if on_gpu else 0.0)


class Scorer(Protocol):
    """One model, and the scores it gives."""

    @property
    def titles(self) -> Mapping[str, str]:
        """Title by name of each score it gives."""

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores the rows.

        Raises:
            Unavailable: the set lacks what it needs.
        """
        ...


class Random:
    """A random order, in expectation: every row the same score, ties being taken in expectation."""

    titles: ClassVar[dict[str, str]] = {"random": "Random"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Zeros."""
        return [
            Scored("random", "Random", np.zeros(len(parts.rows), np.float32), note="a random order, in expectation")
        ]


class Constant:
    """The same gain in every row: a random order in calls, the cheapest rows first where rows cost unequally."""

    titles: ClassVar[dict[str, str]] = {"constant": "Constant gain"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Ones."""
        note = "the same gain in every row: divided by the cost, the cheapest rows first"
        return [Scored("constant", "Constant gain", np.ones(len(parts.rows), np.float32), GAIN, note=note)]


class Length:
    """Length of the source in characters and, where the set has it, in tokens."""

    titles: ClassVar[dict[str, str]] = {"length": "Source length"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Characters."""
        score = np.array([len(s) for s in parts.rows.sources], np.float32)
        return [Scored("length", "Source length", score, note="characters of the source")]


class TokenLength:
    """Length of the source in tokens of the small model."""

    titles: ClassVar[dict[str, str]] = {"tokens": "Source tokens"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """The column source_tokens."""
        if "source_tokens" not in parts.rows.numbers:
            raise Unavailable("the set has no column source_tokens")
        score = parts.rows.numbers["source_tokens"].astype(np.float32)
        return [Scored("tokens", "Source tokens", score, note="tokens of the source")]


class Rarity:
    """Unigram rarity of the source: of its rarest word, and of its words on average."""

    titles: ClassVar[dict[str, str]] = {"rarest_word": "Rarest word", "mean_rarity": "Mean rarity"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Minus the logarithm of a word's frequency, counted over the sources of the labelled set itself."""
        documents = [words(s) for part in (parts.rows, parts.fit, parts.stop) if part for s in part.sources]
        counts = Counter(word for words in documents for word in words)
        total = sum(counts.values())
        rarity = {word: np.log(total / n) for word, n in counts.items()}
        scored = [[rarity[w] for w in words] or [0.0] for words in documents[: len(parts.rows)]]
        counted = "unigram frequencies of the labelled sources"
        return [
            Scored("rarest_word", "Rarest word", np.array([max(r) for r in scored], np.float32), note=counted),
            Scored("mean_rarity", "Mean rarity", np.array([np.mean(r) for r in scored], np.float32), note=counted),
        ]


class Column:
    """A score the set brings."""

    def __init__(self, name: str, unit: str) -> None:
        """Args: the column, and `gain` or `rank`."""
        self._name, self._unit = name, unit
        self.titles = {f"column:{name}": f"Column {name}"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """The column as it is."""
        if self._name not in parts.rows.numbers:
            raise Unavailable(f"the set has no column {self._name}")
        name, title = next(iter(self.titles.items()))
        score = parts.rows.numbers[self._name].astype(np.float32)
        return [Scored(name, title, score, self._unit, note="a column of the set")]


class Oracles:
    """What no scorer can know: the true gain, and the small model's true quality."""

    titles: ClassVar[dict[str, str]] = {"gain_oracle": "Gain oracle", "quality_oracle": "Quality oracle"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """True gain, and minus the true quality of the small model."""
        gain = parts.rows.gain.astype(np.float32)
        found = [Scored("gain_oracle", "Gain oracle", gain, GAIN, ORACLE, note="the true gain")]
        if parts.rows.quality_small is not None:
            quality = -parts.rows.quality_small.astype(np.float32)
            note = "lowest true quality of the small model first"
            found.append(Scored("quality_oracle", "Quality oracle", quality, RANK, ORACLE, note=note))
        return found


def words(text: str) -> Sequence[str]:
    """Words of a text: runs of letters and digits, case folded; single characters where words are not spaced."""
    spaced = "".join(c if c.isalnum() or _joins(c) else " " for c in text.casefold())
    return [piece for word in spaced.split() for piece in (word if _unspaced(word) else [word])]


def _joins(char: str) -> bool:
    return char in "'’-"


def _unspaced(word: str) -> bool:
    """Chinese, Japanese, Thai and the like, which put no blanks between words."""
    return any("\u0e00" <= c <= "\u0eff" or "\u3040" <= c <= "\u9fff" or "\u1000" <= c <= "\u109f" for c in word)
