"""Faults of every kind in ten languages are found, and good translations are not blamed."""

from collections import defaultdict

import pytest

from routelmt_ray.checks import length
from routelmt_ray.checks.checker import Checker
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config.checks import CHECKS, PROTECTED, ChecksConfig
from tests.checks.planted import FAULTS, LOST, MARKED, TARGETS, marked, pairs

ON = ChecksConfig(action="flag")
RECALL = 0.9
KEPT = tuple(kept for _, kept in MARKED)
"""Ends of translations that are longer than their sources on purpose."""


@pytest.fixture(scope="module")
def checker() -> Checker:
    """All checks, with lengths of a run that has each sentence ten times."""
    lengths = length.limits([length.tally(pairs())] * 10, ON.length.min_rows)
    assert len(lengths) == 2 * len(TARGETS)
    return Checker(CheckPlan(ON, tuple(PROTECTED), lengths))


def test_good_translations_do_not_fail(checker: Checker) -> None:
    blamed = [
        (name, output.pair, finding.note)
        for output in [*pairs(), *marked()]
        for name, finding in checker.findings(output).items()
        if finding.failed and (name != "length" or not output.translation.endswith(KEPT))
    ]
    assert blamed == []


@pytest.mark.parametrize("name", list(FAULTS))
def test_planted_faults_are_found(checker: Checker, name: str) -> None:
    found: dict[str, list[bool]] = defaultdict(list)
    for fault, plant in FAULTS[name].items():
        for output in pairs():
            findings = checker.findings(output._replace(translation=plant(output)))
            caught = name in findings and findings[name].failed
            found[fault].append(caught)
            found["in " + output.target_lang].append(caught)
    recall = {kind: sum(each) / len(each) for kind, each in found.items()}
    total = sum(map(sum, found.values())) / sum(map(len, found.values()))
    assert total >= RECALL, recall
    assert min(recall.values()) >= 0.75, recall


def test_lost_markup_is_found(checker: Checker) -> None:
    for fault, plant in LOST.items():
        changed = [output for output in marked() if plant(output.translation) != output.translation]
        assert {output.target_lang for output in changed} == set(TARGETS), fault
        findings = [checker.findings(o._replace(translation=plant(o.translation)))["protected"] for o in changed]
        assert sum(finding.failed for finding in findings) / len(findings) >= RECALL, fault


def test_every_check_has_planted_faults() -> None:
    assert {*FAULTS, "protected"} == set(CHECKS)
