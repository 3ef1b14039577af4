"""The result of a selection: a few numbers with which a worker can decide any row without the others."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.keys import as_float32, check_count, mix, to_keys

CHUNK_ROWS = 1 << 18
"""Rows handled at once: enough to hide NumPy's overhead, few enough for temporaries to stay in the cache."""


@dataclass(frozen=True)
class Cut:
    """A cut in the order (value descending, mix ascending); the rows before it are selected."""

    k: int
    """Rows selected."""
    weight: int
    """Their total weight, at most 2**62; k where every row weighs 1."""
    n_eligible: int
    """Rows whose value is not NaN."""
    threshold: float | None
    """Value of the last selected row, an exact float32; None where nothing is selected."""
    tie: int | None = None
    """Rows at the threshold are selected if mix <= tie (uint64); None selects them all."""
    seed: int = 0
    """Seed of the mix, 0 <= seed < 2**64."""

    def __post_init__(self) -> None:
        check_count("k", self.k)
        check_count("weight", self.weight)
        check_count("n_eligible", self.n_eligible)
        check_count("seed", self.seed, bits=64)
        if self.k > self.n_eligible:
            raise ValueError(f"k is {self.k}; it must be at most n_eligible, {self.n_eligible}")
        if self.weight < self.k or (self.k == 0 and self.weight):
            raise ValueError(f"weight is {self.weight} with k = {self.k}; every selected row weighs at least 1")
        if (self.threshold is None) != (self.k == 0):
            raise ValueError(f"threshold is {self.threshold} with k = {self.k}; it must be None exactly where k is 0")
        if self.threshold is not None and not _is_finite_float32(self.threshold):
            raise ValueError(f"threshold is {self.threshold!r}; it must be finite and exact as float32")
        if self.tie is not None:
            check_count("tie", self.tie, bits=64)

    def mask(self, values: npt.ArrayLike, first_place: int) -> npt.NDArray[np.bool_]:
        """Tells which rows of a slice are selected, bool, shape (rows,), without the rest of the corpus. NaN is not
        selected.

        The values are those that the selection saw; wider floats are rounded as it rounded them. `first_place` is the
        place of the slice's first row in the whole corpus.
        """
        values = as_float32(values)
        first_place = check_count("first_place", first_place, bits=64)
        selected = np.zeros(len(values), dtype=np.bool_)
        if self.threshold is None:
            return selected
        key = to_keys(np.array([self.threshold], dtype=np.float32))[0]
        for start in range(0, len(values), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            keys = to_keys(values[chunk], first_place + start)
            if self.tie is None:
                np.greater_equal(keys, key, out=selected[chunk])
                continue
            np.greater(keys, key, out=selected[chunk])
            ties = np.flatnonzero(keys == key)
            if ties.size:
                places = ties.astype(np.uint64) + np.uint64(first_place + start)
                selected[start + ties] = mix(places, self.seed) <= np.uint64(self.tie)
        return selected

    def to_dict(self) -> dict[str, Any]:
        """Converts the cut to JSON-safe fields; `tie` is hexadecimal: many JSON readers round integers over 2**53."""
        return asdict(self) | {"tie": None if self.tie is None else f"{self.tie:#018x}"}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Cut":
        """Builds the `Cut` that `to_dict` wrote; where it wrote no weight, every row weighed 1."""
        tie = fields["tie"]
        return cls(
            k=fields["k"],
            weight=fields.get("weight", fields["k"]),
            n_eligible=fields["n_eligible"],
            threshold=fields["threshold"],
            tie=None if tie is None else int(tie, 16),
            seed=fields["seed"],
        )


def _is_finite_float32(value: float) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(value)) and float(np.float32(value)) == value
