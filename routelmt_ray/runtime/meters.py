"""Reads the meters of a run on the driver while the run is working. The clocks of driver and workers may differ."""

import time
from collections.abc import Callable
from datetime import datetime

from routelmt_ray.budget.price import Prices
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.readings import MeterReading
from routelmt_ray.storage.rundir import RunDir

_READ_EVERY_S = 0.5
"""Seconds for which a reading is reused. One commit asks many times, and on S3 each reading is a request."""
_SLACK_S = 0.05
"""Seconds: the least age that a reading has when it is read."""


class Meters:
    """The meters of one run, at most half a second old."""

    def __init__(self, run: RunDir, now: Callable[[], float] = time.time, prices: Prices | None = None) -> None:
        """Args: run: the run; now: gives the time in seconds since the epoch; prices: with them, all amounts are money."""
        self._run, self._now, self._prices = run, now, prices
        self._read_at, self._readings = -1e9, list[MeterReading]()
        self._ahead: dict[
            str, float
        ] = {}  # by host: the least age its readings ever seemed to have, in seconds, with the error of its clock

    def readings(self) -> list[MeterReading]:
        """Reads the last reading of every actor that the run ever had; reuses recent ones."""
        if time.monotonic() - self._read_at > _READ_EVERY_S:
            self._readings = meter_readings.readings(self._run, self._prices)
            self._read_at, now = time.monotonic(), self._now()
            for reading in self._readings:
                age_s = now - datetime.fromisoformat(reading.updated).timestamp()
                self._ahead[reading.host] = min(age_s, self._ahead.get(reading.host, age_s))
        return self._readings

    def read_again(self) -> None:
        """Makes the next call read the meters again, for a decision that cannot be corrected later."""
        self._read_at = -1e9

    def spent_s(self) -> float:
        """Computes the most device-seconds that the run can have spent, with the time after the last beats."""
        return sum(reading.device_s + self._since_s(reading) for reading in self.readings())

    def _since_s(self, reading: MeterReading) -> float:
        """The most device-seconds since the last beat: from 0 to `beat_s`, even if clocks are wrong."""
        age_s = self._now() - datetime.fromisoformat(reading.updated).timestamp() - self._ahead[reading.host] + _SLACK_S
        return reading.spends * reading.beat_s * min(1.0, max(0.0, age_s) / reading.heartbeat_s)
