"""Figures for Prometheus without a cluster: they note what they are given."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from routelmt_ray.runtime import telemetry


class Noted:
    """Takes the place of Ray's counters and gauges, which need a cluster; notes what they are given."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...] = ()) -> None:
        self.name, self.labels, self.values = name, labels, list[Any]()

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0, "Ray refuses 0"
        self.values.append((value, *(tags[label] for label in self.labels)))

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.values.append((value, *((tags or {})[label] for label in self.labels)))


@contextmanager
def figures_of_this_process() -> Iterator[telemetry.Figures]:
    """Has the jobs in this process export figures that note what they are given; gives these figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "Counter", Noted)
        patch.setattr(telemetry, "Gauge", Noted)
        telemetry.figures.cache_clear()
        try:
            yield telemetry.figures()
        finally:
            telemetry.figures.cache_clear()


def noted(figures: telemetry.Figures) -> dict[str, list[Any]]:
    """Gives what was noted, by the names of figures."""
    kept = [figures._pending, *figures._counters.values(), *figures._gauges.values()]
    return {each.name: each.values for each in kept if each.values}  # type: ignore[attr-defined]
