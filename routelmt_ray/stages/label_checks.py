"""Checks both translations of the rows of a label run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from routelmt_ray.checks.checker import Checker
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config import schema
from routelmt_ray.config.checks import COLUMN
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import lengths
from routelmt_ray.stages.check import chosen_outputs
from routelmt_ray.stages.sides import HYPOTHESES, read_sides


def all_rows(
    size: str, sections: Sections | None, repeats: bool, context: RunContext, shard: Shard
) -> dict[str, list[Any]]:
    """Reads translation, model and status of each row of a shard, for one model; with or without the repeats."""
    side = read_sides(context, sections, shard, shared=repeats)[size]
    found: dict[str, list[Any]] = side.select(["translation", "status"]).to_pydict()
    return found | {"model": [size] * shard.rows}


def check_columns(plan: CheckPlan) -> list[str]:
    """Lists the columns of the labels with the checks that the translations of each model fail; none where no check runs."""
    return [COLUMN + size for size in HYPOTHESES] if plan.actions else []


def count_failed(columns: Mapping[str, Sequence[str | None]]) -> dict[str, dict[str, int]]:
    """Counts by column of :class:`FailedChecks` rows that were `checked`, those that `failed` any check, and those of each."""
    found = {}
    for name, values in columns.items():
        checked = [value for value in values if value is not None]
        by_check = Counter(check for value in checked for check in value.split(",") if check)
        found[name] = {"checked": len(checked), "failed": sum(map(bool, checked)), **by_check}
    return found


class FailedChecks:
    """Names the checks that the translations of a shard fail."""

    def __init__(self, context: RunContext, plan: CheckPlan, sections: Sections | None = None) -> None:
        self._context, self._plan, self._sections = context, plan, sections
        self._checkers: dict[str, Checker] = {}

    def __call__(self, shard: Shard, table: pa.Table) -> dict[str, list[str | None]]:
        """Checks the translations of both models.

        Returns:
            By column, the names of the checks that the translation of a row fails, separated by commas. It is empty where the
            translation passes, and null where there is none.
        """
        found: dict[str, list[str | None]] = {name: [None] * shard.rows for name in check_columns(self._plan)}
        for size in HYPOTHESES if found else ():
            columns, checker = all_rows(size, self._sections, True, self._context, shard), self._checker(size)
            for row, output in chosen_outputs(self._context, columns, table):
                failed = checker.failed(output, whole=columns["status"][row] != schema.TRUNCATED)
                found[COLUMN + size][row] = ",".join(failed)
        return found

    def _checker(self, size: str) -> Checker:
        if size not in self._checkers:  # opened on the worker
            plan = self._plan
            if "length" in plan.actions:
                stage, least = f"{lengths.STAGE}/{size}", plan.config.length.min_rows
                plan = plan.with_lengths(lengths.read_limits(self._context.run, least, stage))
            self._checkers[size] = Checker(plan)
        return self._checkers[size]
