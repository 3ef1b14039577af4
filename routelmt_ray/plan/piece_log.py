"""Measured pieces of work, kept as columns, because all of them are read often: 100,000 take about a millisecond."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_FIELDS = 3


class PieceLog:
    """Rows, profiled and measured device-seconds of finished pieces of work."""

    def __init__(self) -> None:
        self._kept: npt.NDArray[np.float64] = np.empty((_FIELDS, 64))
        self._pieces = 0

    def __len__(self) -> int:
        return self._pieces

    def add(self, rows: int, predicted_s: float, device_s: float) -> None:
        """Adds a finished piece of work, and doubles the memory where it is full."""
        if self._pieces == self._kept.shape[1]:
            self._kept = np.concatenate([self._kept, np.empty_like(self._kept)], axis=1)
        self._kept[:, self._pieces] = rows, predicted_s, device_s
        self._pieces += 1

    def columns(self) -> npt.NDArray[np.float64]:
        """Returns rows, profiled and measured device-seconds, shape ``(3, pieces)``, as a view; do not write to it."""
        return self._kept[:, : self._pieces]


@dataclass
class DoneWork:
    """Committed work of one model."""

    shards: dict[str, set[int]] = field(default_factory=dict)
    """Numbers of the committed shards, by stage."""
    pieces: PieceLog = field(default_factory=PieceLog)
    """Pieces of work with rows."""
    predicted_s: float = 0.0
    """Device-seconds that were predicted for all of them."""
    failed: dict[int, int] = field(default_factory=dict)
    """Rows that failed, by shard."""
