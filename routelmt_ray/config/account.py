"""The section `account`, its period, and the configuration of `jobs/account.py`."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Optional

from routelmt_ray.config.common import LogConfig
from routelmt_ray.config.loader import option

ALLOWANCES = ("gpu_hours", "money", "rows")
"""Keys of `account`, of which one is set."""


@dataclass(frozen=True)
class Period:
    """Days that one allowance is for, both ends included, UTC."""

    first: date
    """First day."""
    last: date
    """Last day."""

    @property
    def name(self) -> str:
        """Name of the period in an account, such as ``2026-11-01_2026-11-30``."""
        return f"{self.first}_{self.last}"

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


def period_of(text: str, day: date) -> Period:
    """Finds the period of a day from a text: `month`, `week` (from Monday), or two dates with a slash between them.
    Raises ValueError if the text is no period."""
    if text == "month":
        first = day.replace(day=1)
        return Period(first, (first + timedelta(31)).replace(day=1) - timedelta(1))
    if text == "week":
        first = day - timedelta(day.weekday())
        return Period(first, first + timedelta(6))
    first, last = (date.fromisoformat(part) for part in text.split("/"))
    if first > last:
        raise ValueError(f"{text} ends before it begins")
    return Period(first, last)


def _is_period(text: str) -> bool:
    try:
        period_of(text, date(2000, 1, 1))
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class AccountConfig:
    """One allowance for a period, from which each job takes its budget; set exactly one of `gpu_hours`, `money` and
    `rows`."""

    path: Optional[str] = None
    """Folder of the account, on a disk that all its jobs reach, or on S3. Null: the job has a `budget`."""
    gpu_hours: Optional[float] = option(None, "null or a number above 0", lambda v: v is None or v > 0)
    """Device-hours that all jobs of the period may take together, as `budget.gpu_hours` counts them."""
    money: Optional[float] = option(None, "null or a number above 0", lambda v: v is None or v > 0)
    """Money that all jobs of the period may take together, as `budget.money` counts it."""
    rows: Optional[int] = option(None, "null or an integer of at least 0", lambda v: v is None or v >= 0)
    """Rows that all jobs of the period may send to the large model."""
    period: str = option("month", "month, week or two dates such as 2026-11-01/2026-11-30", _is_period)
    """Days that the allowance is for, UTC. A week begins on Monday. Both dates belong to the period."""
    expected_rows: Optional[int] = option(None, "null or an integer of at least 1", lambda v: v is None or v >= 1)
    """Rows that the whole period brings, if you know their number. Null: it is estimated from the jobs so far."""
    keep_hours: float = option(24.0, "a number of at least 0", lambda v: v >= 0)
    """Hours after which the unspent grant of a killed or failed job returns to the account. If the job is started again
    earlier, it keeps its grant."""

    def __post_init__(self) -> None:
        """Checks combinations of fields."""
        asked = [f"account.{key}" for key in ALLOWANCES if getattr(self, key) is not None]
        if self.path is not None and len(asked) != 1:
            found = " and ".join(asked) + " are set" if asked else "no allowance is set"
            raise ValueError(
                f"account: {found}; set exactly one of account.gpu_hours, account.money and account.rows, e.g. account.gpu_hours=400"
            )

    @property
    def key(self) -> str:
        """The key of the allowance: `gpu_hours`, `money` or `rows`."""
        return next(key for key in ALLOWANCES if getattr(self, key) is not None)

    @property
    def allowance(self) -> float:
        """The allowance in the unit of a book: rows, device-seconds or money."""
        return float(getattr(self, self.key)) * (3600 if self.key == "gpu_hours" else 1)

    def unit(self, currency: str) -> str:
        """Names the unit of a book: `rows`, `device_s`, or the currency."""
        return {"rows": "rows", "gpu_hours": "device_s", "money": currency}[self.key]


@dataclass(frozen=True)
class AccountShowConfig:
    """The whole configuration of `jobs/account.py`."""

    path: str = option("", "a folder", lambda v: v != "")
    """Folder of the account."""
    day: Optional[str] = None
    """A day of the period to show, such as 2026-11-27; null: the newest period."""
    format: str = option("table", "table or json", lambda v: v in ("table", "json"))
    """`table` for people, `json` for machines; `--json` is short for format=json."""
    log: LogConfig = field(default_factory=LogConfig)
