"""Exports figures to Prometheus through the metrics of Ray.

The driver counts the shards that commit, and the agent of Ray on its node exports the counts. Ray puts ``ray_`` before
every name. The extra `cluster` installs the agent. Without it the figures are not exported, and nothing else changes. A
committed shard costs a few calls in the driver.
"""

import logging
import math
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ray.util.metrics import Counter, Gauge

from routelmt_ray.budget.cost import is_money
from routelmt_ray.budget.price import Prices
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
_SET = {
    "budget_device_seconds": "Device-seconds asked for",
    "predicted_device_seconds": "Device-seconds the whole job takes, as planned last",
    "spent_device_seconds": "Device-seconds held or used so far, loading and lost work included",
    "budget_money": "Money asked for",
    "predicted_money": "Money the whole job takes, as planned last",
    "spent_money": "Money spent so far, loading and lost work included; only with prices",
    "promise_rate": "Largest share of routed rows that may lose more than guard.risk.loss",
    "promise_bound": "Upper bound of that share by the audit; NaN where nothing is promised",
    "promise_threshold": "Predicted gain from which on it is promised; NaN where nothing is",
    "routed_rows": "Rows routed to the large model by a budget in rows, or by a threshold",
    "eligible_rows": "Rows that have a score",
    "account_allowance": "Allowance of the account's period, in rows, device-seconds or money",
    "account_granted": "What the account grants this job, in the same unit",
    "account_left": "What is neither spent nor reserved after this grant, in the same unit",
}
"""Gauges: the description of each, by its name after ``routelmt_``."""
_LABEL = {"money": "currency", "promise": "group"}
"""Label of gauges, by a word in their name."""
_SPENT_EVERY_S = 30.0
"""Seconds between two readings of the meters: reading those of a thousand actors takes a moment."""


class Figures:
    """Counters and gauges of this process."""

    def __init__(self) -> None:
        """Registers the counters and gauges with Ray."""
        self._counters = {key: Counter(name, text, _LABELS) for key, (name, text) in _COUNTED.items()}
        self._pending = Gauge("routelmt_pending_shards", "Shards that are not committed", _LABELS)
        labels = {name: tuple(label for word, label in _LABEL.items() if word in name) for name in _SET}
        self._gauges = {name: Gauge(f"routelmt_{name}", text, labels[name]) for name, text in _SET.items()}
        self.prices: Prices | None = None
        """Prices of the job, if it has any."""
        self._spent_at = 0.0

    def committed(self, stage: str, commit: Mapping[str, Any]) -> None:
        """Counts a committed shard. `stage` is its folder in the run directory, such as ``large/000``."""
        for key, counter in self._counters.items():
            if (value := commit.get(key, 0)) > 0:  # a counter does not accept 0
                counter.inc(value, _labels(stage))

    def pending(self, stage: str, shards: int) -> None:
        """Sets the number of shards of a stage that are not committed."""
        self._pending.set(shards, _labels(stage))

    def planned(self, asked: float, predicted: float, unit: str) -> None:
        """Sets the amount of a budget in hours or money, and that which the last plan expects for the whole job."""
        for key, amount in (("budget", asked), ("predicted", predicted)):
            if is_money(unit):
                self._gauges[f"{key}_money"].set(amount, {"currency": unit})
            else:
                self._gauges[f"{key}_device_seconds"].set(amount)

    def routed(self, rows: int, eligible: int) -> None:
        """Sets the rows that a budget in rows, or a threshold, routes, and those that it could."""
        self._gauges["routed_rows"].set(rows)
        self._gauges["eligible_rows"].set(eligible)

    def promised(self, promise: Mapping[str, Any] | None) -> None:
        """Sets the promise about losses, by group: `all`, or language pairs."""
        if promise is None:
            return
        for name, group in promise["groups"].items():
            ascii_name = name.replace("→", "->").encode("ascii", "backslashreplace").decode()
            held, labels = group["threshold"] is not None, {"group": ascii_name}  # Ray takes no other labels
            self._gauges["promise_rate"].set(promise["rate"], labels)
            for key in ("bound", "threshold"):
                self._gauges[f"promise_{key}"].set(group[key] if held else math.nan, labels)

    def account(self, allowance: float, granted: float, left: float) -> None:
        """Sets the figures of an account, in rows, device-seconds or money."""
        for key, value in (("allowance", allowance), ("granted", granted), ("left", left)):
            self._gauges[f"account_{key}"].set(value)

    def spent(self, run: RunDir, at_once: bool = False) -> None:
        """Sets the device-seconds, and with prices the money, that the meters of a run show, at most once in 30 seconds unless asked at once."""
        if at_once or time.monotonic() - self._spent_at > _SPENT_EVERY_S:
            self._spent_at = time.monotonic()
            try:
                self._gauges["spent_device_seconds"].set(meter_readings.total_s(run, now=time.time()))
                if self.prices is not None:
                    money = meter_readings.total_s(run, now=time.time(), prices=self.prices)
                    self._gauges["spent_money"].set(money, {"currency": self.prices.currency})
            except (OSError, ValueError) as error:  # not a reason to end a job
                log.warning("the figures for Prometheus are not up to date: %s", error)


@lru_cache(maxsize=1)
def figures() -> Figures:
    """Gets the figures of this process; they are made once."""
    return Figures()


def _labels(stage: str) -> dict[str, str]:
    folder = stage.partition("/")[0]
    return dict(zip(_LABELS, _STAGES.get(folder, (folder, ""))))
