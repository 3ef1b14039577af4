"""The parts of report.json on device time and money, the plan and the audit."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from routelmt_ray.budget.price import Prices, planned_prices, prices_of
from routelmt_ray.config.schema import LARGE
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.evaluation.audit import audit
from routelmt_ray.evaluation.formats import amount
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.plan.plan import ESCALATED, OPENING, TOPPED, TRANCHE, WHOLE, Series
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.storage.rundir import RunDir

_KINDS = ("profile", "probe", "small", "large", "judge")
_ALL_BUT_SPENT = 0.03
"""A budget counts as spent where a smaller share of it is left."""


def spend(run: RunDir, config: TranslateConfig, series: Series) -> dict[str, Any] | None:
    """Sums up the metered device-seconds by stage, and with prices the money, and compares them with the budget; None where
    nothing was metered."""
    readings = meter_readings.readings(run)
    if not readings:
        return None
    prices, budget = prices_of(config.price), config.budget
    stages: list[dict[str, Any]] = []
    for kind in _KINDS:
        if ours := [r for r in readings if r.kind == kind]:
            stages.append(
                {
                    "name": kind,
                    "device_s": sum(meter_readings.charged_s(r) for r in ours),
                    "load_s": sum(r.load_s for r in ours if not r.usage),
                    "busy_s": sum(r.busy_s for r in ours if not r.usage),
                    "incarnations": len(ours),
                    "lost": sum(r.at_work for r in ours),
                    "usage": meter_readings.used(ours),
                    "money": None if prices is None else _money(ours, prices),
                }
            )
    spent_s, hours = sum(stage["device_s"] for stage in stages), budget.gpu_hours
    money = None
    if prices is not None:
        money = {"currency": prices.currency, "budget": budget.money, "spent": _money(readings, prices)}
    spent, limit = spent_s, None if hours is None else hours * 3600
    if money is not None and budget.money is not None:
        spent, limit = money["spent"], budget.money
    reason = None
    if limit is not None and spent < (1 - _ALL_BUT_SPENT) * limit and (planned := series.of(TRANCHE, TOPPED)):
        cut = planned[-1]["routed"]["cut"]
        if cut["k"] == cut["n_eligible"]:
            reason = "every row that may be routed is" + (
                "" if config.min_gain is None else f": no other has a predicted gain above {config.min_gain:g}"
            )
    over = 0.0 if limit is None else spent - limit
    return {
        "unit": meter_readings.unit(readings),
        "budget_s": None if hours is None else hours * 3600,
        "spent_s": spent_s,
        "money": money,
        "stages": stages,
        "unspent_reason": reason,
        "overspent": {
            "money" if budget.money is not None else "seconds": over,
            "reasons": _reasons(run, readings, config, series),
        }
        if over > 0
        else None,
    }


def _money(readings: Iterable[meter_readings.MeterReading], prices: Prices) -> float:
    return sum(meter_readings.charged_s(meter_readings.in_money(reading, prices)) for reading in readings)


def _reasons(
    run: RunDir, readings: Sequence[meter_readings.MeterReading], config: TranslateConfig, series: Series
) -> list[str]:
    """Says in words why a budget in hours or money was exceeded."""
    reasons, prices = [], planned_prices(config)

    def said(amount_: float, decimals: int = 0) -> str:
        return f"{amount_:.{decimals}f} s" if prices is None else amount(amount_, prices.currency)

    last = series.of(TRANCHE)[-1:]
    if last and (short_s := _shortage_s(last[0])) > 0:
        position, scale = last[0]["position"], last[0]["scale_small"]
        reasons.append(
            f"when the last rows were planned, all that was left to do took {said(short_s)} more than the budget even without "
            f"them: {said(position['spent_s'])} were spent, and the small model took {scale:.2f} times what was profiled"
        )
    if lost := _lost(readings):
        lost_s = sum((r if prices is None else meter_readings.in_money(r, prices)).load_s for r in lost)
        reasons.append(
            f"{len(lost)} engines died; to load them again took about {said(lost_s)}, besides the work that was lost"
        )
    plan = [line for line in plan_table(run, config, series) if line["predicted_s"]]
    if plan and plan[-1]["measured_s"] > plan[-1]["predicted_s"]:
        line = plan[-1]
        reasons.append(
            f"the last rows took {said(line['measured_s'], 1)} on the large model, not {said(line['predicted_s'], 1)}"
        )
    return reasons or ["rows and loads took longer than those before them"]


def _shortage_s(entry: Mapping[str, Any]) -> float:
    position = entry["position"]
    owed_s = entry["scale_small"] * position["small_todo_s"] + entry["scale_large"] * position["large_todo_s"]
    return float(position["spent_s"] + position["fixed_s"] + owed_s - position["budget_s"])


def _lost(readings: Sequence[meter_readings.MeterReading]) -> list[meter_readings.MeterReading]:
    """Lists engines that died: those that Ray started again, and those at work when an earlier start ended."""
    newest = max((r.start for r in readings), default="")
    cut_off = [r for r in readings if r.start != newest and r.at_work]
    crashed = [r for r in meter_readings.crashed(readings) if r not in cut_off]
    return [*crashed, *cut_off]


def plan_table(run: RunDir, config: TranslateConfig, series: Series) -> list[dict[str, Any]]:
    """Lists the plan entries that have a cut, one line each, oldest first; opening entries have none.

    Keys in `_s` hold money where the budget is in money.
    """
    table, prices = [], planned_prices(config)
    for number, entry in enumerate(series.of(WHOLE, OPENING, TRANCHE, ESCALATED, TOPPED)):
        if entry["kind"] == OPENING:
            continue
        metas = run.metas(f"{LARGE}/{entry['entry']:03d}").values()
        hours = entry["kind"] in (TRANCHE, TOPPED)
        measured = [meta["device_s"] if prices is None else prices.large.committed(meta) for meta in metas]
        table.append(
            {
                "entry": entry["entry"],
                "tranche": entry.get("tranche", 0),
                "again": entry.get("again"),
                "rows": entry["routed"]["cut"]["k"],
                "threshold": entry["routed"]["cut"]["threshold"],
                "capacity_s": entry.get("capacity_s"),
                "predicted_s": entry["scale_large"] * entry["tally"]["owed"][number][2] if hours else None,
                "spent_before_s": entry["position"]["spent_s"] if hours else None,
                "scale_small": entry.get("scale_small"),
                "scale_large": entry.get("scale_large"),
                "measured_s": sum(measured) if hours else None,
            }
        )
    return table


def route_reasons(merged: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Counts rows by the reason of their route, most frequent first."""
    return dict(sum((Counter(meta["reasons"]) for meta in merged), Counter()).most_common())


def audit_facts(config: TranslateConfig, planner: Planner, merged: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Computes the findings of the audit; None where the run has no audited rows."""
    rows = [row for meta in merged for row in meta["audit"]]
    if config.audit_metric is None or not rows:
        return None
    predicted, realised, routed = (np.asarray(column) for column in list(zip(*rows))[:3])
    metric = ChrF.name if config.audit_metric == "chrf" else config.guard.judge
    return audit(
        predicted,
        realised.astype(np.float64),
        routed.astype(bool),
        metric=metric,
        tau=config.guard.risk.loss,
        seed=config.seed,
    )
