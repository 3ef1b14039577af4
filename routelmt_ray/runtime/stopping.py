"""A clean stop on SIGTERM, which schedulers and spot notices send, and on SIGINT (Ctrl-C)."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """The job was told to stop. No library takes it for an error to be retried."""

    def __init__(self, number: int) -> None:
        """Args: number: the signal."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number
        """Exit status, as shells give it to a process that a signal ended: 143 for SIGTERM, 130 for SIGINT."""


@contextmanager
def on_signals() -> Iterator[None]:
    """Has the first of these signals raise :class:`Stopped` in the body, which is in the main thread.

    From then on, until the body has ended, SIGTERM is ignored (schedulers repeat it) and another SIGINT ends the process at once.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
