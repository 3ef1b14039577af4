"""The configuration of the profile job; the sections it shares with the translate job are in :mod:`routelmt_ray.config.common`."""

from __future__ import annotations

from dataclasses import dataclass, field

from routelmt_ray.config.common import (
    InputConfig,
    LogConfig,
    ModelsConfig,
    OutputConfig,
    RayConfig,
    check_corpus_and_models,
)
from routelmt_ray.config.loader import option
from routelmt_ray.config.translate import RouterConfig, check_router


@dataclass(frozen=True)
class ProfileConfig:
    """Everything `jobs/profile_costs.py` takes."""

    run_dir: str = option("", "a folder", lambda v: v != "")
    """The run directory: cost.json, and all state. The same command on it resumes; another measures anew."""
    seed: int = option(0, "an integer from 0 to 2^63 - 1", lambda v: 0 <= v < 2**63)
    """Draws the sample."""
    rows: int = option(512, "an integer of at least 16", lambda v: v >= 16)
    """Rows to measure on, drawn from all parts of the corpus; rounded up to full batches, and at least four of them."""
    input: InputConfig = field(default_factory=InputConfig)
    """The corpus."""
    models: ModelsConfig = field(default_factory=ModelsConfig)
    """The two translators, with the pools and batches of the run; one actor of each pool is measured."""
    router: RouterConfig = field(default_factory=RouterConfig)
    """What predicts the gain of a row; `probe` is measured, others cost nothing."""
    ray: RayConfig = field(default_factory=RayConfig)
    """The Ray cluster."""
    log: LogConfig = field(default_factory=LogConfig)
    """Messages on stderr."""

    @property
    def output(self) -> OutputConfig:
        """What jobs over a corpus add to its columns; this one adds nothing."""
        return OutputConfig()

    def __post_init__(self) -> None:
        """Checks what no single field can: combinations.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        check_corpus_and_models(self.input, self.models)
        check_router(self.router, self.models)
