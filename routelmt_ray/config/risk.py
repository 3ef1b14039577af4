"""The promise about losses: the section `guard.risk`."""

from dataclasses import dataclass
from typing import Optional

from routelmt_ray.config.loader import choice, option

BY = ALL, PAIR = "all", "pair"
"""One promise for all rows, or one for each language pair."""
UNPROVEN = REFUSE, SMALL, ROUTE = "refuse", "small", "route"
"""Choices for rows that nothing can be promised about."""


@dataclass(frozen=True)
class RiskConfig:
    """Promises that at most `rate` of the routed rows lose more than `loss` by the large model."""

    rate: Optional[float] = option(None, "null or a number between 0 and 1", lambda v: v is None or 0 < v < 1)
    """Largest share of routed rows that may lose more than `loss`. Null: nothing is promised."""
    loss: float = option(0.05, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Loss of a row that is not counted yet: quality of the small translation minus quality of the large one, in the metric of the
    audit."""
    confidence: float = option(0.95, "a number between 0 and 1", lambda v: 0 < v < 1)
    """Probability with which the promise holds."""
    by: str = choice("all", BY)
    """`all`: one promise for all rows. `pair`: one for each language pair, each with this confidence, without a correction for
    their number."""
    unproven: str = choice("refuse", UNPROVEN)
    """Choice if the audit cannot promise it for all rows, or for a pair: `refuse` the job, leave these rows to the `small` model, or
    `route` them without a promise. A pair that the audit lacks is routed only with `route`."""
