"""Runs the checks that a plan asks for."""

from collections.abc import Mapping
from pkgutil import resolve_name

from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding
from routelmt_ray.config.checks import CHECKS, QUARANTINE


class Checker:
    """Holds the opened checks of a plan."""

    def __init__(self, plan: CheckPlan) -> None:
        """Args: plan: the checks that run."""
        self._actions = plan.actions
        self.checks: list[tuple[str, Check, bool]] = [
            (name, resolve_name(CHECKS[name].opens)(plan), CHECKS[name].compares) for name in self._actions
        ]
        """Name, function, and whether it compares with the whole source, of each check."""

    def findings(self, output: CheckedOutput, whole: bool = True) -> dict[str, Finding]:
        """Checks a translation by all checks, or, where only the beginning of the source is translated, by those that
        do not need the whole. Returns what each check found, by name; checks without a verdict are left out."""
        found = {}
        for name, check, compares in self.checks:
            if whole or not compares:
                finding = check(output)
                if finding is not None:
                    found[name] = finding
        return found

    def verdict(self, findings: Mapping[str, Finding]) -> tuple[str, str] | None:
        """Sums up what the checks found in a row. Returns the status, and what is wrong in words; None where no check
        fails. A check that quarantines the row comes before one that only flags it."""
        failed = [name for name, finding in findings.items() if finding.failed]
        if not failed:
            return None
        first = next((name for name in failed if self._actions[name] == QUARANTINE), failed[0])
        return CHECKS[first].status, "; ".join(f"{name}: {findings[name].note}" for name in failed)
