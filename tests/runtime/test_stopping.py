"""A signal ends the body, and whoever handled it before does so again."""

import os
import signal
import time

import pytest

from routelmt_ray.runtime.stopping import Stopped, on_signals


def told_twice(number: signal.Signals, reached: list[bool]) -> None:
    """Work that is told to stop, and told again while it cleans up."""
    with on_signals():
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            reached.append(True)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_raises_and_sigterm_is_then_ignored(number: signal.Signals, status: int) -> None:
    before = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]
    reached: list[bool] = []
    with pytest.raises(Stopped, match=f"stopped by {number.name}") as stopped:
        told_twice(number, reached)
    assert reached == [True]
    assert stopped.value.status == status
    assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)] == before


def test_nothing_that_handles_errors_swallows_it() -> None:
    assert not issubclass(Stopped, Exception)
