"""Exports figures to Prometheus through the metrics of Ray.

The driver counts the shards that commit, and the agent of Ray on its node exports the counts. Ray puts ``ray_`` before
every name. The extra `cluster` installs the agent. Without it the figures are not exported, and nothing else changes. A
committed shard costs a few calls in the driver.
"""

import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ray.util.metrics import Counter, Gauge

from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)

_STAGES = {
    "scores": ("score", "small"),
    "small": ("translate", "small"),
    "large": ("translate", "large"),
    "judge": ("judge", ""),
    "quality": ("measure", ""),
    "output": ("merge", ""),
}
"""Labels (stage, model) of the shards that commit to a folder of the run directory."""
_LABELS = ("stage", "model")
_COUNTED = {
    "rows": ("routelmt_rows_total", "Rows committed"),
    "prompt_tokens": ("routelmt_prompt_tokens_total", "Prompt tokens of committed rows that were probed"),
    "output_tokens": ("routelmt_output_tokens_total", "Tokens generated for committed rows"),
    "device_s": ("routelmt_device_seconds_total", "Device-seconds of committed work, without loading and idling"),
}
"""Counters: the name and the description of each, by its key in the summary of a commit."""
_BUDGET = {
    "asked": ("routelmt_budget_device_seconds", "Device-seconds asked for"),
    "predicted": ("routelmt_predicted_device_seconds", "Device-seconds the whole job takes, as planned last"),
    "spent": ("routelmt_spent_device_seconds", "Device-seconds held or used so far, loading and lost work included"),
}
_ACCOUNT = {
    "allowance": ("routelmt_account_allowance", "Allowance of the account's period, in rows or device-seconds"),
    "granted": ("routelmt_account_granted", "What the account grants this job, in the same unit"),
    "left": ("routelmt_account_left", "What is neither spent nor reserved after this grant, in the same unit"),
}
_SPENT_EVERY_S = 30.0
"""Seconds between two readings of the meters: reading those of a thousand actors takes a moment."""


class Figures:
    """Counters and gauges of this process."""

    def __init__(self) -> None:
        """Registers the counters and gauges with Ray."""
        self._counters = {key: Counter(name, text, _LABELS) for key, (name, text) in _COUNTED.items()}
        self._pending = Gauge("routelmt_pending_shards", "Shards that are not committed", _LABELS)
        self._budget = {key: Gauge(name, text) for key, (name, text) in _BUDGET.items()}
        self._account = {key: Gauge(name, text) for key, (name, text) in _ACCOUNT.items()}
        self._spent_at = 0.0

    def committed(self, stage: str, commit: Mapping[str, Any]) -> None:
        """Counts a committed shard.

        Args:
            stage: its folder in the run directory, such as ``large/000``.
            commit: summary of its commit for the driver.
        """
        for key, counter in self._counters.items():
            if (value := commit.get(key, 0)) > 0:  # a counter does not accept 0
                counter.inc(value, _labels(stage))

    def pending(self, stage: str, shards: int) -> None:
        """Sets the number of shards of a stage that are not committed."""
        self._pending.set(shards, _labels(stage))

    def planned(self, asked_s: float, predicted_s: float) -> None:
        """Sets the device-seconds of a budget in hours, and those that the last plan expects for the whole job."""
        self._budget["asked"].set(asked_s)
        self._budget["predicted"].set(predicted_s)

    def account(self, allowance: float, granted: float, left: float) -> None:
        """Sets the figures of an account, in rows or device-seconds."""
        for key, value in (("allowance", allowance), ("granted", granted), ("left", left)):
            self._account[key].set(value)

    def spent(self, run: RunDir, at_once: bool = False) -> None:
        """Sets the device-seconds that the meters of a run show, at most once in 30 seconds unless asked at once."""
        if at_once or time.monotonic() - self._spent_at > _SPENT_EVERY_S:
            self._spent_at = time.monotonic()
            try:
                self._budget["spent"].set(meter_readings.total_s(run, now=time.time()))
            except (OSError, ValueError) as error:  # not a reason to end a job
                log.warning("the seconds spent are not exported: %s", error)


@lru_cache(maxsize=1)
def figures() -> Figures:
    """Gets the figures of this process; they are made once."""
    return Figures()


def _labels(stage: str) -> dict[str, str]:
    folder = stage.partition("/")[0]
    return dict(zip(_LABELS, _STAGES.get(folder, (folder, ""))))
