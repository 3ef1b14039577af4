"""The input of the checks, their findings, and the plan of those that run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, NamedTuple

from routelmt_ray.config.checks import CHECKS, ESCALATE, OFF, QUARANTINE, ChecksConfig
from routelmt_ray.config.label import LabelConfig
from routelmt_ray.config.translate import TranslateConfig


class CheckedOutput(NamedTuple):
    """A translation to check."""

    source: str
    translation: str
    source_lang: str
    """Language code of the source, as given."""
    target_lang: str
    """Language code of the wanted translation, as given."""
    pair: str
    """Language pair as reports show it."""
    prompt: str = ""
    """Prompt of the model without the source."""


class Finding(NamedTuple):
    """The result of one check on one translation."""

    measure: float
    """The measure, in the unit of the check."""
    failed: bool
    note: str = ""
    """The finding in words, for the column `error`."""


class LengthLimits(NamedTuple):
    """Usual lengths of translations of a language pair in a run; see :mod:`routelmt_ray.checks.length`."""

    median: float
    """Median of the logarithm of the ratio of lengths."""
    below: float
    """Distance from the lower quartile to the median."""
    above: float
    """Distance from the median to the upper quartile."""


Check = Callable[[CheckedOutput], Finding | None]
"""Checks one translation. None: no verdict."""


@dataclass(frozen=True)
class CheckPlan:
    """The checks of a run. Small, as it is sent to each worker."""

    config: ChecksConfig = field(default_factory=ChecksConfig)
    """Thresholds and actions."""
    protect: tuple[str, ...] = ()
    """Kinds of text that must stay as they are."""
    lengths: Mapping[str, LengthLimits] = field(default_factory=dict)

    @classmethod
    def of(cls, config: LabelConfig | TranslateConfig) -> "CheckPlan":
        """Collects the checks that a job asks for, without the limits of length, which come from its run."""
        return cls(config.checks, tuple(config.input.protect))

    def check_packages(self) -> None:
        """Refuses checks whose packages are missing."""
        for name, action in self.actions.items():
            if missing := [package for package in CHECKS[name].packages if find_spec(package) is None]:
                raise ValueError(
                    f"checks.{name}.action is {action}, but {' and '.join(missing)} cannot be imported; install the packages "
                    f"of cluster/constraints.txt, or set checks.{name}.action=off"
                )

    @property
    def actions(self) -> dict[str, str]:
        """The action of each check that runs, by name, in the order of the table."""
        named = {name: self.config.asked(name) for name in CHECKS}
        if not self.protect:
            named["protected"] = OFF
        return {name: action for name, action in named.items() if action != OFF}

    @property
    def quarantines(self) -> frozenset[str]:
        """The statuses whose rows go to quarantine."""
        return frozenset(CHECKS[name].status for name, action in self.actions.items() if action == QUARANTINE)

    @property
    def escalating(self) -> "CheckPlan":
        """The plan with only those checks that send rows to the large model."""
        escalates = {name for name, action in self.actions.items() if action == ESCALATE}
        sections = {
            name: replace(getattr(self.config, name), action=ESCALATE if name in escalates else OFF) for name in CHECKS
        }
        return replace(self, config=replace(self.config, action=OFF, columns=False, **sections))

    def with_lengths(self, limits: Mapping[str, LengthLimits]) -> "CheckPlan":
        """Returns the plan with the limits of length of a run."""
        return replace(self, lengths=limits)

    @property
    def columns(self) -> list[str]:
        """The checks whose measures are columns of the output."""
        return list(self.actions) if self.config.columns else []

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that decide the verdicts. Output made with others is made again. Empty: no check runs."""
        if not self.actions:
            return {}
        sections = {name: vars(getattr(self.config, name)) | {"action": to} for name, to in self.actions.items()}
        return {"columns": self.config.columns, "protect": sorted(self.protect), **sections}
