"""Counts the terms of a glossary that occur in a source, and those whose wanted translation is in its translation."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from routelmt_ray.checks.plan import CheckedOutput
from routelmt_ray.checks.words import by_words, units

_COLUMNS = ("source", "target")
_ALL = ""


@dataclass(frozen=True)
class Glossary:
    """The terms of a glossary. Small, as it is sent to each worker."""

    terms: dict[str, dict[str, str]] = field(default_factory=dict)
    """By language pair as reports show it, and under an empty text for all pairs: source term and target term."""

    @property
    def digest(self) -> str:
        """A digest of all terms."""
        listed = sorted((pair, *term) for pair, terms in self.terms.items() for term in terms.items())
        return sha256(repr(listed).encode()).hexdigest()[:16]


class TermCounter:
    """Looks for the terms of a glossary."""

    def __init__(self, glossary: Glossary) -> None:
        """Args: glossary: the terms."""
        self._glossary = glossary
        self._known: dict[tuple[str, bool], tuple[dict[tuple[str, ...], str], list[int]]] = {}

    def __call__(self, output: CheckedOutput) -> tuple[int, int]:
        """Counts the terms of a row; a term that occurs several times counts once.

        A source term must occur as whole words, in any case. The target term may be a part of a word, so that most endings
        are allowed.

        Returns:
            Terms that are kept, and terms that the source has.
        """
        words = by_words(output.source_lang)
        terms, lengths = self._terms(output.pair, words)
        text = units(output.source, words) if terms else []
        spans = (tuple(text[start : start + n]) for n in lengths for start in range(len(text) - n + 1))
        wanted = {terms[span] for span in spans if span in terms}
        said = output.translation.casefold()
        return sum(target in said for target in wanted), len(wanted)

    def _terms(self, pair: str, words: bool) -> tuple[dict[tuple[str, ...], str], list[int]]:
        """The target terms of a pair by the words of their source terms, and the numbers of words that occur."""
        if (pair, words) not in self._known:
            listed = self._glossary.terms.get(_ALL, {}) | self._glossary.terms.get(pair, {})
            terms = {tuple(units(source, words)): target.casefold() for source, target in listed.items()}
            terms.pop((), None)
            self._known[pair, words] = terms, sorted({len(term) for term in terms})
        return self._known[pair, words]


def read_glossary(path: str) -> Glossary:
    """Reads a glossary: CSV with a header, or Parquet, with the columns source, target and perhaps pair.

    Args:
        path: the file. A pair is written as `en->de`; an empty one means all pairs.

    Raises:
        ValueError: there is no such file, a column is missing, or a row lacks a term; the message says what to do.
    """
    if not Path(path).is_file():
        raise ValueError(f"glossary.path {path} is no file of this machine; name a .csv or .parquet file")
    try:
        table = pq.read_table(path) if path.endswith(".parquet") else pa.csv.read_csv(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"glossary.path {path} cannot be read ({error}); it must be CSV with a header, or Parquet"
        ) from None
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise ValueError(
            f"glossary.path {path} has no column {' and '.join(missing)}; it has {', '.join(table.column_names)}; it needs "
            "source, target and perhaps pair"
        )
    names = [*_COLUMNS, *(["pair"] if "pair" in table.column_names else [])]
    columns = [[(value or "").strip() for value in pc.cast(table[name], pa.string()).to_pylist()] for name in names]
    terms: dict[str, dict[str, str]] = {}
    for row, (source, target, *pair) in enumerate(zip(*columns), 1):
        if not source or not target:
            raise ValueError(
                f"glossary.path {path}: row {row} has no {'target' if source else 'source'} term; fill it in"
            )
        terms.setdefault("".join(pair).replace("->", "→"), {})[source] = target
    return Glossary(terms)
