"""Stops a job cleanly on SIGTERM, which schedulers and spot notices send, and on SIGINT (Ctrl-C)."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """The job was told to stop. As a KeyboardInterrupt it is not retried by any library as an error would be."""

    def __init__(self, number: int) -> None:
        """Args: number: the signal."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number
        """Exit status that shells give a process ended by this signal: 143 for SIGTERM, 130 for SIGINT."""


@contextmanager
def on_signals() -> Iterator[None]:
    """Makes the first SIGTERM or SIGINT raise :class:`Stopped` in the body, which must run in the main thread.

    From then until the end of the body, SIGTERM is ignored, as schedulers repeat it. Another SIGINT ends the process at
    once.
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
