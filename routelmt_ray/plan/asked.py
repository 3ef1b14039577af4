"""Identifies a budget: a start that asks for something else begins another series of plan entries."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from routelmt_ray.budget.cost import CostModel
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config.translate import TranslateConfig


def asked(config: TranslateConfig, cost: CostModel | None = None) -> dict[str, Any]:
    """Collects what identifies a series: another budget, guard, audit or profile starts another series."""
    # All keys of the section, so that a key that is added later counts too, unless it is null.
    guard = {field.name: getattr(config.guard, field.name) for field in fields(config.guard)}
    risk = None if config.guard.risk.rate is None else asdict(config.guard.risk)
    return {
        **config.budget.asked(),
        "guard": without_nulls(guard | {"comet_qe": config.guard.comet_qe.path, "risk": risk}),
        "audit_rows": config.audit.rows,
        **(
            {"checks": CheckPlan.of(config).escalating.identity | {"reserve": config.checks.reserve}}
            if config.checks.escalates
            else {}
        ),
        **({"cost": cost.digest()} if cost is not None and config.budget.by_cost else {}),
    }


def without_nulls(guard: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out the guards that are turned off: a new kind of guard does not change the budgets that were asked before."""
    return {name: value for name, value in guard.items() if value is not None}


def is_asked(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tells whether an entry was written for the budget of :func:`asked`."""
    was = entry["asked"]
    return {**was, "guard": without_nulls(was["guard"])} == wanted


def is_asked_before_costs(entry: Mapping[str, Any], config: TranslateConfig) -> bool:
    """Tells whether an entry was written for the budget of a configuration, before the costs of rows are known."""
    return is_asked({"asked": {key: value for key, value in entry["asked"].items() if key != "cost"}}, asked(config))
