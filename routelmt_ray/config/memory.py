"""The section `memory`: translations that runs keep for each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from routelmt_ray.config.common import ONCE
from routelmt_ray.config.guards import GUARDS
from routelmt_ray.config.loader import option

if TYPE_CHECKING:
    from routelmt_ray.config.translate import TranslateConfig


@dataclass(frozen=True)
class MemoryConfig:
    """Translations that runs keep for each other."""

    path: Optional[str] = option(None, "null or a folder", lambda v: v != "")
    """Folder, also on S3, with the segments that earlier runs translated. Those of the same model, prompt and limits are taken from
    it, and new ones are added. It may be deleted at any time. Needs `input.duplicates=once`. Null: none."""


def check_memory(config: TranslateConfig) -> None:
    """Refuses what does not go together with a memory."""
    path, guard, budget = config.memory.path, config.guard, config.budget
    if path is None:
        return
    if config.input.duplicates != ONCE:
        raise ValueError(
            f"memory.path is {path}, but input.duplicates is {config.input.duplicates}: a memory keeps segments; set "
            f"input.duplicates={ONCE}"
        )
    judged = {f"guard.{name}": limit for name, limit in guard.limits.items() if GUARDS[name].needs_judge}
    floors = {"audit.rows": config.audit.rows, "budget.floors": budget.floors, "budget.caps": budget.caps}
    for key, value in (judged | {name: value for name, value in floors.items() if value}).items():
        raise ValueError(
            f"memory.path is {path} and {key} is {value}, which cannot be combined yet: segments of a memory are not scored; "
            "leave one of them out"
        )
