"""Pictures of reports that are drawn once for all tests of a process."""

import pickle
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from routelmt_ray.reports import frontier_plots
from tests.without_ray import PICTURES

_DRAWN: dict[tuple[str, bytes], Any] = {}


def _once(draw: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(draw)
    def remembered(*arguments: Any, **named: Any) -> Any:
        try:
            key = draw.__qualname__, pickle.dumps((draw.__module__, arguments, named))
        except (pickle.PicklingError, AttributeError, TypeError):  # a macro of a template is among them
            return draw(*arguments, **named)
        if key not in _DRAWN:
            _DRAWN[key] = draw(*arguments, **named)
        return _DRAWN[key]

    return remembered


@pytest.fixture(autouse=True)
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Draws a picture of the same figures once, as it takes a sixth of a second; `undo()` has each drawn again."""
    for module in (*PICTURES, frontier_plots):
        for name, draw in list(vars(module).items()):
            if hasattr(draw, "__wrapped__"):
                monkeypatch.setattr(module, name, _once(draw))
    return monkeypatch
