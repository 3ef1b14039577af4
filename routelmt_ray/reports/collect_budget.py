"""The parts of report.json on device time, the plan and the audit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from routelmt_ray.config.schema import LARGE
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.evaluation.audit import audit
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.plan.plan import ESCALATED, OPENING, TRANCHE, WHOLE, Series
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.storage.rundir import RunDir

_KINDS = ("profile", "probe", "small", "large", "judge")
_ALL_BUT_SPENT = 0.03
"""A budget counts as spent where a smaller share of it is left."""


def spend(run: RunDir, config: TranslateConfig, series: Series) -> dict[str, Any] | None:
    """Sums up the metered device-seconds by stage and compares them with the budget; None where nothing was metered."""
    readings = meter_readings.readings(run)
    if not readings:
        return None
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
                    "lost": sum(r.state in (meter_readings.LOADING, meter_readings.BUSY) for r in ours),
                    "usage": meter_readings.used(ours),
                }
            )
    spent_s, hours = sum(stage["device_s"] for stage in stages), config.budget.gpu_hours
    reason = None
    if hours is not None and spent_s < (1 - _ALL_BUT_SPENT) * hours * 3600 and (planned := series.of(TRANCHE)):
        cut = planned[-1]["routed"]["cut"]
        if cut["k"] == cut["n_eligible"]:
            reason = "every row that may be routed is" + (
                "" if config.min_gain is None else f": no other has a predicted gain above {config.min_gain:g}"
            )
    over_s = 0.0 if hours is None else spent_s - hours * 3600
    return {
        "unit": meter_readings.unit(readings),
        "budget_s": None if hours is None else hours * 3600,
        "spent_s": spent_s,
        "stages": stages,
        "unspent_reason": reason,
        "overspent": {"seconds": over_s, "reasons": _reasons(run, readings, series)} if over_s > 0 else None,
    }


def _reasons(run: RunDir, readings: Sequence[meter_readings.MeterReading], series: Series) -> list[str]:
    """Says in words why a budget in hours was exceeded."""
    reasons = []
    last = series.of(TRANCHE)[-1:]
    if last and (short_s := _shortage_s(last[0])) > 0:
        position, scale = last[0]["position"], last[0]["scale_small"]
        reasons.append(
            f"when the last rows were planned, all that was left to do took {short_s:.0f} s more than the budget even without "
            f"them: {position['spent_s']:.0f} s were spent, and the small model took {scale:.2f} times what was profiled"
        )
    if lost := _lost(readings):
        lost_s = sum(r.load_s for r in lost)
        reasons.append(
            f"{len(lost)} engines died; to load them again took about {lost_s:.0f} s, besides the work that was lost"
        )
    plan = [line for line in plan_table(run, series) if line["predicted_s"]]
    if plan and plan[-1]["measured_s"] > plan[-1]["predicted_s"]:
        line = plan[-1]
        reasons.append(
            f"the last rows took {line['measured_s']:.1f} s on the large model, not {line['predicted_s']:.1f}"
        )
    return reasons or ["rows and loads took longer than those before them"]


def _shortage_s(entry: Mapping[str, Any]) -> float:
    position = entry["position"]
    owed_s = entry["scale_small"] * position["small_todo_s"] + entry["scale_large"] * position["large_todo_s"]
    return float(position["spent_s"] + position["fixed_s"] + owed_s - position["budget_s"])


def _lost(readings: Sequence[meter_readings.MeterReading]) -> list[meter_readings.MeterReading]:
    """Lists engines that died: those that Ray started again, and those at work when an earlier start ended."""
    newest = max((r.start for r in readings), default="")
    cut_off = [r for r in readings if r.start != newest and r.state in (meter_readings.LOADING, meter_readings.BUSY)]
    crashed = [r for r in meter_readings.crashed(readings) if r not in cut_off]
    return [*crashed, *cut_off]


def plan_table(run: RunDir, series: Series) -> list[dict[str, Any]]:
    """Lists the plan entries that have a cut, one line each, oldest first; opening entries have none."""
    table = []
    for number, entry in enumerate(series.of(WHOLE, OPENING, TRANCHE, ESCALATED)):
        if entry["kind"] == OPENING:
            continue
        metas = run.metas(f"{LARGE}/{entry['entry']:03d}").values()
        hours = entry["kind"] == TRANCHE
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
                "measured_s": sum(meta["device_s"] for meta in metas) if hours else None,
            }
        )
    return table


def route_reasons(merged: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Counts rows by the reason of their route, most frequent first."""
    return dict(sum((Counter(meta["reasons"]) for meta in merged), Counter()).most_common())


def audit_facts(config: TranslateConfig, planner: Planner, merged: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Computes what the audit found; None where the run has no audited rows."""
    rows = [row for meta in merged for row in meta["audit"]]
    if config.audit_metric is None or not rows:
        return None
    predicted, realised, routed = (np.asarray(column) for column in zip(*rows))
    metric = ChrF.name if config.audit_metric == "chrf" else config.guard.judge
    return audit(predicted, realised.astype(np.float64), routed.astype(bool), metric=metric, seed=config.seed)
