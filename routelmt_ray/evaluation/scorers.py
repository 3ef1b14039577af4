"""Scorers with one protocol: each gives labelled rows a float32 score; the highest scores are routed first.

A scorer says whether its score is in units of gain, what it costs for each row, and whether it needs the small model's
output on every row first (a cascade). The scorers in this module need no model; :mod:`routelmt_ray.evaluation.suite`
lists all scorers.
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
"""Scorers that give every row the same score."""


class Unavailable(Exception):
    """The set has no data of a kind that a scorer needs; the reason goes into the report."""


@dataclass(frozen=True)
class Parts:
    """The rows that a scorer may look at."""

    rows: Labelled
    """Rows to score; only the oracles may use their labels."""
    fit: Labelled | None
    """Rows to fit on; None where there are none."""
    stop: Labelled | None
    """Rows to choose a penalty on; None where there are none."""
    calibrate: Labelled | None = None
    """Rows to calibrate scores to gain on, which nothing else is fitted on; None where there are none."""

    def to_fit(self) -> tuple[Labelled, Labelled]:
        """Returns the rows to fit on, and those to choose a penalty on.

        Raises:
            Unavailable: there are none.
        """
        if self.fit is None or self.stop is None:
            raise Unavailable("there are no rows to fit it on")
        return self.fit, self.stop

    def small_translations(self) -> list[str | None]:
        """Returns the small model's output for each row to score.

        Raises:
            Unavailable: the set does not have them.
        """
        if "small_translation" not in self.rows.texts:
            raise Unavailable("the set has no column small_translation")
        return self.rows.texts["small_translation"]


@dataclass(frozen=True)
class Scored:
    """One score of all rows, with facts about the scorer."""

    name: str
    """Name in tables and files."""
    title: str
    score: np.ndarray
    """Shape (rows,), float32; NaN where a row could not be scored."""
    unit: str = RANK
    """`gain`: a prediction in units of gain, which can be divided by a cost; `rank`: anything else."""
    family: str = BASELINE
    """`router`, `baseline` or `oracle`."""
    seconds: float = 0.0
    """Measured device seconds for each row."""
    cascade: bool = False
    """True where the small model must translate every row before the score is known."""
    note: str = ""
    """Description of the scorer, in a few words."""
    quality: np.ndarray | None = None
    """The same model's prediction of the small model's quality, for the quality-predict guard."""
    gain: np.ndarray | None = None
    """The score calibrated to gain, shape (rows,), float64; None where it is in units of gain or orders no rows."""
    calibrated: str = ""
    """Kind of calibration and its rows, in words; empty where `gain` is None."""


def device_clock(on_gpu: bool) -> DeviceClock:
    """Starts to count the device-seconds that a scorer takes, in the unit of labels and budgets.

    Args:
        on_gpu: True counts wall seconds of one GPU; False counts CPU seconds, which other work on the machine does not
            change.
    """
    return DeviceClock(1.0 if on_gpu else 0.0)


class Scorer(Protocol):
    """Turns labelled rows into one score or several."""

    @property
    def titles(self) -> Mapping[str, str]:
        """Title of each score that it gives, by name."""

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores the rows.

        Raises:
            Unavailable: the set lacks what it needs.
        """
        ...


class Random:
    """A random order: every row has the same score, and ties are measured by their expectation."""

    titles: ClassVar[dict[str, str]] = {"random": "Random"}

    def __call__(self, parts: Parts) -> list[Scored]:
        return [
            Scored("random", "Random", np.zeros(len(parts.rows), np.float32), note="a random order, in expectation")
        ]


class Constant:
    """The same gain in every row: a random order in calls, and the cheapest rows first where rows cost unequally."""

    titles: ClassVar[dict[str, str]] = {"constant": "Constant gain"}

    def __call__(self, parts: Parts) -> list[Scored]:
        note = "the same gain in every row: divided by the cost, the cheapest rows first"
        return [Scored("constant", "Constant gain", np.ones(len(parts.rows), np.float32), GAIN, note=note)]


class Length:
    """Length of the source in characters."""

    titles: ClassVar[dict[str, str]] = {"length": "Source length"}

    def __call__(self, parts: Parts) -> list[Scored]:
        score = np.array([len(s) for s in parts.rows.sources], np.float32)
        return [Scored("length", "Source length", score, note="characters of the source")]


class TokenLength:
    """Length of the source in tokens of the small model."""

    titles: ClassVar[dict[str, str]] = {"tokens": "Source tokens"}

    def __call__(self, parts: Parts) -> list[Scored]:
        if "source_tokens" not in parts.rows.numbers:
            raise Unavailable("the set has no column source_tokens")
        score = parts.rows.numbers["source_tokens"].astype(np.float32)
        return [Scored("tokens", "Source tokens", score, note="tokens of the source")]


class Rarity:
    """Unigram rarity of the source: of its rarest word, and of its words on average."""

    titles: ClassVar[dict[str, str]] = {"rarest_word": "Rarest word", "mean_rarity": "Mean rarity"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores rows by minus the logarithm of word frequencies, counted over the sources of the labelled set."""
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
    """A score that the labelled set has as a column."""

    def __init__(self, name: str, unit: str) -> None:
        self._name, self._unit = name, unit
        self.titles = {f"column:{name}": f"Column {name}"}

    def __call__(self, parts: Parts) -> list[Scored]:
        if self._name not in parts.rows.numbers:
            raise Unavailable(f"the set has no column {self._name}")
        name, title = next(iter(self.titles.items()))
        score = parts.rows.numbers[self._name].astype(np.float32)
        return [Scored(name, title, score, self._unit, note="a column of the set")]


class Oracles:
    """Scores that no real scorer can know: the true gain, and the small model's true quality."""

    titles: ClassVar[dict[str, str]] = {"gain_oracle": "Gain oracle", "quality_oracle": "Quality oracle"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores rows by true gain, and by minus the true quality of the small model."""
        gain = parts.rows.gain.astype(np.float32)
        found = [Scored("gain_oracle", "Gain oracle", gain, GAIN, ORACLE, note="the true gain")]
        if parts.rows.quality_small is not None:
            quality = -parts.rows.quality_small.astype(np.float32)
            note = "lowest true quality of the small model first"
            found.append(Scored("quality_oracle", "Quality oracle", quality, RANK, ORACLE, note=note))
        return found


def words(text: str) -> Sequence[str]:
    """Splits a text into case-folded runs of letters and digits; into characters where words are not spaced."""
    spaced = "".join(c if c.isalnum() or _joins(c) else " " for c in text.casefold())
    return [piece for word in spaced.split() for piece in (word if _unspaced(word) else [word])]


def _joins(char: str) -> bool:
    return char in "'’-"


def _unspaced(word: str) -> bool:
    """Tells whether a word is in a script without blanks between words, such as Chinese, Japanese or Thai."""
    return any("\u0e00" <= c <= "\u0eff" or "\u3040" <= c <= "\u9fff" or "\u1000" <= c <= "\u109f" for c in word)
