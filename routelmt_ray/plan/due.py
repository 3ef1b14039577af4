"""Tells when an item of work may start: once its plan entry is written. A small module, because every gate loads it."""

from dataclasses import dataclass

import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.plan.plan import AUDIT, FALLBACK
from routelmt_ray.storage.rundir import RunDir


@dataclass(frozen=True)
class Written:
    """Tells whether the plan entry of an item of work is written."""

    run: RunDir

    def __call__(self, item: pa.Table) -> bool:
        entry = item["entry"][0].as_py()
        return entry in (AUDIT, FALLBACK) or storage.exists(self.run.plan_path(entry))


def entry_of(stage: str) -> int:
    """Finds the number of the plan entry that a stage belongs to; `AUDIT` or `FALLBACK` where it has none."""
    name = stage.partition("/")[2]
    return int(name) if name.isdigit() else FALLBACK if name.endswith("-fallback") else AUDIT
