"""Runs the checks that a plan asks for."""

from collections.abc import Mapping
from functools import cached_property
from pkgutil import resolve_name

from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding
from routelmt_ray.config.checks import CHECKS, QUARANTINE


class Checker:
    """Holds the checks of a plan, which are opened when the first translation is checked: on a worker."""

    def __init__(self, plan: CheckPlan) -> None:
        """Args: plan: the checks that run."""
        self._plan = plan
        self.actions = plan.actions
        """Action of each check, by name."""

    @cached_property
    def checks(self) -> list[tuple[str, Check, bool]]:
        """Name, function, and whether it compares with the whole source, of each check."""
        return [(name, resolve_name(CHECKS[name].opens)(self._plan), CHECKS[name].compares) for name in self.actions]

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

    def failed(self, output: CheckedOutput, whole: bool) -> list[str]:
        """Names the checks that a translation fails; takes the arguments of :meth:`findings`."""
        return [name for name, finding in self.findings(output, whole).items() if finding.failed]

    def verdict(self, findings: Mapping[str, Finding]) -> tuple[str, str] | None:
        """Sums up what the checks found in a row. Returns the status, and what is wrong in words; None where no check
        fails. A check that quarantines the row comes before one that only flags it."""
        failed = [name for name, finding in findings.items() if finding.failed]
        if not failed:
            return None
        first = next((name for name in failed if self.actions[name] == QUARANTINE), failed[0])
        return CHECKS[first].status, "; ".join(f"{name}: {findings[name].note}" for name in failed)
