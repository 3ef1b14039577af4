"""The exact cut through any number of rows, one pass at a time, in a state of 512 KiB, or 1 MiB with weights.

A pass counts one digit of the rows' ranks (`digits`): the first one over all rows, then the next one of the
rows that share the digits found so far. In the histogram all bins before the first that does not fit the
budget whole are selected; in that bin lies the cut, and the next pass looks inside it. Two passes settle the
value; ties at the cut take one or two more, never a list of the tied rows, and none where they all fit.

A `Search` is a handful of numbers that a driver sends to its workers. Each worker counts its shards with
`Search.histogram`; the driver adds up and calls `Search.advance`, which gives the next pass or the `Cut`.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.cut import CHUNK_ROWS, Cut
from routelmt_ray.budget.digits import DIGITS, VALUE_DIGITS, first_digits, join, key_of, next_digits
from routelmt_ray.budget.histogram import BINS, MAX_WEIGHT, GrowingHistogram, Histogram, as_weights
from routelmt_ray.budget.keys import MIX_ROWS, as_float32, check_count, from_key


class Bin(NamedTuple):
    """Rows whose ranks begin with the same digits."""

    prefix: tuple[int, ...] = ()
    rows: int = 0
    weight: int = 0


@dataclass(frozen=True, kw_only=True)
class Search:
    """One pass of a selection: the facts about the cut that are known so far.

    Start with `Search(k=…)` for the k best rows, or with `Search(capacity=…)` for as many of the best rows as
    weigh no more than that together; the first row that does not fit ends the selection.
    """

    k: int | None = None
    """Rows to select."""
    capacity: int | None = None
    """Weight to select, >= 0."""
    seed: int = 0
    """Seed of the order among equal values, 0 <= seed < 2**64."""
    n_eligible: int = 0
    """Rows whose value is not NaN; known from the second pass on."""
    rows: int = 0
    """Rows known to be selected."""
    weight: int = 0
    """Weight of these rows."""
    last: Bin = Bin()
    """The worst of these rows, as far as their digits are known."""
    inside: Bin = Bin()
    """The rows in whose order the cut lies, all of them worse than `last`."""

    def __post_init__(self) -> None:
        limits = {name: value for name in ("k", "capacity") if (value := getattr(self, name)) is not None}
        if len(limits) != 1:
            raise TypeError(
                f"k is {self.k} and capacity is {self.capacity}; give one of them: k limits the rows, capacity "
                "their weight"
            )
        for name, limit in limits.items():
            object.__setattr__(self, name, check_count(name, limit))
        object.__setattr__(self, "seed", check_count("seed", self.seed, bits=64))

    def histogram(self, values: npt.ArrayLike, first_place: int, weights: npt.ArrayLike | None = None) -> Histogram:
        """Counts, by their next digit, the rows of this slice that share the digits found so far, best first.

        NaN marks a row that is not eligible. A weight is at least 1 where the value is not NaN, and the same in every
        pass; None: every row weighs 1. With `k` weights only tell what the selection weighs. Histograms of disjoint
        slices add up.
        """
        values = as_float32(values)
        first_place = check_count("first_place", first_place, bits=64)
        weights = None if weights is None else as_weights(weights, len(values))
        prefix = self.inside.prefix
        if not prefix:
            return first_digits(values, weights, first_place)
        total = GrowingHistogram(weighted=weights is not None)
        step = CHUNK_ROWS if len(prefix) < VALUE_DIGITS else min(CHUNK_ROWS, MIX_ROWS)
        for start in range(0, len(values), step):
            chunk = slice(start, start + step)
            rows, digits = next_digits(values[chunk], first_place + start, prefix, self.seed)
            if digits.size:
                total.add(digits, None if weights is None else weights[chunk][rows])
                total.check()
        return total.histogram()

    def advance(self, total: Histogram) -> "Search | Cut":
        """Takes the histogram of the whole corpus and returns the next pass, or the cut once it is settled. Raises
        ValueError if it does not count the rows, or not the weight, that the pass before found: the values changed, an
        iterator was handed out twice, or slices overlap."""
        prefix = self.inside.prefix
        found = Bin(prefix, int(total.rows.sum()), int(total.by_weight.sum()))
        if prefix and found != self.inside:
            raise ValueError(
                f"a pass over the values found {found.rows} rows of weight {found.weight} where the pass before found "
                f"{self.inside.rows} of weight {self.inside.weight}; every pass must see the same values and weights: "
                "a callable must return a fresh iterator each time"
            )
        if self.capacity is None:
            assert self.k is not None
            left, sizes = self.k - self.rows, total.rows
        else:
            left, sizes = self.capacity - self.weight, total.by_weight
        # The first bin that does not fit whole; one past the last where all do.
        cut = int(np.searchsorted(np.cumsum(sizes), min(left, MAX_WEIGHT), side="right"))
        whole = np.flatnonzero(total.rows[:cut])
        state = replace(
            self,
            n_eligible=self.n_eligible if prefix else found.rows,
            rows=self.rows + int(total.rows[:cut].sum()),
            weight=self.weight + int(total.by_weight[:cut].sum()),
            last=_bin(total, prefix, int(whole[-1])) if whole.size else self.last,
        )
        left -= int(sizes[:cut].sum())
        # No row weighs less than 1, and the best of several may fit where all together do not.
        if left > 0 and cut < BINS and total.rows[cut] > 1:
            if len(prefix) + 1 == DIGITS:
                raise ValueError(
                    f"{total.rows[cut]} rows share one place; each row of the corpus must have a different place"
                )
            return replace(state, inside=_bin(total, prefix, cut))
        return state._settled()

    def _settled(self) -> "Search | Cut":
        """The cut behind the last selected row, once its value is known."""
        prefix = self.last.prefix
        if 0 < len(prefix) < VALUE_DIGITS:
            # Nothing inside was selected, so the last value is still unknown: take its bin back, and search in it.
            return replace(
                self, rows=self.rows - self.last.rows, weight=self.weight - self.last.weight, inside=self.last
            )
        mixed = prefix[VALUE_DIGITS:]
        open_bits = 16 * (DIGITS - len(prefix))
        return Cut(
            k=self.rows,
            weight=self.weight,
            n_eligible=self.n_eligible,
            threshold=from_key(key_of(prefix)) if prefix else None,
            tie=join(mixed, DIGITS - VALUE_DIGITS) | ((1 << open_bits) - 1) if mixed else None,
            seed=self.seed,
        )


def _bin(total: Histogram, prefix: tuple[int, ...], digit: int) -> Bin:
    return Bin((*prefix, digit), int(total.rows[digit]), int(total.by_weight[digit]))
