"""The promise of a budget about losses: the run whose audit gives it, whether that audit fits, and the floors that keep
it."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from routelmt_ray.budget.risk import Certified, Promise, promise, rows_needed
from routelmt_ray.budget.rule import Rule
from routelmt_ray.config.common import EACH
from routelmt_ray.config.risk import ALL, REFUSE, ROUTE
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.plan.asked import asked, is_asked_before_costs
from routelmt_ray.stages import output
from routelmt_ray.storage.rundir import RunDir, differences

log = logging.getLogger(__name__)


def with_floors(rule: Rule, config: TranslateConfig, found: Mapping[str, Any] | None) -> Rule:
    """Adds the floors of a promise, as :func:`promise_of` gave it or None, to a rule."""
    if found is None:
        return rule
    floors = Promise.from_dict(found).floors(config.guard.risk.unproven)
    return replace(rule, guards=(*rule.guards, ("risk", floors)))


def check_promise(config: TranslateConfig, identity: Mapping[str, Any]) -> None:
    """Checks before any work that the audit can give the promise, or that this budget has it already.

    Raises ValueError where the audit is of something else, or too small, or shows too many losses.
    """
    risk, entries = config.guard.risk, RunDir(config.run_dir).plans()
    if risk.rate is None or (entries and is_asked_before_costs(entries[-1], config)):
        return
    recorded = (RunDir(str(config.guard.risk_from)).manifest() or {}).get("identity", identity)
    if changed := differences(_shaping(recorded), _shaping(identity)):
        raise ValueError(
            f"guard.risk_from is {config.guard.risk_from}, whose audit was made with other settings:\n  " + "\n  ".join(changed)
            + "\n(there -> here). A promise needs the same models and router; audit some rows with these"
        )  # fmt: skip
    found = Promise.from_dict(promise_of(config) or {})
    for name, group in found.unproven:
        message = _why_not(found, name, group)
        if risk.unproven == REFUSE:
            raise ValueError(
                f"{message}; audit more rows, or change guard.risk.rate or guard.risk.loss, or set guard.risk.unproven=small (such "
                "rows stay with the small model) or guard.risk.unproven=route (they are routed without a promise)"
            )
        log.warning("%s; its rows %s", message, "are routed" if risk.unproven == ROUTE else "stay with the small model")


def _shaping(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Selects the parts that must be equal in both runs: they shape predicted or measured gains, or what counts as a row."""
    duplicates = identity.get("input", {}).get("duplicates", EACH)
    shaping = {name: identity.get(name) for name in ("models", "router", "terms")}
    return {**shaping, "input": {"duplicates": duplicates}}


def promise_of(config: TranslateConfig) -> dict[str, Any] | None:
    """Reads the audit that the configuration names, and finds what it promises; None where nothing is to be promised.

    Where that audit is no longer there, a promise of an earlier budget in this run directory for the same keys is taken.
    Raises ValueError where the run has no audit, is not finished, or was measured in another way.
    """
    risk, path = config.guard.risk, config.guard.risk_from
    if risk.rate is None:
        return None
    source = RunDir(str(path))
    manifest = source.manifest() or {}
    measure, here = manifest.get("output_audit"), config.audit_measure
    whole = len(source.committed(output.STAGE)) == max(1, manifest.get("shards", 0))
    if measure is None or not whole:
        if (kept := _kept(config)) is not None:
            return kept
        what = "is not finished" if measure else "has no audit" if manifest else "is not there"
        raise ValueError(
            f"guard.risk_from is {path}, a run that {what}; name a finished run with audit.rows of at least "
            f"{2 * (rows_needed(risk.rate, risk.confidence) or 0)}, which a rate of {risk.rate:g} needs"
        )
    if here is not None and (changed := differences(measure, here)):
        raise ValueError(
            f"guard.risk_from is {path}, whose audit measured in another way than this run does: {'; '.join(changed)} (there "
            "-> here); audit some rows with the measure of this run"
        )
    rows = [(row[0], row[1], row[3]) for meta in source.metas(output.STAGE).values() for row in meta.get("audit", [])]
    return promise(
        rows, rate=risk.rate, loss=risk.loss, confidence=risk.confidence, by=risk.by, metric=measure["metric"], source=str(path)
    ).to_dict()  # fmt: skip


def _kept(config: TranslateConfig) -> dict[str, Any] | None:
    """The newest promise of an earlier budget of this run for the same keys."""
    wanted = asked(config)["guard"]
    for entry in reversed(RunDir(config.run_dir).plans()):
        guard = entry["asked"]["guard"]
        if entry.get("base", {}).get("risk") and all(guard.get(k) == wanted[k] for k in ("risk", "risk_from")):
            found: dict[str, Any] = entry["base"]["risk"]
            return found
    return None


def _why_not(found: Promise, name: str, group: Certified) -> str:
    """Says why nothing is promised about a group, and how many rows would do."""
    whose = f"rows of {name}" if name != ALL else "rows"
    words = (
        f"guard.risk.rate is {found.rate:g}, which the audit of {found.source} cannot promise with {100 * found.confidence:g} % "
        f"confidence: of {group.rows} {whose} with the highest predicted gain that test it, {group.losses} lose more than "
        f"{found.loss:g} ({found.metric})"
    )
    least = rows_needed(found.rate, found.confidence)
    if group.losses == 0:
        return f"{words}; {least} without a loss would do, and as many again to check them"
    more = rows_needed(found.rate, found.confidence, group.losses / group.rows)
    if more is None:
        return f"{words}, {group.losses / group.rows:.1%}, and more rows like these would not do"
    return f"{words}; about {more} with this share of losses would do, and as many again to check them"
