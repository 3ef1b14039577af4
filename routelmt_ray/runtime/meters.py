"""What the meters of a run say while it is at work, read from the driver, whose clock need not be that of the workers."""

import time
from collections.abc import Callable
from datetime import datetime

from routelmt_ray.runtime import metering
from routelmt_ray.runtime.metering import BUSY, ENDED, LOADING, Reading
from routelmt_ray.storage.rundir import RunDir

_READ_EVERY_S = 0.5
"""One commit asks many times, and on S3 each reading is a request."""
_SLACK_S = 0.05
"""A reading is at least so old when it is read."""


class Meters:
    """The meters of one run, as of a moment ago."""

    def __init__(self, run: RunDir, now: Callable[[], float] = time.time) -> None:
        """Args: the run, and what gives the time in seconds since the epoch."""
        self._run, self._now = run, now
        self._read_at, self._readings = -1e9, list[Reading]()
        self._ahead: dict[
            str, float
        ] = {}  # by host: the youngest a reading of it ever seemed, its clock's error included

    def readings(self) -> list[Reading]:
        """The last reading of every actor the run ever had."""
        if time.monotonic() - self._read_at > _READ_EVERY_S:
            self._readings = metering.readings(self._run)
            self._read_at, now = time.monotonic(), self._now()
            for reading in self._readings:
                age_s = now - datetime.fromisoformat(reading.updated).timestamp()
                self._ahead[reading.host] = min(age_s, self._ahead.get(reading.host, age_s))
        return self._readings

    def read_again(self) -> None:
        """Reads the meters at the next question, however lately they were read: for a decision that nothing corrects."""
        self._read_at = -1e9

    def spent_s(self) -> float:
        """Device-seconds that the run has spent at most, what came after the last beats included."""
        return sum(reading.device_s + self._since_s(reading) for reading in self.readings())

    def _since_s(self, reading: Reading) -> float:
        """Gives the most device-seconds since the last beat: from 0 to `beat_s`, also where clocks are wrong."""
        spends = reading.state in (LOADING, BUSY) or (reading.gpus > 0 and reading.state != ENDED)
        age_s = self._now() - datetime.fromisoformat(reading.updated).timestamp() - self._ahead[reading.host] + _SLACK_S
        return spends * reading.beat_s * min(1.0, max(0.0, age_s) / reading.heartbeat_s)
