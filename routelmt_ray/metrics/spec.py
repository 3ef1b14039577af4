"""Describes a configured metric as plain data, which the driver inspects and a worker opens."""

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pkgutil import resolve_name
from typing import Any

from routelmt_ray.config.common import PoolConfig
from routelmt_ray.config.label import CometConfig, MetricsConfig
from routelmt_ray.config.metrics import METRICS, MetricKind
from routelmt_ray.metrics import Metric
from routelmt_ray.metrics.checkpoint import Checkpoint, environment, inspect_checkpoint


@dataclass(frozen=True)
class MetricSpec:
    """One metric of a label run: small plain data that is sent to workers of any environment."""

    name: str
    """Name in the table of metrics."""
    needs_reference: bool
    """True where a row without a reference cannot be measured."""
    settings: tuple[tuple[str, str], ...] = ()
    """Settings that change a score, by name."""
    comet: CometConfig | None = None
    """Settings of the checkpoint, where it has one."""
    checkpoint: Checkpoint | None = None
    versions: tuple[tuple[str, str], ...] = ()
    """Versions of the packages that compute the metric, by name."""

    @property
    def kind(self) -> MetricKind:
        return METRICS[self.name]

    @property
    def stage(self) -> str:
        """Stage to which its scores are committed. The name contains a digest of all that affects a score."""
        digest = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()
        return f"quality/{self.name}-{digest[:8]}"

    @property
    def pool(self) -> PoolConfig | None:
        """The pool of its actors; None for a metric that runs in plain tasks."""
        return self.comet.pool if self.comet else None

    @property
    def python(self) -> str | None:
        """The interpreter of its actors; None for that of the job."""
        return self.comet.python if self.comet else None

    def identity(self) -> dict[str, Any]:
        """Collects all that affects a score."""
        files = self.checkpoint.files if self.checkpoint else None
        return {
            "name": self.name,
            "reference": self.needs_reference,
            "tokenize": "",
            "files": files,
            "version": dict(self.versions).get(self.kind.package),
            **dict(self.settings),
        }

    def open(self) -> Metric:
        """Loads the metric."""
        load = resolve_name(self.kind.loads)
        checkpoint = (self.name, self.comet, self.checkpoint) if self.kind.has_checkpoint else ()
        metric: Metric = load(*checkpoint, **dict(self.settings))
        return metric


def metric_specs(config: MetricsConfig, has_references: bool) -> list[MetricSpec]:
    """Looks up every configured metric: its checkpoint, its environment, and whether it can be used; else a ValueError."""
    specs = []
    for name in config.names:
        kind = METRICS[name]
        settings = tuple(kind.settings(config).items())
        if kind.has_checkpoint:
            comet: CometConfig = getattr(config, name)
            key = f"metrics.{name}"
            versions = environment(key, comet.python)
            checkpoint = inspect_checkpoint(key, comet, has_references)
            if checkpoint.needs_reference and not has_references:
                raise ValueError(
                    f"{key}.path {comet.path} ({checkpoint.kind}) compares with a reference, but "
                    "input.columns.reference is null; name the column, or use a reference-free checkpoint"
                )
            known = tuple(sorted(versions.items()))
            specs.append(MetricSpec(name, checkpoint.needs_reference, settings, comet, checkpoint, known))
        else:
            version = ((kind.package, metadata.version(kind.package)),)
            specs.append(MetricSpec(name, kind.needs_reference, settings, versions=version))
    return specs
