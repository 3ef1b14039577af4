"""Formats of the reports for numbers, spans of time and words of the user."""

import math
import unicodedata

from routelmt_ray.budget.cost import is_money

_BIDI = frozenset("\u200e\u200f\u061c" + "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])))


def count(value: int, noun: str = "") -> str:
    """Formats a count with thousands separators and, where one is given, its noun: ``12,345 rows``."""
    return f"{value:,}" if not noun else f"{value:,} {noun}{'' if value == 1 else 's'}"


def percent(part: float, whole: float) -> str:
    """Formats a share as ``30.0 %``; almost nothing or almost all is never rounded to 0 or 100 %."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    return ">99.9 %" if 99.9 < share < 100 else f"{share:.1f} %"


def number(value: float | None) -> str:
    """Formats a score, gain or rate with about four significant digits; ``–`` where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}".replace("-", "−")


def rate(value: float | None) -> str:
    """Formats rows or tokens per second with about three significant digits; ``–`` where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def duration(seconds: float | None) -> str:
    """Formats seconds as people say them: ``12.3 s``, ``4 min 12 s``, ``2 h 05 min``, ``3 d 04 h``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour:02d} h"
    return f"{hours} h {minute:02d} min" if hours else f"{minute} min {second:02d} s"


def device_time(seconds: float | None) -> str:
    """Formats device-seconds in hours at most, never in days: ``4 min 12 s``, ``52 h 05 min``, ``1,240 h``."""
    if seconds is None or not math.isfinite(seconds) or seconds < 86_399.5:
        return duration(seconds)
    hours, minute = divmod(round(seconds / 60), 60)
    return f"{hours} h {minute:02d} min" if hours < 100 else f"{round(seconds / 3600):,} h"


def _rounded_up(value: float) -> str:
    if value <= 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    value = math.ceil(value / step - 1e-6) * step
    return f"{value:.{max(0, 2 - math.floor(math.log10(value) + 1e-9))}f}"


def money(amount_: float, currency: str) -> str:
    """Formats money with at least three significant digits: ``USD 1,234.56``, ``USD 0.0123``."""
    decimals = 2 if abs(amount_) >= 1 or not amount_ else min(9, 2 - math.floor(math.log10(abs(amount_))))
    return f"{currency} {amount_:,.{decimals}f}"


def amount(units: float | None, unit: str) -> str:
    """Formats an amount of a budget or an allowance: ``12,345 rows``, money, or device time; ``–`` where there is
    none."""
    if units is None or not math.isfinite(units):
        return "–"
    if unit == "rows":
        return count(round(units), "row")
    return money(units, unit) if is_money(unit) else device_time(units)


def asked_amount(units: float, unit: str) -> str:
    """Formats an amount as the value of `budget.gpu_hours` or `budget.money`: three digits, rounded up, so that it covers them."""
    return _rounded_up(units if is_money(unit) else units / 3600)


def points(gain: float | None) -> str:
    """Formats a gain on the 0–1 quality scale in points (hundredths), with its sign: ``+1.94``."""
    if gain is None or not math.isfinite(gain):
        return "–"
    text = f"{100 * gain:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def signed(value: float) -> str:
    """Formats a tick of an axis through 0, with its sign."""
    return f"{value:+g}".replace("-", "−") if round(value, 9) else "0"


def plain(text: object) -> str:
    """Makes user text one harmless line: control, surrogate and direction-changing characters become ``�``."""
    return "".join("�" if _unsafe(char) else char for char in " ".join(str(text).splitlines()))


def shortened(text: str, most: int) -> str:
    """Cuts a text to a number of characters; ``…`` marks the cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _unsafe(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs") or char in _BIDI or ord(char) & 0xFFFE == 0xFFFE
