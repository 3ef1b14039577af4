"""Runs parts one after the other. Each has a time limit and a file, and is not measured again once it is complete."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routelmt_ray.engines import EngineDead
from routelmt_ray.engines.hf import FATAL
from tests.benchmarks.gpu.setting import Bench

Figures = Iterator[dict[str, Any]]
LEAST_S = 3.0
"""A part is not started with less time left."""


class TooLong(BaseException):
    """A part has used up its time. No `except Exception` of an engine may take it for the failure of a row."""


@dataclass(frozen=True)
class Part:
    """One piece of the measurement."""

    name: str
    limit_s: float
    """Most seconds."""
    measure: Callable[[Bench], Figures]
    """Measures, and yields figures as soon as it has them: those of a part that is cut are kept."""


def run_parts(
    parts: Sequence[Part],
    bench: Bench,
    out: Path,
    made_with: dict[str, str],
    total_s: float,
    tell: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
    """Runs the parts that have no complete file yet.

    Args:
        parts: the parts, in order.
        bench: the machine and the sizes.
        out: folder of the files, `<part>.json`.
        made_with: what figures depend on; the file of a part that was made with something else is not used.
        total_s: most seconds in all. A part that would begin later is left out.
        tell: gets a line for each part.

    Returns:
        The content of the files by part: `complete`, `why` it is not, `seconds`, and `figures`.

    Raises:
        EngineDead: the device can no longer be used. The files of finished parts are kept; another process goes on.
    """
    out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + total_s
    for part in parts:
        path = out / f"{part.name}.json"
        found = _read(path, made_with)
        if found is not None and found["complete"]:
            tell(f"{part.name}: kept, measured in {found['seconds']:.1f} s")
            continue
        left = ends - time.monotonic()
        if left < LEAST_S:
            tell(f"{part.name}: not started, {max(left, 0):.0f} s are left of {total_s:.0f}; the same command goes on")
            continue
        result, dead = _run(part, bench, min(part.limit_s, left))
        _write(path, {"part": part.name, "made_with": made_with, "unit": bench.unit} | result)
        tell(f"{part.name}: {result['why'] or 'complete'}, {len(result['figures'])} figures, {result['seconds']:.1f} s")
        if dead:
            raise EngineDead(f"{part.name}: {result['why']}; run the same command again, which goes on")
    return {part.name: found for part in parts if (found := _read(out / f"{part.name}.json", made_with)) is not None}


def _run(part: Part, bench: Bench, limit_s: float) -> tuple[dict[str, Any], bool]:
    """Measures one part; returns what its file says, and whether the device can no longer be used."""
    figures: list[dict[str, Any]] = []
    why, dead, started = None, False, time.monotonic()
    bench.forget()
    try:
        with _limit(limit_s):
            for figure in part.measure(bench):
                figures.append(figure)
    except TooLong:
        why = f"cut after {limit_s:.0f} s"
    except Exception as error:  # the other parts are still worth measuring
        why, dead = f"failed: {type(error).__name__}: {error}"[:2000], isinstance(error, (EngineDead, *FATAL))
        traceback.print_exc()
    result = {"complete": why is None, "why": why, "seconds": round(time.monotonic() - started, 3), "figures": figures}
    return result, dead


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raises TooLong in the main thread after some seconds. One call of a library is not cut in the middle."""

    def cut(*_: Any) -> None:
        raise TooLong

    before, started = signal.signal(signal.SIGALRM, cut), time.monotonic()
    left_before, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left_before:  # the limit of a test, which goes on
            signal.setitimer(signal.ITIMER_REAL, max(left_before - (time.monotonic() - started), 1e-3))


def _read(path: Path, made_with: dict[str, str]) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.get("made_with") == made_with else None


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content) + "\n", "utf-8")
    os.replace(temporary, path)
