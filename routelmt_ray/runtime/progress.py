"""Shows the progress of long work: a bar with rate and remaining time on a terminal, or regular lines in a log."""

import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

log = logging.getLogger(__name__)

_LOG_EVERY_S = 15.0


class Bar:
    """Counts the rows of one stage, or other units of work."""

    def __init__(self, title: str, total: int, done: int, unit: str, bars: RichProgress | None) -> None:
        """Args: title: stage; total: rows in all; done: by earlier starts; unit: their name; bars: None in a log."""
        self._title, self._total, self._done, self._unit, self._bars = title, total, done, unit, bars
        self._new, self._started = 0, time.monotonic()
        self._logged = self._started
        # A bar without a total moves to and fro.
        self._task: Any = (
            bars.add_task(title, total=total or None, completed=done, unit=unit, rate="") if bars else None
        )

    def expect(self, total: int) -> None:
        """Sets the number of rows in all, where it becomes known during the work."""
        self._total = total
        if self._bars is not None:
            self._bars.update(self._task, total=total)

    def advance(self, rows: int) -> None:
        """Counts finished rows."""
        self._new += rows
        now = time.monotonic()
        rate = self._new / max(now - self._started, 1e-9)
        if self._bars is not None:
            self._bars.update(self._task, advance=rows, rate=f"{_shown(rate)} {self._unit}/s")
        elif self._new and now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            done, left = self._done + self._new, self._total - self._done - self._new
            of, wait = f" of {self._total}", f", {left / max(rate, 1e-9):.0f} s left"
            if left < 0:  # the number in all is not known, e.g. of rows on which a model failed
                of = wait = ""
            log.info("%s: %d%s %s, %s %s/s%s", self._title, done, of, self._unit, _shown(rate), self._unit, wait)

    def close(self) -> float:
        """Ends the stage; returns its wall seconds."""
        seconds = time.monotonic() - self._started
        if self._bars is None:
            log.info("%s: %d %s in %.1f s", self._title, self._new, self._unit, seconds)
        else:
            everything = max(self._total, self._done + self._new)
            self._bars.update(self._task, total=everything, completed=everything)
            self._bars.stop_task(self._task)
        return seconds


class Progress:
    """Shows the stages of a job. Several may run at the same time."""

    def __init__(self) -> None:
        """Draws bars where stderr is a terminal."""
        self._bars = None
        self._lock = threading.Lock()
        self.seconds: dict[str, float] = {}
        """Wall seconds of each finished stage, by title."""
        self.rows: dict[str, int] = {}
        """Rows that each finished stage handled in this start, by title."""
        if sys.stderr.isatty():
            self._bars = RichProgress(
                TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"), TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True),
            )  # fmt: skip

    def __enter__(self) -> "Progress":
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0, unit: str = "rows") -> Iterator[Bar]:
        """Counts the rows of one stage while the body runs."""
        bar = Bar(title, total, done, unit, self._bars)
        try:
            yield bar
        finally:
            seconds = bar.close()
            with self._lock:
                self.seconds[title] = self.seconds.get(title, 0.0) + seconds
                self.rows[title] = self.rows.get(title, 0) + bar._new

    def facts(self, title: str, metas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Collects the facts of a stage for a report: all its rows, and rows, wall seconds and rate of this start."""
        wall, new = self.seconds.get(title, 0.0), self.rows.get(title, 0)
        rows = sum(meta["rows"] for meta in metas)
        rate = new / wall if new and wall else None
        return {"name": title, "rows": rows, "rows_this_start": new, "wall_s": wall, "rows_per_s": rate}


def _shown(rate: float) -> str:
    """A rate in a readable form: 8B models on a CPU do less than one row a second."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
