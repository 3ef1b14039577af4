"""The progress of a run, read only from its run directory: without Ray, without a model, and without writing anything.

It may be read while the job runs, from any machine that can read the run directory.
"""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from routelmt_ray import storage
from routelmt_ray.budget.price import Prices, prices_of
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.budget import BUDGETS
from routelmt_ray.config.price import PriceConfig
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.job.account_run import read_facts
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime import suspects
from routelmt_ray.storage import lease
from routelmt_ray.storage.rundir import RunDir

_TOP = ("scores", "output")
_PARENTS = ("small", "large", "judge", "quality")
_BEFORE = ("repeats/keys", "repeats/groups", "repeats/rows", "memory/found", "memory/rows")
_BY_SECTION = (*_BEFORE, "shared/answers", "shared/rows")
"""Stages over sections of the corpus: those that come before all others, and two before the output."""
_RATE_WINDOW = 50
"""Number of newest commits from which a rate is computed."""
SILENT_S = 120.0
"""Seconds without a commit, or a heartbeat of the driver or an engine, after which a run whose manifest says `running`
is `silent`: it was killed, or cannot reach its run directory."""


def status(run_dir: str, now: float | None = None) -> dict[str, Any]:
    """Collects the state of a run as plain values: progress and rate of each stage, spending, the plan, and errors.

    `state` is ``running``, ``silent``, ``stopped`` (by a signal), ``failed``, ``refused``, ``dry run`` or ``done``. Seconds are
    wall seconds; a key with ``device_s`` has device-seconds. Raises ValueError where the folder is no run directory.
    """
    run, now = RunDir(run_dir), now or time.time()
    manifest = run.manifest()
    if manifest is None:
        raise ValueError(f"run_dir {run.root} has no manifest.json: not a run directory; name the run_dir of a job")
    shards, running = manifest.get("shards"), manifest["state"] == "running"
    since = datetime.fromisoformat(manifest["started"]).timestamp()
    pieces = {name: _sections(manifest) if name in _BY_SECTION else shards for name in _stages(run)}
    stages = [_stage(run, name, number, since, now, running) for name, number in pieces.items()]
    readings = meter_readings.readings(run)
    signs = [since, *(stage["last_commit"] for stage in stages if stage["last_commit"] is not None)]
    signs += [datetime.fromisoformat(reading.updated).timestamp() for reading in readings]
    if (held := storage.entry(run.root / lease.FILE)) is not None:
        signs.append(held.modified_s)
    silent = running and now - max(signs) > SILENT_S
    plans = run.plans()
    waits = [stage["eta_s"] for stage in stages if stage["eta_s"] is not None]
    return {
        "run_dir": str(run.root),
        "job": manifest["identity"].get("job"),
        "state": "silent" if silent else manifest["state"],
        "created": manifest["created"],
        "started": manifest["started"],
        "finished": None if running else manifest.get("finished"),
        "last_sign": _iso(max(signs)),
        "rows": manifest.get("rows"),
        "shards": shards,
        "stages": [stage | {"last_commit": _iso(stage["last_commit"])} for stage in stages],
        "eta_s": max(waits) if waits and not silent else None,
        "spend": _spend(manifest, readings, now),
        "account": read_facts(run),
        "promise": _promise(manifest, plans),
        "plan": [_entry(entry) for entry in plans],
        "errors": {
            "last": manifest.get("error"),
            "quarantined_rows": sum(meta["rows"] for meta in run.metas("quarantine").values()),
            "deaths": suspects.table(run),
            "damaged_files": manifest.get("damaged_files", []),
            "unread": manifest.get("unread", {"files": 0, "counted": 0, "named": []}),
        },
    }


def _stages(run: RunDir) -> Iterator[str]:
    """Folders of shards, in the order of the work."""
    yield from (name for name in _BEFORE if run.committed(name))
    yield _TOP[0]
    for parent in _PARENTS:
        yield from (f"{parent}/{name}" for name in storage.list_names(run.root / parent))
    yield from (name for name in _BY_SECTION[len(_BEFORE) :] if run.committed(name))
    yield _TOP[1]


def _sections(manifest: dict[str, Any]) -> int | None:
    """Number of sections that look for repeats; None before the corpus is open."""
    if manifest.get("rows") is None:
        return None
    return Sections.of(ShardPlan(["corpus"], [manifest["rows"]], manifest["config"]["input"]["shard_rows"])).count


def _stage(run: RunDir, name: str, shards: int | None, since: float, now: float, running: bool) -> dict[str, Any]:
    times = run.commit_times(name)
    new = sorted(at for at in times.values() if at >= since)
    left = 0 if shards is None else shards - len(times)
    rate = None
    if running and new:  # the newest commits, up to now, so that the rate of a stage that has stopped falls with time
        window = [since, *new][-_RATE_WINDOW - 1 :]
        rate = (len(window) - 1) / max(now - window[0], 1e-9)
    return {
        "name": name,
        "shards_done": len(times),
        "shards": shards,
        "rows": sum(meta["rows"] for meta in run.metas(name).values()),
        "shards_per_s": rate,
        "eta_s": left / rate if rate and left > 0 else None,
        "last_commit": max(times.values(), default=None),
    }


def _spend(manifest: dict[str, Any], readings: list[meter_readings.MeterReading], now: float) -> dict[str, Any]:
    by_kind = _by_kind(readings, now)
    hours = manifest["config"].get("budget", {}).get("gpu_hours")
    spent_s = sum(by_kind.values())
    prices = None
    if "price" in manifest["config"]:
        prices = prices_of(configlib.build(PriceConfig, manifest["config"]["price"]))
    return {
        "unit": meter_readings.unit(readings),
        "spent_device_s": spent_s,
        "by_kind": by_kind,
        "usage": {
            kind: usage for kind in by_kind if (usage := meter_readings.used(r for r in readings if r.kind == kind))
        },
        "money": None if prices is None else _money(manifest, readings, prices, now),
        "actors_alive": sum(r.state != meter_readings.ENDED and meter_readings.is_alive(r, now) for r in readings),
        "budget_device_s": None if hours is None else hours * 3600,
        "remaining_device_s": None if hours is None else hours * 3600 - spent_s,
    }


def _money(
    manifest: dict[str, Any], readings: list[meter_readings.MeterReading], prices: Prices, now: float
) -> dict[str, Any]:
    by_kind = _by_kind((meter_readings.in_money(reading, prices) for reading in readings), now)
    budget = manifest["config"].get("budget", {}).get("money")
    return {
        "currency": prices.currency,
        "spent": sum(by_kind.values()),
        "by_kind": by_kind,
        "budget": budget,
        "remaining": None if budget is None else budget - sum(by_kind.values()),
    }


def _by_kind(readings: Iterable[meter_readings.MeterReading], now: float) -> dict[str, float]:
    charged: dict[str, float] = {}
    for reading in readings:
        charged[reading.kind] = charged.get(reading.kind, 0.0) + meter_readings.charged_s(reading, now)
    return charged


def _promise(manifest: dict[str, Any], plans: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The promise of the newest budget about losses, as in report.json; None where it promises nothing."""
    found = next((entry["base"].get("risk") for entry in reversed(plans) if "base" in entry), None)
    return found and found | {"rest": manifest["config"]["guard"]["risk"]["unproven"]}


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    cut = (entry.get("routed") or {}).get("cut") or {}
    asked = {key: value for key, value in entry["asked"].items() if key in BUDGETS}
    return {
        "entry": entry["entry"],
        "kind": entry["kind"],
        "final": entry["final"],
        "asked": {key: value for key, value in asked.items() if value is not None},
        "routed_rows": cut.get("k"),
        "threshold": cut.get("threshold"),
        "capacity_money" if entry["asked"].get("money") else "capacity_device_s": entry.get("capacity_s"),
    }


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
