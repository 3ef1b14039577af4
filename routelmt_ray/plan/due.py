"""When an item of work may go on: the plan entry it belongs to is written. A module of its own, as every gate loads it."""

from dataclasses import dataclass

import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.plan.plan import AUDIT, FALLBACK
from routelmt_ray.storage.rundir import RunDir


@dataclass(frozen=True)
class Written:
    """Whether the plan entry an item of work belongs to is written."""

    run: RunDir
    """The run directory."""

    def __call__(self, item: pa.Table) -> bool:
        """True once the item may go on."""
        entry = item["entry"][0].as_py()
        return entry in (AUDIT, FALLBACK) or storage.exists(self.run.plan_path(entry))


def entry_of(stage: str) -> int:
    """The plan entry a stage's item of work names."""
    name = stage.partition("/")[2]
    return int(name) if name.isdigit() else FALLBACK if name.endswith("-fallback") else AUDIT
