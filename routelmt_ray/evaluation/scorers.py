"""Scorers with one protocol: each gives labelled rows a float32 score; the highest scores are routed first.

A scorer says whether its score is in units of gain, what it costs for each row, and whether it needs the small model's
output on every row first (a cascade). The scorers in this module need no model; :mod:`routelmt_ray.evaluation.suite`
lists all scorers.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
        """Returns the rows to fit on, and those to choose a penalty on; raises Unavailable where there are none."""
        if self.fit is None or self.stop is None:
            raise Unavailable("there are no rows to fit it on")
        return self.fit, self.stop

    def small_translations(self) -> list[str | None]:
        """Returns the small model's output for each row to score; raises Unavailable where the set has none."""
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
    """Starts to count the device-seconds of a scorer: wall seconds of a GPU, or CPU seconds, which other work does not change."""
    return DeviceClock(1.0 if on_gpu else 0.0)


class Scorer(Protocol):
    """Turns labelled rows into one score or several."""

    @property
    def titles(self) -> Mapping[str, str]:
        """Title of each score that it gives, by name."""

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores the rows; raises Unavailable where the set lacks what it needs."""
        ...


@dataclass(frozen=True)
class Formula:
    """One score that is computed from the rows themselves, without a model."""

    name: str
    title: str
    note: str
    score: Callable[[Labelled], np.ndarray]
    """Computes the score of each row, shape (rows,)."""
    unit: str = RANK

    @property
    def titles(self) -> Mapping[str, str]:
        return {self.name: self.title}

    def __call__(self, parts: Parts) -> list[Scored]:
        score = self.score(parts.rows).astype(np.float32)
        return [Scored(self.name, self.title, score, self.unit, note=self.note)]


def column(name: str, unit: str) -> Formula:
    """Makes a scorer of a column that the labelled set has; `unit` is `gain` or `rank`."""
    return Formula(f"column:{name}", f"Column {name}", "a column of the set", partial(_column, name), unit)


def _column(name: str, rows: Labelled) -> np.ndarray:
    if name not in rows.numbers:
        raise Unavailable(f"the set has no column {name}")
    return rows.numbers[name]


RANDOM = Formula("random", "Random", "a random order, in expectation", lambda rows: np.zeros(len(rows)))
"""A random order: every row has the same score, and ties are measured by their expectation."""
CONSTANT = Formula(
    "constant", "Constant gain", "the same gain in every row: divided by the cost, the cheapest rows first",
    lambda rows: np.ones(len(rows)), GAIN,
)  # fmt: skip
LENGTH = Formula("length", "Source length", "characters of the source", lambda rows: rows.lengths)
TOKENS = Formula("tokens", "Source tokens", "tokens of the source", partial(_column, "source_tokens"))


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
    spaced = "".join(c if c.isalnum() or c in "'’-" else " " for c in text.casefold())
    return [piece for word in spaced.split() for piece in (word if _unspaced(word) else [word])]


def _unspaced(word: str) -> bool:
    """Tells whether a word is in a script without blanks between words, such as Chinese, Japanese or Thai."""
    return any("\u0e00" <= c <= "\u0eff" or "\u3040" <= c <= "\u9fff" or "\u1000" <= c <= "\u109f" for c in word)
