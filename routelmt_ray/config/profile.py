"""The configuration of the profile job; sections shared with other jobs are in :mod:`routelmt_ray.config.common`."""

from dataclasses import dataclass, field

from routelmt_ray.config.common import (
    ONCE,
    InputConfig,
    LogConfig,
    ModelsConfig,
    OutputConfig,
    RayConfig,
    check_corpus_and_models,
    refuse_seconds,
)
from routelmt_ray.config.loader import option
from routelmt_ray.config.translate import RouterConfig


@dataclass(frozen=True)
class ProfileConfig:
    """The whole configuration of `jobs/profile_costs.py`."""

    run_dir: str = option("", "a folder", lambda v: v != "")
    """The run directory: cost.json, and all state. The same command on it resumes; another command measures again."""
    seed: int = option(0, "an integer from 0 to 2^63 - 1", lambda v: 0 <= v < 2**63)
    """Seed of the sample."""
    rows: int = option(512, "an integer of at least 16", lambda v: v >= 16)
    """Rows to measure on, drawn from all parts of the corpus; rounded up to full batches, and at least four batches."""
    input: InputConfig = field(default_factory=InputConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    """The two translators, with the pools and batches of the run; one actor of each pool is measured."""
    router: RouterConfig = field(default_factory=RouterConfig)
    """The router; `probe` is measured, other routers cost nothing."""
    ray: RayConfig = field(default_factory=RayConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def output(self) -> OutputConfig:
        """Section that all jobs over a corpus have; this job adds no columns."""
        return OutputConfig()

    def __post_init__(self) -> None:
        """Checks combinations of fields."""
        check_corpus_and_models(self.input, self.models)
        if self.input.duplicates == ONCE:
            raise ValueError(f"input.duplicates is {ONCE}, but a profile measures each row of its sample; leave it out")
        if self.input.protect:
            raise ValueError(
                f"input.protect is {self.input.protect}, but this job checks no translations; leave it out"
            )
        refuse_seconds("profile_costs", self.models)
        self.router.scorer.check(self.router, self.models)
