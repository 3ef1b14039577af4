"""Floors and caps: how much of a stratum, e.g. a language pair, must be routed, and how much may be.

A share refers to the stratum's eligible rows, guarded ones included; the rows that a floor or a cap selects are the
best inside the stratum, guarded ones (NaN) left out. So guards take precedence over caps, and caps over floors: where
guards leave too few rows for a floor, the floor takes all of them.

    state = StrataSearch.of_shares(floors, caps, eligible)
    while isinstance(state, StrataSearch):  # see `strata_search`
        state = state.advance(sum((state.histogram(*shard) for shard in shards), StrataHistogram()))
    mandatory, allowed = state.masks(values, first_place, codes, names)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.cut import Cut
from routelmt_ray.budget.keys import MIX_ROWS, NOT_ELIGIBLE, as_float32, check_count, mix, to_keys

_NEVER = np.uint32(0xFFFFFFFF)
"""A key above that of every finite value."""


@dataclass(frozen=True)
class StrataCuts:
    """The cuts of all floors and caps."""

    floors: Mapping[str, Cut]
    """By stratum, the cut that selects the rows that must be routed."""
    caps: Mapping[str, Cut]
    """By stratum, the cut that selects the rows that may be routed."""

    def __post_init__(self) -> None:
        seeds = {cut.seed for cut in (*self.floors.values(), *self.caps.values())}
        if len(seeds) > 1:
            raise ValueError(f"the cuts have the seeds {sorted(seeds)}; all must have the same")

    def masks(
        self, values: npt.ArrayLike, first_place: int, codes: npt.ArrayLike, names: Sequence[str]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Tells which rows of a slice must and which may be routed, without the rest of the corpus.

        Args:
            codes: Integers, shape (rows,): each row's stratum as an index into `names`; -1 for none.

        Returns:
            (mandatory, allowed), bool, shape (rows,) each. Mandatory is a row within the floor of its stratum;
            allowed is one within its cap, or whose stratum has none. A mandatory row is allowed as long as the
            floor is at most the cap. NaN is never mandatory.
        """
        values = as_float32(values)
        first_place = check_count("first_place", first_place, bits=64)
        codes = as_codes(codes, names, len(values))
        mandatory, allowed = np.zeros(len(values), dtype=np.bool_), np.ones(len(values), dtype=np.bool_)
        for start in range(0, len(values), MIX_ROWS):
            chunk = slice(start, start + MIX_ROWS)
            keys = to_keys(values[chunk], first_place + start)
            for cuts, selected in ((self.floors, mandatory[chunk]), (self.caps, allowed[chunk])):
                _select_inside(cuts, keys, first_place + start, slots_of(codes[chunk], names, list(cuts)), selected)
        return mandatory, allowed

    def to_dict(self) -> dict[str, Any]:
        """Converts the cuts to JSON-safe fields."""
        return {
            "floors": {name: cut.to_dict() for name, cut in self.floors.items()},
            "caps": {name: cut.to_dict() for name, cut in self.caps.items()},
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "StrataCuts":
        """Builds the `StrataCuts` that `to_dict` wrote."""
        floors, caps = ({name: Cut.from_dict(cut) for name, cut in fields[side].items()} for side in ("floors", "caps"))
        return cls(floors, caps)


def count_strata(
    codes: npt.ArrayLike,
    names: Sequence[str],
    eligible: npt.NDArray[np.bool_] | None = None,
    weights: npt.NDArray[np.int64] | None = None,
) -> Counter[str]:
    """Counts the eligible rows of every stratum in a slice; the shares of floors and caps refer to these.

    Args:
        eligible: bool, shape (rows,); None where all rows are.
        weights: What each row counts, shape (rows,), at most 2**53 in total; None: 1.

    Returns:
        Eligible rows by stratum, 0 where a stratum has only others. Counts of disjoint slices add up with
        `Counter.update`, which unlike `+` keeps the zeros.
    """
    codes = as_codes(codes, names, len(np.asarray(codes)))
    present = np.bincount(codes[codes >= 0], minlength=len(names))
    counted = present
    if eligible is not None or weights is not None:
        rows = np.flatnonzero((codes >= 0) & (True if eligible is None else eligible))
        counted = np.bincount(codes[rows], None if weights is None else weights[rows], len(names))
    counts: Counter[str] = Counter()
    for code in np.flatnonzero(present):
        counts[names[code]] += int(counted[code])
    return counts


def as_codes(codes: npt.ArrayLike, names: Sequence[str], rows: int) -> npt.NDArray[np.integer[Any]]:
    """Converts `codes` to an array, and checks its type, shape and range."""
    array = np.asarray(codes)
    if array.dtype.kind not in "iu":
        raise TypeError(f"codes has dtype {array.dtype}; it must be an integer type, -1 for a row of no stratum")
    if array.shape != (rows,):
        raise ValueError(f"codes has shape {array.shape}; it must be ({rows},), one for every value")
    if rows and not -1 <= array.min() <= array.max() < len(names):
        raise ValueError(f"codes lie in [{array.min()}, {array.max()}]; they must be in [-1, {len(names)})")
    return array


def slots_of(codes: npt.NDArray[Any], names: Sequence[str], wanted: Sequence[str]) -> npt.NDArray[np.int64]:
    """Finds the index into `wanted` of every row's stratum, -1 where it is not wanted; int64, shape (rows,)."""
    slots = {name: slot for slot, name in enumerate(wanted)}
    # The code -1 reads the entry behind the names.
    return np.array([slots.get(name, -1) for name in names] + [-1], dtype=np.int64)[codes]


def _select_inside(
    cuts: Mapping[str, Cut],
    keys: npt.NDArray[np.uint32],
    first_place: int,
    slots: npt.NDArray[np.int64],
    selected: npt.NDArray[np.bool_],
) -> None:
    """Sets `selected` to whether each row lies before the cut of its slot, where it has one."""
    rows = np.flatnonzero(slots >= 0)
    if not rows.size:
        return
    nan = float("nan")
    thresholds = to_keys(np.array([nan if cut.k == 0 else cut.threshold for cut in cuts.values()], dtype=np.float32))
    thresholds[thresholds == NOT_ELIGIBLE] = _NEVER
    threshold, keys = thresholds[slots[rows]], keys[rows]
    selected[rows] = keys >= threshold
    ties = np.array([(1 << 64) - 1 if cut.tie is None else cut.tie for cut in cuts.values()], dtype=np.uint64)
    tied = rows[keys == threshold]
    seed = next(iter(cuts.values())).seed
    selected[tied] = mix(tied.astype(np.uint64) + np.uint64(first_place), seed) <= ties[slots[tied]]
