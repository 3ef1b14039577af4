"""Finds the terms of a glossary that occur in a source, and counts those whose wanted translation is in its translation."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from routelmt_ray.checks.plan import CheckedOutput
from routelmt_ray.checks.scripts import units
from routelmt_ray.corpus.languages import is_spaced, pair_label

_COLUMNS = ("source", "target")
_ALL = ""
_Known = tuple[dict[tuple[str, ...], tuple[str, str]], list[int]]


@dataclass(frozen=True)
class Glossary:
    """The terms of a glossary. Small, as it is sent to each worker."""

    terms: dict[str, dict[str, str]] = field(default_factory=dict)
    """By language pair as reports show it, and under an empty text for all pairs: source term and target term."""
    _known: dict[tuple[str, bool], _Known] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The terms of pairs that were asked for."""

    @property
    def digest(self) -> str:
        """A digest of all terms."""
        listed = sorted((pair, *term) for pair, terms in self.terms.items() for term in terms.items())
        return sha256(repr(listed).encode()).hexdigest()[:16]

    def find(self, source: str, source_lang: str, pair: str) -> list[tuple[str, str]]:
        """Finds the terms of a source text; shorter ones first, then those that occur earlier.

        A term must occur as whole words, in any case. It is found once, also where it occurs several times. `pair` is
        the language pair as reports show it.
        """
        words = is_spaced(source_lang)
        terms, lengths = self._terms(pair, words)
        text = units(source, words) if terms else []
        spans = (tuple(text[start : start + n]) for n in lengths for start in range(len(text) - n + 1))
        return [terms[span] for span in dict.fromkeys(spans) if span in terms]

    def _terms(self, pair: str, words: bool) -> _Known:
        """The terms of a pair by the words of their source terms, and the numbers of words that occur."""
        if (pair, words) not in self._known:
            listed = self.terms.get(_ALL, {}) | self.terms.get(pair, {})
            terms = {tuple(units(source, words)): (source, target) for source, target in sorted(listed.items())}
            terms.pop((), None)
            self._known[pair, words] = terms, sorted({len(term) for term in terms})
        return self._known[pair, words]


def count_terms(glossary: Glossary, output: CheckedOutput) -> tuple[int, int]:
    """Counts the terms of a row. The target term may be a part of a word, so that most endings are allowed. Returns the
    number of terms that are kept, and of those that the source has. Terms with one target count once."""
    found = glossary.find(output.source, output.source_lang, output.pair)
    wanted, said = {target.casefold() for _, target in found}, output.translation.casefold()
    return sum(target in said for target in wanted), len(wanted)


def read_glossary(path: str) -> Glossary:
    """Reads a glossary: CSV with a header, or Parquet, with the columns source, target and optionally pair, written as
    `en->de`; an empty one means all pairs. Raises ValueError if there is no such file, a column is missing, or a row
    lacks a term."""
    if not Path(path).is_file():
        raise ValueError(f"glossary.path {path} is not a file on this machine; name a .csv or .parquet file")
    try:
        table = pq.read_table(path) if path.endswith(".parquet") else pa.csv.read_csv(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"glossary.path {path} cannot be read ({error}); it must be CSV with a header, or Parquet"
        ) from None
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise ValueError(
            f"glossary.path {path} has no column {' and '.join(missing)}; it has {', '.join(table.column_names)}; it needs "
            "source and target, and may have pair"
        )
    names = [*_COLUMNS, *(["pair"] if "pair" in table.column_names else [])]
    columns = [[(value or "").strip() for value in pc.cast(table[name], pa.string()).to_pylist()] for name in names]
    terms: dict[str, dict[str, str]] = {}
    for row, (source, target, *pair) in enumerate(zip(*columns), 1):
        if not source or not target:
            raise ValueError(
                f"glossary.path {path}: row {row} has no {'target' if source else 'source'} term; fill it in"
            )
        terms.setdefault(_label("".join(pair), path, row), {})[source] = target
    return Glossary(terms)


def _label(pair: str, path: str, row: int) -> str:
    """The pair as reports show it."""
    if not pair:
        return _ALL
    codes = pair.replace("->", "→").split("→")
    if len(codes) != 2 or "?" in (label := pair_label(codes[0].strip(), codes[1].strip())):
        raise ValueError(
            f"glossary.path {path}: row {row} has the pair {pair!r}; write two language codes, e.g. en->de"
        )
    return label
