"""Collects the state of an account for a period. Only its files are read."""

import time
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from routelmt_ray import storage
from routelmt_ray.account.account import Account, periods
from routelmt_ray.account.book import SCORING
from routelmt_ray.storage import lease


def view(path: str, day: str | None = None) -> dict[str, Any]:
    """Collects allowance, spent and reserved units, the newest forecast, and the draw of each run, as plain values for JSON.

    `day` is one of the period, ISO 8601, or None for the newest period. Amounts are in `unit`. `forecast` is that of the
    newest job that has drawn: what it left for the rest of the period, and what that was expected to need at its price; None
    before. Raises ValueError where there is no such account or period.
    """
    root = storage.path(path)
    known = periods(root)
    if day is not None:
        wanted = _day(day)
        known = [period for period in known if period.first <= wanted <= period.last]
    if not known:
        raise ValueError(
            f"path is {path}, where no job has drawn" + (f" in a period with day={day}" if day else "") + "; name the "
            "folder that account.path names"
        )
    account = Account(root, known[-1])
    book = account.read()
    assert book is not None
    draws = book.draws
    drawn = [draw for draw in draws.values() if draw.state != SCORING]
    newest = max(drawn[::-1], key=lambda draw: draw.day, default=None)
    return {
        "path": str(root),
        "first": f"{account.period.first}",
        "last": f"{account.period.last}",
        "days_left": max(0, (account.period.last - datetime.now(UTC).date()).days),
        "unit": book.unit,
        "allowance": book.allowance,
        "spent": book.spent,
        "reserved": book.reserved,
        "left": book.left(),
        "rows": sum(draw.rows for draw in draws.values()),
        "forecast": newest
        and {"day": newest.day, "left": newest.later, "expected": newest.expected, "price": newest.price},
        "runs": [
            {"id": key, **asdict(draw), "at_work": _is_at_work(root / "jobs" / key / lease.FILE)}
            for key, draw in draws.items()
        ],
    }


def _is_at_work(path: storage.Location) -> bool:
    beat = storage.entry(path)
    return beat is not None and time.time() - beat.modified_s < lease.STALE_S


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"day is {text!r}; it must be a date such as 2026-11-27") from None
