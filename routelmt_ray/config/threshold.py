"""The configuration of `jobs/threshold.py`."""

from dataclasses import dataclass, field
from typing import Optional

from routelmt_ray.config.common import LogConfig
from routelmt_ray.config.loader import option


@dataclass(frozen=True)
class ThresholdConfig:
    """The whole configuration of `jobs/threshold.py`."""

    run_dir: str = option("", "a folder", lambda v: v != "")
    """Run directory of a translate run that is scored: finished, or a dry run (`budget.dry_run=true`)."""
    fraction: Optional[float] = option(
        None, "null or a number above 0 and at most 1", lambda v: v is None or 0 < v <= 1
    )
    """Share of the rows that the large model should take. Null: 0.3, unless `hours` or `money` is set."""
    hours: Optional[float] = option(None, "null or a number above 0", lambda v: v is None or v > 0)
    """Device-hours that both models should take together for the same amount of text. The run must be a dry run,
    because only a dry run measures the cost of rows."""
    money: Optional[float] = option(None, "null or a number above 0", lambda v: v is None or v > 0)
    """Money that both models should take together for the same amount of text, in the currency and at the prices of the
    dry run."""
    confidence: float = option(0.95, "a number between 0 and 1", lambda v: 0 < v < 1)
    """Probability with which the interval contains the threshold of an unlimited amount of text of the same kind."""
    out: Optional[str] = None
    """File to write, e.g. `routers/mine-threshold.json`; null: nothing is written."""
    format: str = option("table", "table or json", lambda v: v in ("table", "json"))
    """`table` for people, `json` for machines; `--json` is short for format=json."""
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        """Checks that one budget is given."""
        asked = [f"{key} is {getattr(self, key):g}" for key in ("fraction", "hours", "money") if getattr(self, key)]
        if len(asked) > 1:
            raise ValueError(f"{' and '.join(asked)}; set one of them")
