"""The guards, which keep rows from the large model: one table with all facts about each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

JUDGED = "judged"
"""Evidence of a guard: the judge's score of the row's small translation."""


@dataclass(frozen=True)
class GuardKind:
    """One guard. Its name is also the key under `guard` with its limit; null there turns it off."""

    reason: str
    """The `route_reason` in the output."""
    outcome: str
    """Explanation of this reason, in the words of the reports."""
    evidence: str | None = None
    """Evidence before a row is routed: a numeric column of the scores (`stages/score.py`), or :data:`JUDGED`.
    None: it acts after translation."""
    blocks: Callable[[Any, Any], Any] | None = None
    """(evidence, limit) -> rows that must not be routed. Evidence is an array of shape ``(rows,)``, NaN where there is
    none; the answer has the same shape, bool."""
    head: str | None = None
    """Head of the trained router that gives the evidence."""
    calibrated: bool = False
    """True where the key is a section, and an audit gives the limit: :class:`~routelmt_ray.budget.risk.Floors`, so that `blocks`
    takes an array of shape ``(rows,)``."""

    @property
    def needs_judge(self) -> bool:
        """True where a metric without references has to judge translations."""
        return self.evidence in (JUDGED, None)


GUARDS = {
    "quality_hypo": GuardKind(
        "quality_hypo",
        "the judge found the small translation good enough",
        JUDGED,
        lambda quality, limit: quality >= limit,
    ),
    "quality_predict": GuardKind(
        "quality_predict",
        "the small translation is predicted to be good enough",
        "predicted_quality",
        lambda quality, limit: quality >= limit,
        head="quality",
    ),
    "risk": GuardKind(
        "risk",
        "too little gain predicted for the promise about losses",
        "predicted_gain",
        lambda gain, floor: gain < floor,
        calibrated=True,
    ),
    "keep_better": GuardKind("kept_small", "translated by both models, and the judge preferred the small model"),
}
"""The key under `guard`, and the guard. Where several block a row, the last one is its reason."""
