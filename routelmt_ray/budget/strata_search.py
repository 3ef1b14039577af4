"""The cuts of many floors and caps, found in shared passes.

Each cut has its own `Search` inside its stratum. But a pass looks at every row only once for all floors and once for
all caps: the stratum of a row tells which digits it has to share. Only bins that have rows are kept, so the size of a
histogram grows with the different values in strata with a floor or cap, to at most 1.5 MiB for each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.cut import Cut
from routelmt_ray.budget.digits import DIGITS, VALUE_DIGITS, Positions, join
from routelmt_ray.budget.fraction import rows_for_fraction
from routelmt_ray.budget.histogram import BINS, Counts, Histogram, as_weights, check_total, check_weights
from routelmt_ray.budget.keys import MIX_ROWS, NOT_ELIGIBLE, as_float32, check_count, mix, to_keys
from routelmt_ray.budget.search import Search
from routelmt_ray.budget.strata import StrataCuts, as_codes, slots_of
from routelmt_ray.config.errors import first_of_many

Shares = Mapping[str, float]
_SHOWN = 20


def _nothing() -> Counts:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class StrataHistogram:
    """Rows and weight by search and digit. Histograms of disjoint slices add up with `+`."""

    bins: Counts = field(default_factory=_nothing)
    """int64, shape (bins,), ascending: 65536 times the number of the search, plus the digit. Only bins with rows."""
    rows: Counts = field(default_factory=_nothing)
    """int64, shape (bins,)."""
    weights: Counts = field(default_factory=_nothing)
    """int64, shape (bins,)."""

    def __post_init__(self) -> None:
        check_total(self.weights)

    def __add__(self, other: "StrataHistogram") -> "StrataHistogram":
        # Insert the bins of the smaller into the larger: most of them are there already.
        large, small = (self, other) if len(self.bins) >= len(other.bins) else (other, self)
        at = np.searchsorted(large.bins, small.bins)
        new = large.bins.take(at, mode="clip") != small.bins
        bins = np.insert(large.bins, at[new], small.bins[new])
        rows, weights = (np.insert(counts, at[new], 0) for counts in (large.rows, large.weights))
        at = np.searchsorted(bins, small.bins)
        rows[at] += small.rows
        weights[at] += small.weights
        return StrataHistogram(bins, rows, weights)

    def of(self, search: int) -> Histogram:
        """Extracts the counts of one search, by its number, floors before caps."""
        inside = slice(*np.searchsorted(self.bins, [search * BINS, (search + 1) * BINS]))
        rows, weights = np.zeros((2, BINS), dtype=np.int64)
        rows[self.bins[inside] % BINS] = self.rows[inside]
        weights[self.bins[inside] % BINS] = self.weights[inside]
        return Histogram(rows, weights)


@dataclass(frozen=True)
class StrataSearch:
    """One pass over all rows for the cuts of all floors and caps; start with `StrataSearch.of_shares`."""

    floors: Mapping[str, Search | Cut]
    """By stratum, the facts about the cut that are known so far."""
    caps: Mapping[str, Search | Cut]
    """As `floors`."""
    seed: int = 0
    """Seed of the order among equal values, 0 <= seed < 2**64."""

    @classmethod
    def of_shares(
        cls, floors: Shares, caps: Shares, eligible: Mapping[str, int], *, seed: int = 0, weighted: bool = False
    ) -> "StrataSearch":
        """Builds the first pass from the shares of floors and caps, each rounded down, of the eligible rows of its
        stratum (`count_strata`), guarded ones included.

        With `weighted` a share is one of weight, and `eligible` has weights. A cap then selects the best rows that
        weigh together no more than its share, a floor the fewest best rows that weigh at least that. Raises ValueError
        if a share is out of bounds, or no row has a stratum that is named.
        """
        for side, shares in (("floors", floors), ("caps", caps)):
            for name in shares:
                if name not in eligible:
                    raise ValueError(
                        f"{side} names the stratum {name!r}, which no row has; it must be one of: "
                        f"{first_of_many(sorted(eligible), _SHOWN) or '(there is none)'}"
                    )
        firsts = [
            {
                name: Search(capacity=part - (shares is floors), seed=seed)
                if weighted and part
                else Search(k=part, seed=seed)
                for name, share in shares.items()
                for part in [rows_for_fraction(share, eligible[name])]
            }
            for shares in (floors, caps)
        ]
        return cls(firsts[0], firsts[1], check_count("seed", seed, bits=64))

    def histogram(
        self,
        values: npt.ArrayLike,
        first_place: int,
        codes: npt.ArrayLike,
        names: Sequence[str],
        weights: npt.ArrayLike | None = None,
    ) -> StrataHistogram:
        """Counts the rows of this slice by their next digit, for every cut that is still to be found. NaN marks a row
        that must not be routed. Other slices may list other strata, or in another order."""
        values = as_float32(values)
        first_place = check_count("first_place", first_place, bits=64)
        codes = as_codes(codes, names, len(values))
        weights = None if weights is None else as_weights(weights, len(values))
        total = StrataHistogram()
        for start in range(0, len(values), MIX_ROWS):
            chunk, place = slice(start, start + MIX_ROWS), first_place + start
            weighed = None if weights is None else check_weights(weights[chunk], values[chunk], place)
            keys = to_keys(values[chunk], place)
            first_search = 0
            for searches in (self.floors, self.caps):
                slots = slots_of(codes[chunk], names, list(searches))
                rows, bins = _next_bins(keys, place, slots, list(searches.values()), self.seed)
                if rows.size:
                    total += _tally(bins + first_search * BINS, None if weighed is None else weighed[rows])
                first_search += len(searches)
        return total

    def advance(self, total: StrataHistogram) -> "StrataSearch | StrataCuts":
        """Takes the histogram of the whole corpus and returns the next pass, or the cuts once all are settled."""
        states = [
            state.advance(total.of(search)) if isinstance(state, Search) else state
            for search, state in enumerate((*self.floors.values(), *self.caps.values()))
        ]
        floors = {name: _with_next_row(before, after) for (name, before), after in zip(self.floors.items(), states)}
        caps = dict(zip(self.caps, states[len(floors) :]))
        if any(isinstance(state, Search) for state in (*floors.values(), *caps.values())):
            return StrataSearch(floors, caps, self.seed)
        return StrataCuts(cast(dict[str, Cut], floors), cast(dict[str, Cut], caps))


def _with_next_row(before: Search | Cut, after: Search | Cut) -> Search | Cut:
    """Goes on behind the rows that weigh less than a floor asks for: the next row is the one with which they reach it."""
    found = isinstance(before, Search) and before.capacity is not None and isinstance(after, Cut)
    if found and isinstance(after, Cut) and after.k < after.n_eligible:
        return Search(k=after.k + 1, seed=after.seed)
    return after


def _next_bins(
    keys: npt.NDArray[np.uint32],
    first_place: int,
    slots: npt.NDArray[np.int64],
    states: Sequence[Search | Cut],
    seed: int,
) -> tuple[Positions, Counts]:
    """Finds the rows that share the digits known to the search of their stratum: the rows' positions, and the bin of
    each, 65536 times the number of its search, plus its next digit. A slot of -1 means no search; one that is settled
    gets no rows."""
    wants = np.array([isinstance(state, Search) for state in states] + [False])  # the last one is that of slot -1
    prefixes = [state.inside.prefix if isinstance(state, Search) else () for state in states]
    known = np.array([len(prefix) for prefix in prefixes], dtype=np.uint64)
    # A rank's 96 bits, as those of the value and those of the mix: what they must be, and which of them.
    want, bits = (
        [join(digits, DIGITS) for digits in side] for side in (prefixes, [(BINS - 1,) * len(p) for p in prefixes])
    )
    want_key, key_bits = (np.array([rank >> 64 for rank in ranks], dtype=np.uint32) for ranks in (want, bits))
    want_mix, mix_bits = (np.array([rank % (1 << 64) for rank in ranks], dtype=np.uint64) for ranks in (want, bits))

    rows = np.flatnonzero(wants[slots] & (keys != NOT_ELIGIBLE))
    slots, ranks = slots[rows], ~keys[rows]
    inside = (ranks ^ want_key[slots]) & key_bits[slots] == 0
    rows, slots, ranks = rows[inside], slots[inside], ranks[inside]
    digits = np.where(known[slots] == 0, ranks >> np.uint32(16), ranks & np.uint32(BINS - 1)).astype(np.int64)
    tied = np.flatnonzero(known[slots] >= VALUE_DIGITS)
    if tied.size:
        mixes, of = mix(rows[tied].astype(np.uint64) + np.uint64(first_place), seed), slots[tied]
        digits[tied] = mixes >> np.uint64(16) * (np.uint64(DIGITS - 1) - known[of]) & np.uint64(BINS - 1)
        outside = tied[(mixes ^ want_mix[of]) & mix_bits[of] != 0]
        rows, slots, digits = (np.delete(array, outside) for array in (rows, slots, digits))
    return rows, slots * BINS + digits


def _tally(bins: Counts, weights: Counts | None) -> StrataHistogram:
    order = np.argsort(bins)
    bins = bins[order]
    first = np.flatnonzero(np.diff(bins, prepend=-1))
    rows = np.diff(first, append=len(bins))
    if weights is None:
        return StrataHistogram(bins[first], rows, rows)
    check_total(weights)
    return StrataHistogram(bins[first], rows, np.add.reduceat(weights[order], first))
